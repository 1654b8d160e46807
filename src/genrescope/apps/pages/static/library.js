// The page Library. Everything is on the server, which several windows look at: this asks for its
// state, and for the rows that are shown whenever something has changed. Text from files is only
// ever put into the page as text.

const AT = "/pages/library";
const PAGE = 100; // rows at a time
const BUSY = 1000; // ms between two looks while something is going on
const CALM = 4000;

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

const number = (n) => n.toLocaleString("en-US");
const files = (n) => `${number(n)} ${n === 1 ? "file" : "files"}`;
const percent = (p) => (p > 0.99 ? ">99 %" : `${Math.round(p * 100)} %`);
const listed = (genres) => (genres.length ? genres.join("; ") : "no genre");

function make(tag, props = {}, ...children) {
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

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(AT + path, options);
  } catch (error) {
    throw new Error("The server does not answer; is it still running?");
  }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.detail || `The server answered ${answer.status}.`);
  return told;
}

class Library extends HTMLElement {
  connectedCallback() {
    if (this.settings) return;
    this.settings = JSON.parse(this.dataset.settings);
    this.query = { state: "all", genre: "", search: "", sort: "name", down: false };
    this.first = 0;
    this.total = 0;
    this.chosen = new Set(); // numbers of rows
    this.every = null; // or a query: all that fit it
    this.rows = new Map(); // number -> {row, element}
    this.version = -1;
    this.last = null; // the row that was ticked last, for ranges
    this.build();
    this.look = () => { if (!document.hidden) this.refresh(); };
    document.addEventListener("visibilitychange", this.look);
    this.fillFolders();
    this.fillHistory();
    this.refresh();
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.look);
    this.gone = true;
  }

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

  // --- asking -------------------------------------------------------------------------------

  async act(path, body) {
    try {
      const told = await ask(path, body);
      this.say("");
      if (told.version !== undefined) this.take(told);
      return told;
    } catch (error) {
      this.say(error.message);
      return null;
    } finally {
      this.refresh();
    }
  }

  say(text) {
    this.alertLine.textContent = text;
    this.alertLine.hidden = !text;
  }

  async refresh() {
    clearTimeout(this.timer);
    if (this.gone) return;
    try {
      this.take(await ask("/state"));
      if (this.lost) { this.lost = false; this.say(""); }
    } catch (error) {
      this.lost = true;
      this.say(error.message);
    }
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.refresh(), this.busy ? BUSY : CALM);
  }

  take(state) {
    const before = this.state;
    this.state = state;
    this.busy = Boolean((state.scan && state.scan.running) || (state.job && state.job.running));
    this.drawScan();
    this.drawPolicy();
    this.drawJob();
    this.drawCounts();
    if (state.version !== this.version) {
      this.version = state.version;
      this.loadRows();
    }
    const ended = before && before.job && before.job.running && !(state.job && state.job.running);
    if (ended) this.fillHistory();
  }

  async loadRows() {
    const asked = { ...this.query, down: this.query.down ? "1" : "", first: this.first, limit: PAGE };
    const key = JSON.stringify(asked);
    this.asking = key;
    try {
      const told = await ask(`/rows?${new URLSearchParams(asked)}`);
      if (this.asking !== key) return;
      this.total = told.total;
      this.changing = told.changing;
      if (this.first >= told.total && this.first > 0) {
        this.first = Math.floor(Math.max(0, told.total - 1) / PAGE) * PAGE;
        this.loadRows();
        return;
      }
      this.shown = told.rows;
      this.draw();
    } catch (error) {
      this.say(error.message);
    }
  }

  async fillFolders() {
    try {
      const { folders } = await ask("/folders");
      this.folders.replaceChildren(...folders.map((name) => make("option", { value: name })));
    } catch (error) {
      this.say(error.message);
    }
  }

  async fillHistory() {
    let runs;
    try {
      ({ runs } = await ask("/history"));
    } catch (error) {
      this.runs.replaceChildren(make("p", { class: "gs-alert" }, error.message));
      this.historyBox.hidden = false;
      return;
    }
    this.historyBox.hidden = runs.length === 0;
    const rows = runs.map((run) => {
      const left = run.files - run.undone;
      const done = left === 0 ? "taken back" : run.undone ? `${number(run.undone)} taken back` : "";
      const button = left && !run.outside ? make("button", { type: "button", class: "gs-button", onclick: () => this.openUndoRun(run) }, "Undo…", make("span", { class: "gs-sr" }, ` run ${run.run}`)) : null;
      return make("tr", {},
        make("th", { scope: "row", class: "n" }, String(run.run)),
        make("td", {}, new Date(run.when).toLocaleString()),
        make("td", {}, run.command),
        make("td", { class: "n" }, number(run.files)),
        make("td", {}, done, run.outside ? ` also ${files(run.outside)} outside of this library: genrescope undo ${run.run}` : ""),
        make("td", {}, button));
    });
    const head = ["Run", "When", "By", "Files", "", ""].map((label) => make("th", { scope: "col" }, label));
    this.runs.replaceChildren(make("div", { class: "gs-scroll" }, make("table", { class: "gs-table" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows))));
  }

  setPolicy() {
    const picked = this.existing.querySelector("input:checked");
    this.act("/policy", {
      existing: picked ? picked.value : "keep",
      min_confidence: this.least.value === "" ? null : Number(this.least.value) / 100,
      subgenres: this.sub.checked,
      together: this.together.checked,
    });
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

  // --- choosing -----------------------------------------------------------------------------

  isChosen(id) { return Boolean(this.every) || this.chosen.has(id); }

  clearChosen() { this.chosen.clear(); this.every = null; }

  single() {
    // From "all that fit" to the rows of this page, when one of them is taken out.
    if (!this.every) return;
    this.every = null;
    for (const id of this.rows.keys()) this.chosen.add(id);
  }

  tick(id, event) {
    this.single();
    const ids = [...this.rows.keys()];
    const on = event.target.checked;
    const range = event.shiftKey && this.last !== null && ids.includes(this.last)
      ? ids.slice(Math.min(ids.indexOf(this.last), ids.indexOf(id)), Math.max(ids.indexOf(this.last), ids.indexOf(id)) + 1) : [id];
    for (const one of range) on ? this.chosen.add(one) : this.chosen.delete(one);
    this.last = id;
    this.draw();
  }

  choosePage(on) {
    this.single();
    for (const id of this.rows.keys()) on ? this.chosen.add(id) : this.chosen.delete(id);
    this.draw();
  }

  chooseEvery() {
    this.chosen.clear();
    this.every = { ...this.query };
    this.draw();
  }

  meant() { return this.every ? { where: this.every } : { ids: [...this.chosen] }; }

  keys(event) {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const role = event.target.dataset?.role;
    const line = event.target.closest("tr");
    const next = event.key === "ArrowDown" ? line?.nextElementSibling : line?.previousElementSibling;
    const there = next?.querySelector(`[data-role="${role}"]`) || next?.querySelector('[data-role="tick"]');
    if (there) { event.preventDefault(); there.focus(); }
  }

  sortBy(key) {
    this.query.down = this.query.sort === key ? !this.query.down : key === "confidence";
    this.query.sort = key;
    this.first = 0;
    this.loadRows();
  }

  async turn(step) {
    this.first = Math.max(0, this.first + step * PAGE);
    await this.loadRows();
    this.table.scrollIntoView({ block: "start" });
  }

  // --- dialogs ------------------------------------------------------------------------------

  open(title, body, buttons) {
    const cancel = make("button", { type: "button", class: "gs-button", onclick: () => this.dialog.close() }, "Cancel");
    this.dialog.replaceChildren(make("h2", { id: "lib-dialog-title" }, title), ...body, make("div", { class: "lib-buttons" }, ...buttons, cancel));
    this.dialog.showModal();
  }

  openGenre(meant, row) {
    const n = meant.where ? this.total : meant.ids.length;
    const now = row ? (row.chosen ?? row.target ?? row.now) : [];
    const own = now.filter((name) => !this.settings.genres.includes(name));
    const boxes = this.settings.genres.map((genre) => {
      const sign = make("span", {});
      sign.innerHTML = this.settings.marks[genre];
      return make("label", {}, make("input", { type: "checkbox", value: genre, checked: now.includes(genre) }), " ", sign, genre);
    });
    const free = make("input", { type: "text", id: "lib-free", value: own.join("; "), autocomplete: "off", spellcheck: false });
    const send = async (genres) => {
      this.dialog.close();
      const told = await this.act("/choose", { ...meant, genres });
      if (told) window.gsStatus?.(`Changed: ${files(told.changed)}. Nothing is written yet.`);
    };
    const form = make("form", { class: "lib-genres", onsubmit: (event) => {
      event.preventDefault();
      const ticked = boxes.map((label) => label.querySelector("input")).filter((box) => box.checked).map((box) => box.value);
      send([...ticked, ...free.value.split(";").map((name) => name.trim()).filter(Boolean)]);
    } },
    make("fieldset", {}, make("legend", {}, "Genres"), ...boxes),
    make("label", { htmlFor: "lib-free" }, "Others, with ; between them"), free,
    make("p", { class: "gs-quiet" }, "Nothing is written before you say so. No genre at all takes the genre out of the file."),
    make("button", { type: "submit", class: "gs-button primary" }, "Use these"));
    const buttons = [make("button", { type: "button", class: "gs-button", onclick: () => send("as it is") }, "Leave as it is")];
    if (!row || row.chosen !== null) buttons.push(make("button", { type: "button", class: "gs-button", onclick: () => send(null) }, "Back to what was heard"));
    this.open(row ? `Genre of ${row.title || row.name}` : `Genre of ${files(n)}`, [form], buttons);
  }

  async openPreview() {
    const nothing = !this.every && !this.chosen.size;
    let told;
    try {
      told = await ask("/preview", nothing ? { where: { ...this.query } } : this.meant());
    } catch (error) {
      this.say(error.message);
      return;
    }
    this.say("");
    if (!told.changes) {
      this.open("Nothing would change", [make("p", {}, `${files(told.rows)} would stay as they are. "What is written" says why; a genre by hand is written in any case.`)], []);
      return;
    }
    const list = make("ol", { class: "lib-preview" }, ...told.shown.map((row) => make("li", {},
      make("span", { class: "lib-preview-name" }, row.name), " ", make("span", { class: "gs-quiet" }, listed(row.now)), " → ", make("strong", {}, listed(row.target)), row.chosen !== null ? make("span", { class: "gs-quiet" }, " (by hand)") : "")));
    const facts = [];
    const fresh = told.changes - told.replaced;
    if (fresh) facts.push(`${files(fresh)} without a genre`);
    if (told.replaced) facts.push(`${files(told.replaced)} with genres that change`);
    if (told.by_hand) facts.push(`${number(told.by_hand)} chosen by hand`);
    if (told.rows > told.changes) facts.push(`${files(told.rows - told.changes)} stay as they are`);
    const go = make("button", { type: "button", class: "gs-button primary", onclick: async () => {
      go.disabled = true;
      this.dialog.close();
      this.clearChosen();
      await this.act("/write", { key: told.key });
    } }, `Write ${files(told.changes)}`);
    this.open(`${files(told.changes)} will change`, [
      make("p", {}, `${facts.join(", ")}. Only genres are written; the old ones are kept for undo.`), list,
      told.changes > told.shown.length ? make("p", { class: "gs-quiet" }, `and ${number(told.changes - told.shown.length)} more`) : "",
    ], [go]);
  }

  openUndo() {
    const meant = this.meant();
    const n = this.every ? this.total : this.chosen.size;
    const go = make("button", { type: "button", class: "gs-button primary", onclick: () => { this.dialog.close(); this.clearChosen(); this.act("/undo", meant); } }, "Bring back the old genres");
    this.open("Undo", [make("p", {}, `Of the ${files(n)} selected, those that were written get the genres back that they had before.`)], [go]);
  }

  openUndoRun(run) {
    const go = make("button", { type: "button", class: "gs-button primary", onclick: () => { this.dialog.close(); this.act("/undo", { run: run.run }); } }, "Bring back the old genres");
    this.open(`Undo run ${run.run}`, [make("p", {}, `${files(run.files - run.undone)} get the genres back that they had before. What was changed since by others is left as it is.`)], [go]);
  }

  // --- listening ----------------------------------------------------------------------------

  trackPage(row) { return row ? `/?path=${encodeURIComponent(row.name)}` : "/"; }

  play(row) {
    if (this.playing && this.playing.id === row.id) {
      this.audio.paused ? this.audio.play().catch(() => {}) : this.audio.pause();
      return;
    }
    this.playing = row;
    this.player.hidden = false;
    this.playerName.textContent = row.title || row.name;
    this.playerNote.replaceChildren();
    this.audio.src = `${AT}/sound/${row.id}`;
    this.audio.play().catch(() => {}); // the error event says why
    this.markPlaying();
  }

  stopSound() {
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
    this.playing = null;
    this.player.hidden = true;
    this.markPlaying();
  }

  markPlaying() {
    for (const [id, { element }] of this.rows) {
      const on = Boolean(this.playing && this.playing.id === id && !this.audio.paused);
      element.querySelector(".lib-play")?.setAttribute("aria-pressed", String(on));
    }
  }
}

customElements.define("gs-library", Library);
