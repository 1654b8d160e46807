// How the map is turned and drawn: points in three dimensions on a flat canvas. What the points are,
// and what is told of them, is for the class above this one.
const FIELD = 2.6; // from the eye to the middle, in units of the map
const FOG = 24; // steps of depth
const LABELS = 12;

// Shapes within -1..1, so that no genre is told by its hue alone.
export const SHAPES = [
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

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

const still = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

export class MapView extends HTMLElement {
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
