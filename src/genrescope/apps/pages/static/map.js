// The map: some thousands of points, turned in three dimensions and drawn on a flat canvas. Beside
// it stands everything that it shows as text and buttons, for whoever cannot use or see it.
const AT = "/pages/map";
const KEPT = "genrescope-tracks"; // what the page Track has recognised in this tab
const FIELD = 2.6; // from the eye to the middle, in units of the map
const FOG = 24; // steps of depth
const SHOWN = 40; // found tracks in the list
const LABELS = 12;

// Shapes within -1..1, so that no genre is told by its hue alone.
const SHAPES = [
  (c) => c.arc(0, 0, 0.86, 0, 7),
  (c) => c.rect(-0.78, -0.78, 1.56, 1.56),
  (c) => polygon(c, [[0, -1.05], [1.05, 0], [0, 1.05], [-1.05, 0]]),
  (c) => polygon(c, [[0, -1], [1, 0.8], [-1, 0.8]]),
  (c) => polygon(c, [[0, 1], [1, -0.8], [-1, -0.8]]),
  (c) => polygon(c, [[-0.34, -1], [0.34, -1], [0.34, -0.34], [1, -0.34], [1, 0.34], [0.34, 0.34], [0.34, 1], [-0.34, 1], [-0.34, 0.34], [-1, 0.34], [-1, -0.34], [-0.34, -0.34]]),
  (c) => polygon(c, [[-1, -0.55], [-0.55, -1], [0, -0.45], [0.55, -1], [1, -0.55], [0.45, 0], [1, 0.55], [0.55, 1], [0, 0.45], [-0.55, 1], [-1, 0.55], [-0.45, 0]]),
  (c) => polygon(c, [[0, -1.05], [0.3, -0.35], [1.05, -0.3], [0.48, 0.2], [0.65, 1], [0, 0.55], [-0.65, 1], [-0.48, 0.2], [-1.05, -0.3], [-0.3, -0.35]]),
];

function polygon(c, corners) {
  c.moveTo(...corners[0]);
  for (const corner of corners.slice(1)) c.lineTo(...corner);
  c.closePath();
}

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
const still = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

async function fetched(address, options) {
  const answer = await fetch(address, options);
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.detail || `the server answered ${answer.status}`);
  return told;
}

class GsMap extends HTMLElement {
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

  // --- moving --------------------------------------------------------------------------------

