// The map: some thousands of points, turned in three dimensions and drawn on a flat canvas. Beside
// it stands everything that it shows as text and buttons, for whoever cannot use or see it.
import { MapView, SHAPES, el } from "./map_view.js";

const AT = "/pages/map";
const KEPT = "genrescope-tracks"; // what the page Track has recognised in this tab
const SHOWN = 40; // found tracks in the list

const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

async function fetched(address, options) {
  const answer = await fetch(address, options);
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.detail || `the server answered ${answer.status}`);
  return told;
}

class GsMap extends MapView {
  connectedCallback() {
    this.pitch = -0.35;
    this.yaw = 0.6;
    this.zoom = 1;
    this.middle = [0, 0, 0];
    this.points = []; // {title, artist, genre, kind, id | path | url, similar}
    this.shown = new Set();
    this.hits = null;
    this.chosen = -1;
    this.near = [];
    this.hovered = -1;
    this.stressed = -1;
    this.masks = new Map();
    this.build();
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.load().catch((error) => {
      this.wait.textContent = `The map could not be loaded: ${error.message}`;
    });
    this.onTheme = () => this.repaint();
    document.addEventListener("gs-theme", this.onTheme);
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(this.canvas);
  }

  disconnectedCallback() {
    document.removeEventListener("gs-theme", this.onTheme);
    this.watch.disconnect();
    cancelAnimationFrame(this.frame);
  }

  // --- what it is made of --------------------------------------------------------------------

  build() {
    this.canvas = el("canvas", { tabindex: "0", role: "img", "aria-describedby": "map-keys" });
    this.tip = el("div", { class: "map-tip", hidden: true });
    this.wait = el("div", { class: "map-wait", role: "status" }, "Loading the map …");
    const tool = (text, label, act) => el("button", { type: "button", "aria-label": label, title: label, onclick: act }, text);
    this.turner = tool("Turn", "Turn slowly", () => this.turn());
    this.turner.setAttribute("aria-pressed", "false");
    const tools = el("div", { class: "map-tools" }, this.turner, tool("+", "Nearer", () => this.zoomBy(1.25)), tool("−", "Farther", () => this.zoomBy(0.8)), tool("Whole map", "Show the whole map", () => this.whole()));
    this.legend = el("div", { class: "map-legend", role: "group", "aria-label": "Genres that are shown" });
    this.search = el("input", { type: "search", id: "map-search", autocomplete: "off", spellcheck: "false", oninput: () => this.find() });
    this.told = el("p", { class: "gs-quiet", role: "status" });
    this.results = el("ul", { class: "map-list", "aria-label": "Tracks found" });
    this.card = el("section", { class: "map-chosen", "aria-live": "polite", hidden: true });
    this.mine = el("section", { class: "map-mine" });
    this.credit = el("p", { class: "map-credit" });
    this.append(
      el("div", { class: "map-left" },
        el("div", { class: "map-view" }, this.canvas, tools, this.tip, this.wait),
        this.legend,
        el("p", { class: "map-keys", id: "map-keys" }, "Drag to turn it; pinch, or click it and scroll, to come nearer. With the keyboard: arrows turn, + and − zoom, 0 shows the whole map, Escape lets go of a track. Every track can also be found by name. Genres filter the known tracks; yours stay.")),
      el("div", { class: "map-side" },
        el("section", {}, el("label", { for: "map-search" }, "Find a title or an artist"), this.search, this.told, this.results),
        this.card, this.mine),
      this.credit,
    );
    this.listen();
  }

  async load() {
    const [told, library] = await Promise.all([fetched(`${AT}/points`), fetched(`${AT}/library`)]);
    this.genres = told.genres.map((genre, i) => ({ ...genre, shape: SHAPES[i % SHAPES.length] }));
    this.shown = new Set(this.genres.map((genre) => genre.name));
    this.alike = told.alike;
    const bytes = Uint8Array.from(atob(told.positions), (c) => c.charCodeAt(0));
    const steps = new DataView(bytes.buffer);
    const xyz = [];
    this.rows = new Map();
    told.titles.forEach((title, i) => {
      this.rows.set(told.ids[i], i);
      this.points.push({ kind: "known", id: told.ids[i], title: title || "untitled", artist: told.names[told.artist[i]], genre: this.genres[told.genre[i]].name });
      for (let k = 0; k < 3; k++) xyz.push(steps.getInt16(2 * (3 * i + k), true) / told.steps);
    });
    this.known = this.points.length;
    for (const one of [...this.heard(), ...library.tracks.map((track) => ({ ...track, kind: "library" }))]) {
      this.points.push(one);
      xyz.push(...one.position);
    }
    for (const one of this.points) one.sought = fold(`${one.artist} ${one.title}`);
    this.xyz = Float32Array.from(xyz);
    const n = this.points.length;
    this.x = new Float32Array(n);
    this.y = new Float32Array(n);
    this.z = new Float32Array(n);
    this.order = new Uint32Array(n);
    const index = new Map(this.genres.map((genre, i) => [genre.name, i]));
    this.kinds = Uint8Array.from(this.points, (one) => index.get(one.genre) ?? 255);
    this.canvas.setAttribute("aria-label", `Map of ${count(this.known, "known track", "known tracks")} and ${count(n - this.known, "track of yours", "tracks of yours")}`);
    this.credit.textContent = `${count(this.known, "known track", "known tracks")}; ${told.credit}. Their sound is not kept here.`;
    this.wait.hidden = true;
    this.showLegend();
    this.showMine(library);
    this.repaint();
    this.open();
  }

