// What the page Library is made of, and how its state is drawn. Text from files is only ever put into
// the page as text.

export const PAGE = 100; // rows at a time

const STATES = [
  ["all", "All files"],
  ["change", "Would change"],
  ["unsure", "Not sure"],
  ["disagrees", "Disagrees with its tag"],
  ["empty", "Without a genre"],
  ["hand", "Changed by hand"],
  ["written", "Written, can be undone"],
  ["failed", "With an error"],
  ["waiting", "Not heard yet"],
];
const SORTS = [
  ["name", "File"],
  ["title", "Title"],
  ["artist", "Artist"],
  ["now", "Genre now"],
  ["genre", "Heard"],
  ["confidence", "Confidence"],
];

export const number = (n) => n.toLocaleString("en-US");
export const files = (n) => `${number(n)} ${n === 1 ? "file" : "files"}`;
const percent = (p) => (p > 0.99 ? ">99 %" : `${Math.round(p * 100)} %`);
export const listed = (genres) => (genres.length ? genres.join("; ") : "no genre");

export function make(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-") && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export class LibraryView extends HTMLElement {
  // --- building -----------------------------------------------------------------------------

  build() {
    this.alertLine = make("p", { class: "gs-alert", role: "alert", hidden: true });
    this.jobLine = make("div", { class: "gs-note lib-job", role: "status", hidden: true });
    this.append(
      this.alertLine, this.buildScan(), this.buildPolicy(), this.jobLine, this.buildFilters(),
      this.buildActions(), this.buildTable(), this.buildPager(), this.buildPlayer(),
      this.buildHistory(), this.buildDialogs(),
    );
  }

  buildScan() {
    this.folder = make("input", { type: "text", list: "lib-folders", id: "lib-folder", autocomplete: "off", placeholder: `all of ${this.settings.root}`, spellcheck: false });
    this.folders = make("datalist", { id: "lib-folders" });
    this.scanButton = make("button", { type: "submit", class: "gs-button primary" }, "Hear this folder");
    this.stopButton = make("button", { type: "button", class: "gs-button", hidden: true, onclick: () => this.act("/stop", {}) }, "Stop");
    this.bar = make("progress", { max: 1, value: 0, "aria-label": "Files heard" });
    this.scanText = make("p", { class: "gs-quiet lib-scan-text" });
    this.progress = make("div", { class: "lib-progress", hidden: true }, this.bar, this.scanText);
    return make("form", {
      class: "lib-scan",
      onsubmit: (event) => { event.preventDefault(); this.clearChosen(); this.first = 0; this.act("/scan", { folder: this.folder.value.trim() }); },
    }, make("label", { htmlFor: "lib-folder" }, "Folder"), this.folder, this.folders, this.scanButton, this.stopButton, this.progress);
  }

  buildPolicy() {
    const changed = () => this.setPolicy();
    const radio = (value, label) => {
      const input = make("input", { type: "radio", name: "lib-existing", value, onchange: changed });
      return make("label", {}, input, ` ${label}`);
    };
    this.existing = make("fieldset", {}, make("legend", {}, "Files that have a genre"),
      radio("keep", "keep it"), radio("add", "get ours beside it"), radio("replace", "get ours instead of it"));
    this.least = make("input", { type: "number", min: 0, max: 100, step: 1, id: "lib-least", onchange: changed, placeholder: "–" });
    this.sub = make("input", { type: "checkbox", onchange: changed });
    this.together = make("input", { type: "checkbox", onchange: changed });
    this.policyText = make("span", { class: "gs-quiet" });
    return make("details", { class: "lib-policy" },
      make("summary", {}, "What is written: ", this.policyText),
      make("div", { class: "lib-policy-body" },
        this.existing,
        make("fieldset", {}, make("legend", {}, "What is good enough"),
          make("label", { htmlFor: "lib-least" }, "At least ", this.least, " % probable"),
          make("p", { class: "gs-quiet" }, "What the recogniser is not sure of is never written.")),
        make("fieldset", {}, make("legend", {}, "How it is heard"),
          this.settings.subgenres ? make("label", {}, this.sub, " also sub-genres") : null,
          this.settings.together ? make("label", {}, this.together, " tracks of an artist together") : null)));
  }

  buildFilters() {
    const changed = () => { this.first = 0; this.clearChosen(); this.loadRows(); };
    this.stateBox = make("select", { id: "lib-state", onchange: () => { this.query.state = this.stateBox.value; changed(); } });
    this.genreBox = make("select", { id: "lib-genre", onchange: () => { this.query.genre = this.genreBox.value; changed(); } });
    this.search = make("input", { type: "search", id: "lib-search", placeholder: "title, artist, file, genre", oninput: () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => { this.query.search = this.search.value; changed(); }, 200);
    } });
    this.sortBox = make("select", { id: "lib-sort", onchange: () => { this.query.sort = this.sortBox.value; this.first = 0; this.loadRows(); } },
      ...SORTS.map(([value, label]) => make("option", { value }, label)));
    for (const [value, label] of STATES) this.stateBox.append(make("option", { value }, label));
    const field = (label, input, more = "") => make("div", { class: `lib-field ${more}` }, make("label", { htmlFor: input.id }, label), input);
    return make("div", { class: "lib-filters", role: "search", "aria-label": "Files" },
      field("Show", this.stateBox), field("Heard as", this.genreBox), field("Search", this.search), field("Sort by", this.sortBox, "lib-narrow"));
  }

  buildActions() {
    this.chosenText = make("span", { class: "lib-chosen", "aria-live": "polite" });
    const button = (label, act, more = "") => make("button", { type: "button", class: `gs-button ${more}`, onclick: act }, label);
    this.everyButton = button("", () => this.chooseEvery());
    this.noneButton = button("Select none", () => { this.clearChosen(); this.draw(); });
    this.genreButton = button("Set genre…", () => this.openGenre(this.meant()));
    this.undoButton = button("Undo…", () => this.openUndo());
    this.writeButton = button("Write…", () => this.openPreview(), "primary");
    return make("div", { class: "lib-actions" }, this.chosenText, this.everyButton, this.noneButton, this.genreButton, this.undoButton, this.writeButton);
  }

  buildTable() {
    this.allBox = make("input", { type: "checkbox", "aria-label": "Select all files on this page", onchange: () => this.choosePage(this.allBox.checked) });
    this.heads = new Map();
    const head = (key, label) => {
      const cell = make("th", { scope: "col" }, make("button", { type: "button", class: "lib-sort", onclick: () => this.sortBy(key) }, label));
      this.heads.set(key, cell);
      return cell;
    };
    this.body = make("tbody", { onkeydown: (event) => this.keys(event) });
    this.table = make("table", { class: "gs-table lib-table" },
      make("caption", { class: "gs-sr" }, "Files of the library"),
      make("thead", {}, make("tr", {},
        make("th", { scope: "col", class: "lib-tick" }, this.allBox),
        head("name", "File"), head("now", "Genre now"), head("confidence", "Heard"),
        make("th", { scope: "col" }, "Would be"), make("th", { scope: "col" }, make("span", { class: "gs-sr" }, "Actions")))),
      this.body);
    this.empty = make("p", { class: "gs-quiet lib-empty" });
    return make("div", {}, this.table, this.empty);
  }

  buildPager() {
    this.backButton = make("button", { type: "button", class: "gs-button", onclick: () => this.turn(-1) }, "Previous");
    this.onButton = make("button", { type: "button", class: "gs-button", onclick: () => this.turn(1) }, "Next");
    this.where = make("span", { class: "gs-quiet", "aria-live": "polite" });
    this.pager = make("nav", { class: "lib-pager", "aria-label": "Pages of files", hidden: true }, this.backButton, this.where, this.onButton);
    return this.pager;
  }

  buildPlayer() {
    this.audio = make("audio", { controls: true, preload: "none" });
    this.playing = null;
    this.playerName = make("span", { class: "lib-playing" });
    this.playerNote = make("span", { class: "gs-quiet" });
    const close = make("button", { type: "button", class: "gs-button", onclick: () => this.stopSound() }, "Close");
    this.player = make("section", { class: "lib-player", "aria-label": "Player", hidden: true }, this.playerName, this.audio, this.playerNote, close);
    for (const name of ["play", "pause", "ended"]) this.audio.addEventListener(name, () => this.markPlaying());
    this.audio.addEventListener("error", () => {
      if (!this.audio.getAttribute("src")) return;
      this.playerNote.replaceChildren("This browser does not play this file; ", make("a", { href: this.trackPage(this.playing) }, "the page Track"), " does.");
    });
    return this.player;
  }

  buildHistory() {
    this.runs = make("div", {});
    this.historyBox = make("section", { class: "lib-history", hidden: true }, make("h2", {}, "What was written"), this.runs);
    return this.historyBox;
  }

  buildDialogs() {
    this.dialog = make("dialog", { class: "lib-dialog", "aria-labelledby": "lib-dialog-title" });
    return this.dialog;
  }

  // --- drawing ------------------------------------------------------------------------------

  drawScan() {
    const scan = this.state.scan;
    this.scanButton.hidden = Boolean(scan && scan.running);
    this.stopButton.hidden = !(scan && scan.running);
    this.progress.hidden = !scan;
    if (!scan) return;
    this.bar.hidden = !scan.running;
    this.bar.max = Math.max(1, scan.found);
    if (scan.looking) this.bar.removeAttribute("value");
    else this.bar.value = scan.done;
    const place = scan.folder || this.settings.root;
    const parts = [];
    if (scan.looking) parts.push(`Looking for music in ${place}: ${files(scan.found)}`);
    else if (scan.running) {
      parts.push(`${number(scan.done)} of ${files(scan.found)} in ${place}`);
      if (scan.done > 0) {
        parts.push(`${scan.rate} a second`);
        const left = (scan.found - scan.done) / Math.max(scan.rate, 0.1);
        if (scan.seconds > 3) parts.push(left < 90 ? "about a minute left" : `about ${number(Math.round(left / 60))} minutes left`);
      }
    } else if (scan.found === 0) parts.push(`There is no music in ${place}`);
    else parts.push(`${scan.cancelled ? "Stopped after" : "Heard"} ${number(scan.done)} of ${files(scan.found)} in ${place} (${scan.seconds} s)`);
    if (scan.failed) parts.push(`${number(scan.failed)} could not be heard`);
    if (scan.outside) parts.push(`${number(scan.outside)} left out: links that lead out of the library`);
    if (scan.error) parts.push(scan.error);
    const text = `${parts.join(" · ")}.`;
    if (this.scanText.textContent !== text) this.scanText.textContent = text;
    window.gsStatus?.(scan.running ? `Hearing: ${number(scan.done)} of ${number(scan.found)}.` : "Ready.");
  }

  drawPolicy() {
    const policy = this.state.policy;
    for (const input of this.existing.querySelectorAll("input")) input.checked = input.value === policy.existing;
    if (document.activeElement !== this.least) this.least.value = policy.min_confidence === null ? "" : Math.round(policy.min_confidence * 100);
    this.sub.checked = policy.subgenres;
    this.together.checked = policy.together;
    const words = [{ keep: "only where there is no genre", add: "our genre beside the old ones", replace: "our genre instead of the old ones" }[policy.existing]];
    if (policy.min_confidence !== null) words.push(`if ${Math.round(policy.min_confidence * 100)} % probable or more`);
    if (policy.subgenres) words.push("with sub-genres");
    this.policyText.textContent = `${words.join(", ")}.`;
  }

  drawJob() {
    const job = this.state.job;
    // What ended before this window was opened is history, which is told below.
    if (this.seenJob === undefined) this.seenJob = job && !job.running ? JSON.stringify(job) : "";
    this.jobLine.hidden = !job || JSON.stringify(job) === this.seenJob;
    if (this.jobLine.hidden) return;
    const doing = job.kind === "write" ? "Writing" : "Taking back";
    const done = job.kind === "write" ? "Written" : "Taken back";
    const text = job.running ? `${doing}: ${number(job.done)} of ${files(job.total)}.`
      : `${done}: ${files(job.changed)}${job.failed ? `; ${number(job.failed)} left as they were, see the reason beside each` : ""}.${job.error ? ` ${job.error}` : ""}`;
    const key = text + job.run;
    if (this.jobLine.dataset.key === key) return;
    this.jobLine.dataset.key = key;
    const parts = [make("p", {}, text)];
    if (!job.running && job.failed) parts.push(make("button", { type: "button", class: "gs-button", onclick: () => this.show("failed") }, "Show them"));
    if (!job.running && job.kind === "write" && job.changed) {
      parts.push(make("button", { type: "button", class: "gs-button", onclick: () => this.openUndoRun({ run: job.run, files: job.changed, undone: 0 }) }, "Undo this run…"));
    }
    if (!job.running) {
      parts.push(make("button", { type: "button", class: "gs-button", onclick: () => { this.seenJob = JSON.stringify(job); this.drawJob(); } }, "Dismiss"));
    }
    this.jobLine.replaceChildren(...parts);
    this.jobLine.classList.toggle("gs-alert", Boolean(!job.running && (job.error || job.failed)));
  }

  show(state) {
    this.query.state = state;
    this.stateBox.value = state;
    this.first = 0;
    this.clearChosen();
    this.loadRows();
  }

  drawCounts() {
    for (const option of this.stateBox.options) {
      const label = STATES.find(([value]) => value === option.value)[1];
      option.textContent = `${label} (${number(this.state.states[option.value] || 0)})`;
    }
    const genres = Object.entries(this.state.genres);
    const key = JSON.stringify(genres);
    if (this.genreBox.dataset.key !== key) {
      this.genreBox.dataset.key = key;
      this.genreBox.replaceChildren(make("option", { value: "" }, "any genre"), ...genres.map(([genre, n]) => make("option", { value: genre }, `${genre} (${number(n)})`)));
      this.genreBox.value = this.query.genre;
      if (this.genreBox.value !== this.query.genre) this.genreBox.append(make("option", { value: this.query.genre, selected: true }, `${this.query.genre} (0)`));
    }
  }

  draw() {
    const kept = new Map();
    const elements = (this.shown || []).map((row) => {
      const old = this.rows.get(row.id);
      const element = old ? old.element : make("tr", { "data-row": row.id });
      if (!old || old.row.version !== row.version) this.drawRow(element, row);
      kept.set(row.id, { row, element });
      const ticked = this.isChosen(row.id);
      element.classList.toggle("chosen", ticked);
      element.querySelector(".lib-tick input").checked = ticked;
      return element;
    });
    this.rows = kept;
    const here = [...this.body.children];
    if (here.length !== elements.length || here.some((element, k) => element !== elements[k])) this.body.replaceChildren(...elements);
    for (const [key, cell] of this.heads) {
      const on = this.query.sort === key;
      cell.setAttribute("aria-sort", on ? (this.query.down ? "descending" : "ascending") : "none");
    }
    this.sortBox.value = this.query.sort;
    const some = this.total > 0;
    this.table.hidden = !some;
    this.empty.hidden = some;
    this.empty.textContent = this.state && this.state.rows ? "No file fits." : "No files yet: hear a folder first.";
    this.pager.hidden = this.total <= PAGE;
    this.where.textContent = `${number(this.first + 1)} to ${number(Math.min(this.first + PAGE, this.total))} of ${number(this.total)}`;
    this.backButton.disabled = this.first === 0;
    this.onButton.disabled = this.first + PAGE >= this.total;
    this.drawActions();
    this.markPlaying();
  }

  drawRow(element, row) {
    const focused = element.contains(document.activeElement) ? document.activeElement.dataset.role : null;
    const title = row.title || row.name.split("/").pop();
    const box = make("input", { type: "checkbox", "data-role": "tick", "aria-label": `Select ${title}`, onclick: (event) => this.tick(row.id, event) });
    const play = make("button", { type: "button", class: "lib-play", "data-role": "play", "aria-label": `Play ${title}`, "aria-pressed": "false", onclick: () => this.play(row) });
    const act = (label, role, handler) => make("button", { type: "button", class: "lib-link", "data-role": role, onclick: handler }, label, make("span", { class: "gs-sr" }, ` ${title}`));
    const file = make("td", { class: "lib-file" }, play, make("div", {},
      make("div", {}, make("strong", {}, title), row.artist ? make("span", {}, ` · ${row.artist}`) : ""),
      make("small", {}, row.name),
      row.error ? make("div", { class: "lib-error" }, row.error.replace(`${row.name}: `, "")) : null));
    element.replaceChildren(
      make("td", { class: "lib-tick" }, box), file,
      make("td", { class: "lib-now", "data-label": "Genre now" }, row.done ? make("span", { class: row.now.length ? "" : "gs-quiet" }, listed(row.now)) : make("span", { class: "gs-quiet" }, "not read yet"), row.disagrees ? make("small", {}, make("br"), "the sound disagrees") : ""),
      make("td", { class: "lib-heard", "data-label": "Heard" }, ...this.heard(row)),
      make("td", { class: "lib-target", "data-label": "Would be" }, ...this.target(row)),
      make("td", { class: "lib-acts" },
        row.done ? act("Change…", "change", () => this.openGenre({ ids: [row.id] }, row)) : null,
        row.run !== null ? act("Undo", "undo", () => this.act("/undo", { ids: [row.id] })) : null,
        row.done ? make("a", { class: "lib-link", "data-role": "look", href: this.trackPage(row) }, "Look", make("span", { class: "gs-sr" }, ` at ${title} on the page Track`)) : null));
    if (focused) element.querySelector(`[data-role="${focused}"]`)?.focus();
  }

  heard(row) {
    if (row.best === null) return [make("span", { class: "gs-quiet" }, row.done ? "could not be heard" : "waiting")];
    const more = row.top.map(([genre, p]) => `${genre} ${percent(p)}`).join(", ");
    const sign = make("span", {});
    sign.innerHTML = this.settings.marks[row.best] || ""; // drawn by the server from its own genres
    if (row.genre !== null) return [make("span", { class: "lib-genre", title: more }, sign, `${row.genre} `, make("span", { class: "gs-quiet" }, percent(row.confidence)))];
    return [make("span", { title: `${row.reason}: ${more}` }, "not sure"), make("small", { class: "gs-quiet" }, make("br"), `perhaps ${row.best}, ${percent(row.confidence)}`)];
  }

  target(row) {
    if (!row.done) return [];
    const parts = [];
    if (row.target !== null) parts.push(make("strong", {}, listed(row.target)));
    else if (row.run !== null && row.chosen === null) parts.push(make("span", { class: "gs-quiet" }, `written, run ${row.run}`));
    else if (row.best !== null || row.chosen !== null) parts.push(make("span", { class: "gs-quiet" }, "as it is"));
    if (row.chosen !== null) parts.push(make("small", { class: "gs-quiet" }, make("br"), "chosen by hand"));
    else if (row.target === null && row.run === null && row.why) parts.push(make("small", { class: "gs-quiet" }, make("br"), row.why));
    return parts;
  }

  drawActions() {
    const n = this.every ? this.total : this.chosen.size;
    this.chosenText.textContent = n ? `${files(n)} selected` : "";
    this.noneButton.hidden = !n;
    this.genreButton.hidden = !n;
    const written = this.every || [...this.chosen].some((id) => (this.rows.get(id) || { row: { run: 1 } }).row.run !== null);
    this.undoButton.hidden = !n || !written || !(this.state && this.state.states.written);
    this.everyButton.hidden = !this.total || Boolean(this.every) || this.total <= PAGE || !n;
    this.everyButton.textContent = `Select all ${number(this.total)}`;
    const running = Boolean(this.state && this.state.job && this.state.job.running);
    this.writeButton.disabled = running || (!n && !this.changing);
    this.writeButton.textContent = n ? `Write the ${number(n)} selected…` : `Write ${this.changing ? files(this.changing) : "…"}${this.changing ? "…" : ""}`;
    const ids = [...this.rows.keys()];
    const ticked = ids.filter((id) => this.isChosen(id)).length;
    this.allBox.checked = ids.length > 0 && ticked === ids.length;
    this.allBox.indeterminate = ticked > 0 && ticked < ids.length;
  }
}