  listen() {
    const canvas = this.canvas;
    const held = new Map();
    let moved = 0;
    let spread = 0;
    const apart = () => {
      const [a, b] = [...held.values()];
      return Math.hypot(a.x - b.x, a.y - b.y);
    };
    canvas.addEventListener("pointerdown", (event) => {
      held.set(event.pointerId, { x: event.clientX, y: event.clientY });
      canvas.setPointerCapture(event.pointerId);
      moved = held.size > 1 ? 99 : 0;
      if (held.size === 2) spread = apart();
      this.turn(false);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) {
        this.hover(event);
        return;
      }
      const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
      held.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (held.size === 2) {
        const now = apart();
        this.zoomBy(now / Math.max(spread, 1));
        spread = now;
        return;
      }
      moved += Math.abs(dx) + Math.abs(dy);
      if (moved < 4) return;
      canvas.classList.add("turning");
      this.tip.hidden = true;
      this.rotate(dx * 0.006, dy * 0.006);
    });
    const end = (event) => {
      if (!held.delete(event.pointerId)) return;
      canvas.classList.remove("turning");
      if (event.type === "pointerup" && moved < 4) {
        const i = this.under(event);
        if (i >= 0) this.choose(i);
      }
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => this.hover(null));
    // A page that is scrolled past must not stick to the map: first it has to be meant.
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== canvas) return;
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * 0.0015));
    }, { passive: false });
    const keys = {
      ArrowLeft: () => this.rotate(-0.15, 0), ArrowRight: () => this.rotate(0.15, 0), ArrowUp: () => this.rotate(0, -0.15), ArrowDown: () => this.rotate(0, 0.15),
      "+": () => this.zoomBy(1.25), "=": () => this.zoomBy(1.25), "-": () => this.zoomBy(0.8), 0: () => this.whole(), Escape: () => this.release(),
    };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  rotate(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.max(-1.55, Math.min(1.55, this.pitch + pitch));
    this.dirty();
  }

  zoomBy(factor) {
    this.way = null;
    this.zoom = Math.max(0.6, Math.min(8, this.zoom * factor));
    this.dirty();
  }

  whole() {
    this.come([0, 0, 0], 1);
  }

  turn(on = !this.turning) {
    this.turning = on;
    this.turner.setAttribute("aria-pressed", String(on));
    this.last = 0;
    this.dirty();
  }

  // Bring a place into the middle; at once for those who want no motion.
  come(place, zoom) {
    this.way = { from: [...this.middle, this.zoom], to: [...place, zoom], at: still() ? 1 : 0 };
    this.dirty();
  }

  // --- drawing -------------------------------------------------------------------------------

  dirty() {
    if (this.xyz && !this.frame) this.frame = requestAnimationFrame((now) => this.step(now));
  }

  step(now) {
    this.frame = 0;
    const passed = Math.min(0.1, (now - (this.last || now)) / 1000);
    this.last = now;
    if (this.turning) this.yaw += passed * 0.25;
    if (this.way) {
      this.way.at = Math.min(1, this.way.at + passed / 0.5 + 0.01);
      const t = this.way.at * this.way.at * (3 - 2 * this.way.at);
      const there = this.way.from.map((value, k) => value + t * (this.way.to[k] - value));
      this.middle = there.slice(0, 3);
      this.zoom = there[3];
      if (this.way.at === 1) this.way = null;
    }
    this.draw();
    if (this.turning || this.way) this.dirty();
    else this.last = 0;
  }

  fit() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || (this.canvas.width === Math.round(width * ratio) && this.canvas.height === Math.round(height * ratio))) return;
    this.ratio = ratio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    if (this.xyz) this.draw();
  }

  repaint() {
    const style = getComputedStyle(document.documentElement);
    this.ink = style.getPropertyValue("--ink").trim();
    this.paper = style.getPropertyValue("--wash").trim();
    this.accent = style.getPropertyValue("--accent").trim();
    // Colours as bytes, read from what the browser makes of them.
    const c = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const bytes = (colour) => {
      c.fillStyle = colour;
      c.fillRect(0, 0, 1, 1);
      return c.getImageData(0, 0, 1, 1).data;
    };
    this.ground = new Uint32Array(bytes(this.paper).slice().buffer)[0];
    for (const genre of this.genres ?? []) genre.rgb = [...bytes(genre.colour)].slice(0, 3);
    this.dirty();
  }

  project() {
    const [sy, cy, sp, cp] = [Math.sin(this.yaw), Math.cos(this.yaw), Math.sin(this.pitch), Math.cos(this.pitch)];
    const [mx, my, mz] = this.middle;
    const { width, height } = this.canvas;
    const scale = 1.3 * Math.min(width, height) * this.zoom;
    const n = this.points.length;
    const { xyz, x, y, z } = this;
    for (let i = 0, j = 0; i < n; i++, j += 3) {
      const [px, py, pz] = [xyz[j] - mx, xyz[j + 1] - my, xyz[j + 2] - mz];
      const ax = cy * px + sy * pz;
      const az = cy * pz - sy * px;
      const ay = cp * py - sp * az;
      const depth = FIELD + cp * az + sp * py;
      z[i] = depth;
      const f = depth > 0.3 ? scale / depth : NaN; // what is behind the eye is not drawn
      x[i] = width / 2 + f * ax;
      y[i] = height / 2 + f * ay;
    }
  }

  // Far ones first: a bucket sort, since exact order within a bucket cannot be seen.
  sort() {
    const { z, order } = this;
    const places = new Uint32Array(FOG + 1);
    const bucket = (i) => Math.max(0, Math.min(FOG - 1, Math.floor(((FIELD + 1.3 - z[i]) / 2.6) * FOG)));
    for (let i = 0; i < this.known; i++) places[bucket(i) + 1]++;
    for (let b = 0; b < FOG; b++) places[b + 1] += places[b];
    this.starts = places.slice();
    for (let i = 0; i < this.known; i++) order[places[bucket(i)]++] = i;
  }

  // How much of each pixel a mark covers, at a third of a pixel, so that a slow turn does not jerk.
  mask(kind, size, dx, dy) {
    const key = ((kind * 64 + size) * 3 + dx) * 3 + dy;
    let made = this.masks.get(key);
    if (!made) {
      const width = 2 * size + 3;
      this.stamp ??= document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      const c = this.stamp;
      c.canvas.width = c.canvas.height = width;
      c.translate(width / 2 + (dx - 1) / 3, width / 2 + (dy - 1) / 3);
      c.scale(size, size);
      c.beginPath();
      this.genres[kind].shape(c);
      c.fill();
      made = { width, cover: c.getImageData(0, 0, width, width).data.filter((_, i) => i % 4 === 3) };
      this.masks.set(key, made);
    }
    return made;
  }

  // Some thousands of marks a frame: put down pixel by pixel, which takes a third of the time of
  // drawImage where there is no graphics card.
  put(i, size, alpha) {
    const kind = this.kinds[i];
    const [px, py] = [Math.round(this.x[i] * 3), Math.round(this.y[i] * 3)];
    const [cx, cy] = [Math.floor((px + 1) / 3), Math.floor((py + 1) / 3)];
    const { width: w, cover } = this.mask(kind, size, px - 3 * cx + 1, py - 3 * cy + 1);
    const { data, width, height } = this.image;
    const [red, green, blue] = this.genres[kind].rgb;
    const [left, top] = [cx - (w >> 1), cy - (w >> 1)];
    const strength = Math.round(alpha * 256);
    for (let row = Math.max(0, -top); row < w && top + row < height; row++) {
      let at = 4 * ((top + row) * width + left + Math.max(0, -left));
      for (let column = Math.max(0, -left); column < w && left + column < width; column++, at += 4) {
        const a = (cover[row * w + column] * strength) >> 8;
        if (!a) continue;
        data[at] += ((red - data[at]) * a) / 255;
        data[at + 1] += ((green - data[at + 1]) * a) / 255;
        data[at + 2] += ((blue - data[at + 2]) * a) / 255;
      }
    }
  }

  draw() {
    const c = this.context;
    const { width, height } = this.canvas;
    if (!width || !this.ratio) return;
    if (!this.image || this.image.width !== width || this.image.height !== height) {
      this.image = c.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.project();
    this.sort();
    this.pixels.fill(this.ground);
    const on = this.genres.map((genre) => this.shown.has(genre.name));
    const { x, y, order, kinds } = this;
    const base = this.ratio * (this.canvas.clientWidth < 600 ? 2.2 : 2.8) * Math.sqrt(this.zoom);
    for (let b = 0; b < FOG; b++) {
      const near = b / (FOG - 1);
      const size = Math.max(2, Math.min(40, Math.round(base * (0.7 + 0.75 * near))));
      const alpha = 0.3 + 0.65 * near;
      for (let k = this.starts[b]; k < this.starts[b + 1]; k++) {
        const i = order[k];
        const kind = kinds[i];
        if (!on[kind] || !(x[i] > -20 && x[i] < width + 20 && y[i] > -20 && y[i] < height + 20)) continue;
        if (this.hits?.has(i)) continue; // on top, below
        const quiet = this.hits || (this.stressed >= 0 && this.stressed !== kind);
        this.put(i, size, quiet ? 0.14 : alpha);
      }
    }
    if (this.hits) {
      const size = Math.round(1.4 * base) + 1;
      for (const i of this.hits) {
        if (i < this.known && x[i] > -20 && x[i] < width + 20 && y[i] > -20 && y[i] < height + 20) this.put(i, size, 1);
      }
    }
    if (this.chosen >= 0) {
      for (const i of [...this.near, this.chosen]) {
        if (i < this.known && this.visible(i) && x[i] === x[i]) this.put(i, Math.round(1.3 * base) + 1, 1);
      }
    }
    c.putImageData(this.image, 0, 0);
    this.drawLinks(c);
    this.drawMine(c);
    if (this.chosen >= 0) this.ring(c, this.chosen, 11, 2.5);
    if (this.hovered >= 0) this.ring(c, this.hovered, 9, 1.5);
  }

  drawLinks(c) {
    if (this.chosen < 0) return;
    for (const i of this.near) {
      if (!this.visible(i)) continue;
      c.strokeStyle = this.accent;
      c.lineWidth = 1.2 * this.ratio;
      c.beginPath();
      c.moveTo(this.x[this.chosen], this.y[this.chosen]);
      c.lineTo(this.x[i], this.y[i]);
      c.stroke();
      this.ring(c, i, 7, 1.2);
    }
  }

  drawMine(c) {
    const { x, y, z, ratio } = this;
    const own = [];
    for (let i = this.known; i < this.points.length; i++) if (x[i] === x[i]) own.push(i);
    own.sort((a, b) => z[b] - z[a]);
    const many = own.length > 200;
    for (const i of own) {
      const size = Math.round((many ? 5 : 7) * ratio);
      c.save();
      c.translate(x[i], y[i]);
      c.scale(size, size);
      c.beginPath();
      (this.genres[this.kinds[i]]?.shape ?? SHAPES[0])(c);
      c.restore();
      c.globalAlpha = this.hits && !this.hits.has(i) ? 0.3 : 1;
      c.fillStyle = this.genres[this.kinds[i]]?.colour ?? "#888888";
      c.strokeStyle = this.paper;
      c.lineWidth = 5 * ratio;
      c.stroke();
      c.strokeStyle = this.ink;
      c.lineWidth = 2 * ratio;
      c.stroke();
      c.fill();
    }
    c.globalAlpha = 1;
    const rest = own.reverse().filter((i) => i !== this.chosen && (!this.hits || this.hits.has(i))).slice(0, 60);
    const first = [...(this.chosen >= 0 ? [this.chosen] : []), ...rest];
    const taken = [];
    c.font = `600 ${12.5 * ratio}px ${getComputedStyle(this).fontFamily}`;
    c.textBaseline = "middle";
    c.lineJoin = "round";
    for (const i of first) {
      if (taken.length >= LABELS) break;
      const name = this.points[i].title;
      const text = name.length > 28 ? `${name.slice(0, 27)}…` : name;
      const w = c.measureText(text).width;
      let left = x[i] + 13 * ratio;
      if (left + w > this.canvas.width - 4 * ratio) left = x[i] - 13 * ratio - w;
      const box = [left, y[i] - 9 * ratio, left + w, y[i] + 9 * ratio];
      if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
      taken.push(box);
      c.strokeStyle = this.paper;
      c.lineWidth = 4 * ratio;
      c.strokeText(text, left, y[i]);
      c.fillStyle = this.ink;
      c.fillText(text, left, y[i]);
    }
  }

  ring(c, i, radius, width) {
    c.beginPath();
    c.arc(this.x[i], this.y[i], radius * this.ratio, 0, 7);
    c.strokeStyle = this.paper;
    c.lineWidth = (width + 2.5) * this.ratio;
    c.stroke();
    c.strokeStyle = this.ink;
    c.lineWidth = width * this.ratio;
    c.stroke();
  }

  // --- under the pointer ---------------------------------------------------------------------

  under(event) {
    if (!this.xyz || !this.ratio) return -1;
    const box = this.canvas.getBoundingClientRect();
    const [px, py] = [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio];
    let best = -1;
    let least = 1;
    for (let i = 0; i < this.points.length; i++) {
      if (!this.visible(i) || (i < this.known && this.hits && !this.hits.has(i))) continue;
      const reach = (i < this.known ? 8 : 12) * this.ratio;
      const far = Math.hypot(this.x[i] - px, this.y[i] - py) / reach + (i < this.known ? 0.1 * this.z[i] : 0);
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  hover(event) {
    const i = event ? this.under(event) : -1;
    this.canvas.classList.toggle("over", i >= 0);
    this.tip.hidden = i < 0;
    if (i !== this.hovered) {
      this.hovered = i;
      this.dirty();
    }
    if (i < 0) return;
    const one = this.points[i];
    this.tip.replaceChildren(el("b", {}, one.title), one.artist || "unknown artist", el("br"), one.genre);
    const view = this.canvas.parentElement.getBoundingClientRect();
    const [left, top] = [event.clientX - view.left, event.clientY - view.top];
    const { offsetWidth: w, offsetHeight: h } = this.tip;
    this.tip.style.transform = `translate(${Math.max(4, Math.min(left + 14, view.width - w - 4))}px, ${top + h + 24 > view.height ? top - h - 12 : top + 16}px)`;
  }
}

customElements.define("gs-map", GsMap);
