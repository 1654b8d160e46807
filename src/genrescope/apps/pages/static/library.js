// The page Library. Everything is on the server, which several windows look at: this asks for its
// state, and for the rows that are shown whenever something has changed.
import { LibraryView, PAGE, files, listed, make, number } from "./library_view.js";

const AT = "/pages/library";
const BUSY = 1000; // ms between two looks while something is going on
const CALM = 4000;

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

class Library extends LibraryView {
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