  // What the page Track has recognised in this tab, as far as it can be drawn.
  heard() {
    let kept;
    try {
      kept = JSON.parse(sessionStorage.getItem(KEPT) || "[]");
    } catch (error) {
      return []; // no storage, or not ours
    }
    if (!Array.isArray(kept)) return [];
    const whole = (one) => one && typeof one.url === "string" && one.url.startsWith("/pages/") && Array.isArray(one.position) && one.position.length === 3 && one.position.every(Number.isFinite);
    return kept.filter(whole).slice(0, 20).map((one) => ({
      kind: "heard", id: String(one.id), url: one.url, title: String(one.title || one.name || "a sound"), artist: String(one.artist || ""), genre: String(one.genre || ""), sure: one.sure !== false, position: one.position,
      similar: (Array.isArray(one.similar) ? one.similar : []).map((other) => [other.track_id, other.percentile]),
    }));
  }

  // An address may name a track.
  open() {
    const asked = new URLSearchParams(location.search);
    const seek = (kind, key, value) => this.points.findIndex((one) => one.kind === kind && String(one[key]) === value);
    let i = -1;
    if (asked.has("known")) i = seek("known", "id", asked.get("known"));
    if (asked.has("track")) i = seek("heard", "id", asked.get("track"));
    if (asked.has("path")) i = seek("library", "path", asked.get("path"));
    if (i >= 0) this.choose(i);
  }

  glyph(genre) {
    const found = this.genres.find((one) => one.name === genre);
    const canvas = el("canvas", { class: "map-glyph", width: 32, height: 32, "aria-hidden": "true" });
    const c = canvas.getContext("2d");
    c.translate(16, 16);
    c.scale(14, 14);
    c.beginPath();
    (found ? found.shape : SHAPES[0])(c);
    c.fillStyle = found ? found.colour : "#888888";
    c.fill();
    return canvas;
  }

  showLegend() {
    const buttons = this.genres.map((genre) => {
      const button = el("button", { type: "button", "aria-pressed": "true", onclick: () => this.toggle(genre.name) }, this.glyph(genre.name), el("span", {}, genre.name), el("small", {}, String(genre.tracks)));
      button.addEventListener("pointerenter", () => this.stress(genre.name));
      button.addEventListener("pointerleave", () => this.stress(null));
      return button;
    });
    const all = (on) => () => {
      this.shown = new Set(on ? this.genres.map((genre) => genre.name) : []);
      this.filtered();
    };
    this.legend.replaceChildren(...buttons, el("button", { type: "button", class: "plain", onclick: all(true) }, "All"), el("button", { type: "button", class: "plain", onclick: all(false) }, "None"));
  }

  toggle(genre) {
    if (!this.shown.delete(genre)) this.shown.add(genre);
    this.filtered();
  }

  filtered() {
    [...this.legend.children].slice(0, this.genres.length).forEach((button, i) => {
      button.setAttribute("aria-pressed", String(this.shown.has(this.genres[i].name)));
    });
    this.find();
    this.dirty();
  }

  stress(genre) {
    this.stressed = genre === null ? -1 : this.genres.findIndex((one) => one.name === genre);
    this.dirty();
  }

  visible(i) {
    return i >= this.known || this.shown.has(this.points[i].genre);
  }

  item(i) {
    const one = this.points[i];
    const own = one.kind === "known" ? "" : one.kind === "heard" ? " · recognised here" : " · your library";
    return el("button", { type: "button", "data-point": i, "aria-current": String(i === this.chosen), onclick: () => this.choose(i) },
      this.glyph(one.genre), el("span", {}, one.title), el("small", {}, one.genre), el("span", { class: "who" }, (one.artist || "unknown artist") + own));
  }

  find() {
    const words = fold(this.search.value).split(/\s+/).filter(Boolean);
    if (!words.length || words.join("").length < 2) {
      this.hits = null;
      this.told.textContent = "";
      this.results.replaceChildren();
      this.dirty();
      return;
    }
    const found = [];
    this.points.forEach((one, i) => {
      if (this.visible(i) && words.every((word) => one.sought.includes(word))) found.push(i);
    });
    this.hits = new Set(found);
    this.told.textContent = found.length > SHOWN ? `${count(found.length, "track", "tracks")}; the first ${SHOWN} are listed` : found.length ? count(found.length, "track", "tracks") : "No track of that name.";
    this.results.replaceChildren(...found.slice(0, SHOWN).map((i) => el("li", {}, this.item(i))));
    this.dirty();
  }

  showMine(library) {
    const own = this.points.map((one, i) => i).slice(this.known);
    const told = el("p", { class: "gs-quiet" });
    this.mine.replaceChildren(el("h2", {}, "Your tracks"), told);
    if (own.length) {
      told.textContent = `${count(own.length, "track", "tracks")}, drawn large${library.more ? "; the library has more than are drawn" : ""}.`;
      this.mine.append(el("ul", { class: "map-list" }, ...own.slice(0, 500).map((i) => el("li", {}, this.item(i)))));
      if (own.length > 500) this.mine.append(el("p", { class: "gs-quiet" }, "The first 500 are listed; find the others by name."));
    } else {
      told.append("None yet. ", el("a", { href: "/" }, "Recognise a track"), library.library ? " or " : ".", library.library ? el("a", { href: "/library" }, "scan the library") : "", library.library ? " to see them among these." : "");
    }
  }

  // --- one track -----------------------------------------------------------------------------

  async choose(i) {
    this.shut(this.opened);
    this.opened = null;
    this.chosen = i;
    this.near = [];
    const one = this.points[i];
    for (const button of this.querySelectorAll("[data-point]")) button.setAttribute("aria-current", String(Number(button.dataset.point) === i));
    const address = { known: `known=${one.id}`, heard: `track=${encodeURIComponent(one.id)}`, library: `path=${encodeURIComponent(one.path)}` }[one.kind];
    history.replaceState(history.state, "", `/map?${address}`);
    const sure = one.kind === "known" || one.sure ? "" : " (not sure)";
    const near = el("div");
    this.card.hidden = false;
    this.card.replaceChildren(
      el("h2", {}, one.title),
      el("p", { class: "gs-quiet" }, one.artist || "unknown artist"),
      el("p", { class: "genre" }, this.glyph(one.genre), el("span", {}, one.genre + sure)),
      ...this.player(one), near);
    this.come([...this.xyz.subarray(3 * i, 3 * i + 3)], Math.max(this.zoom, 2));
    if (this.card.getBoundingClientRect().top > window.innerHeight - 120) this.card.scrollIntoView({ block: "center" });
    let pairs;
    try {
      pairs = one.similar ?? (await fetched(`${AT}/near?track=${one.id}`));
    } catch (error) {
      near.append(el("p", { class: "gs-quiet" }, `What sounds alike could not be loaded: ${error.message}`));
      return;
    }
    if (this.chosen !== i) return;
    one.similar = pairs;
    this.near = pairs.map(([id]) => this.rows.get(id)).filter((row) => row !== undefined);
    near.append(this.table(pairs));
    this.dirty();
  }

  table(pairs) {
    const words = (percentile) => this.alike.find(([least]) => percentile >= least)?.[1] ?? "";
    const lines = pairs.filter(([id]) => this.rows.has(id)).map(([id, percentile]) => el("tr", {}, el("td", {}, this.item(this.rows.get(id))), el("td", { class: "how" }, words(percentile))));
    return el("table", { class: "map-near" }, el("caption", { class: "gs-sr" }, "Known tracks that sound most like it"), el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Sounds like"), el("th", { scope: "col" }, "How much"))), el("tbody", {}, ...lines));
  }

  player(one) {
    if (one.kind === "known") return [];
    const audio = el("audio", { controls: true, preload: "none" });
    const note = el("p", { class: "gs-quiet", role: "status" });
    const more = one.kind === "library" ? [el("p", {}, el("a", { href: `/?path=${encodeURIComponent(one.path)}` }, "See what the recogniser hears"))] : [];
    const play = (url) => {
      audio.src = `${url}/sound`;
      audio.play().catch((error) => {
        if (error.name === "NotSupportedError") note.textContent = "It cannot be played any more; open it again.";
      });
    };
    if (one.kind === "heard") play(one.url);
    else {
      fetched("/pages/track/open", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ path: one.path }) })
        .then((opened) => {
          if (audio.isConnected) play((this.opened = opened.url));
          else this.shut(opened.url);
        })
        .catch((error) => (note.textContent = `It cannot be played: ${error.message}`));
    }
    return [audio, note, ...more];
  }

  // The server need not keep open what nobody listens to any more.
  shut(url) {
    if (url) fetch(`${url}/close`, { method: "POST" }).catch(() => {});
  }

  release() {
    this.shut(this.opened);
    this.opened = null;
    this.chosen = -1;
    this.near = [];
    this.card.hidden = true;
    this.card.replaceChildren();
    for (const button of this.querySelectorAll("[data-point]")) button.setAttribute("aria-current", "false");
    history.replaceState(history.state, "", "/map");
    this.dirty();
  }
}

customElements.define("gs-map", GsMap);
