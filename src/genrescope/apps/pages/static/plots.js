// The sound as pictures that share one line of time, and the player whose cursor moves over them.
"use strict";
import {
  AGAINST,
  COLOURED,
  FOR,
  GREY,
  LINES_HZ,
  TOP_HZ,
  bytes,
  clamp,
  clock,
  height,
  mark,
} from "./drawing.js";

const WIDE = 112; // CSS pixels: narrower moments have no room for a word,
const NARROW = 30; // and narrower ones than this not even for three letters

// The first letters of a name, as many as tell it from the others, three at least.
function short(name, names) {
  let length = 3;
  while (length < name.length && names.some((one) => one !== name && one.slice(0, length) === name.slice(0, length)))
    length++;
  return name.slice(0, length);
}

export class Plots {
  constructor(host) {
    this.at = host.at;
    this.audio = this.at("audio");
    this.stack = this.at("stack");
    this.line = this.at("cursor").firstElementChild;
    this.reset();
    this.listen();
    new ResizeObserver(() => this.paint()).observe(this.stack);
    document.addEventListener("gs-theme", () => this.paint());
  }

  reset() {
    this.duration = 0;
    this.offset = 0; // s of the track at which the sound of the player begins
    this.time = 0;
    this.moved = false;
    this.whole = this.part = this.why = this.answer = null;
    this.shown = false; // whether reasons lie over the spectrogram
    this.near = false; // whether only a piece of the track is in view
    this.tried = false;
  }

  // --- the player -------------------------------------------------------------------------------

  listen() {
    const { audio } = this;
    const slider = this.at("slider");
    this.at("play").addEventListener("click", () => this.toggle());
    audio.addEventListener("play", () => this.playing(true));
    for (const name of ["pause", "ended"]) audio.addEventListener(name, () => this.playing(false));
    for (const name of ["timeupdate", "seeked"])
      audio.addEventListener(name, () => {
        if (audio.readyState > 0) this.move(this.offset + audio.currentTime);
      });
    audio.addEventListener("loadedmetadata", () => {
      this.at("play").disabled = false;
      if (this.wanted !== null && this.wanted !== undefined) audio.currentTime = this.wanted - this.offset;
      this.wanted = null;
    });
    audio.addEventListener("error", () => this.unplayed());
    slider.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 5 : 1;
      if (event.key === "ArrowRight" || event.key === "ArrowUp") this.seek(this.time + step);
      else if (event.key === "ArrowLeft" || event.key === "ArrowDown") this.seek(this.time - step);
      else if (event.key === "PageUp") this.seek(this.time + 10);
      else if (event.key === "PageDown") this.seek(this.time - 10);
      else if (event.key === "Home") this.seek(this.view()[0]);
      else if (event.key === "End") this.seek(this.view()[1]);
      else if (event.key === " " || event.key === "Enter") this.toggle();
      else return;
      event.preventDefault();
    });
    let held = false;
    this.stack.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.target.closest(".plot") || event.target.closest("button")) return;
      held = event.pointerType === "mouse";
      if (held) this.stack.setPointerCapture(event.pointerId);
      this.seek(this.under(event));
    });
    this.stack.addEventListener("pointermove", (event) => {
      if (held) this.seek(this.under(event));
    });
    for (const name of ["pointerup", "pointercancel"])
      this.stack.addEventListener(name, () => {
        held = false;
      });
    const moments = this.at("moments");
    moments.addEventListener("keydown", (event) => {
      const all = [...moments.children];
      const here = all.indexOf(document.activeElement);
      const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: all.length - 1 }[event.key];
      if (next === undefined || !all[next]) return;
      event.preventDefault();
      for (const one of all) one.tabIndex = -1;
      all[next].tabIndex = 0;
      all[next].focus();
    });
    this.at("zoom").addEventListener("click", () => {
      this.near = !this.near;
      this.rescale();
    });
  }

  under(event) {
    const box = this.at("wave").getBoundingClientRect();
    const [first, last] = this.view();
    return first + clamp((event.clientX - box.left) / box.width, 0, 1) * (last - first);
  }

  open(url) {
    this.stop();
    this.reset();
    this.at("sound-trouble").hidden = true;
    this.at("zoom").hidden = true;
    this.url = url;
    this.source(url + "/sound", 0);
    this.paint();
    this.move(0);
  }

  // Play another sound that begins at `offset` seconds of the track.
  source(url, offset) {
    const sounding = !this.audio.paused;
    this.wanted = this.duration ? Math.max(this.time, offset) : null;
    this.offset = offset;
    this.at("play").disabled = true;
    this.audio.src = url;
    this.audio.load();
    if (sounding) this.play();
  }

  stop() {
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
  }

  // A browser that cannot play the file gets the same sound in another format, once.
  unplayed() {
    if (!this.audio.getAttribute("src")) return;
    if (!this.tried && this.offset === 0) {
      this.tried = true;
      this.source(this.url + "/sound?again=1", 0);
      return;
    }
    const note = this.at("sound-trouble");
    note.textContent = "This browser cannot play the sound; the pictures and the answer are here all the same.";
    note.hidden = false;
  }

  play() {
    const started = this.audio.play();
    if (started) started.catch(() => {}); // a browser may refuse, or the sound was changed meanwhile
  }

  get sounding() {
    return !this.audio.paused;
  }

  toggle() {
    if (this.audio.paused) this.play();
    else this.audio.pause();
  }

  playing(on) {
    this.at("play").classList.toggle("playing", on);
    this.at("play-word").textContent = on ? "Pause" : "Play";
    if (!on) return;
    const tick = () => {
      if (this.audio.paused) return;
      this.move(this.offset + this.audio.currentTime);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  seek(time) {
    const target = clamp(time, 0, Math.max(0, this.duration - 0.05));
    this.moved = true;
    if (this.audio.readyState > 0) this.audio.currentTime = Math.max(0, target - this.offset);
    else this.wanted = target;
    this.move(target);
  }

  // Put the cursor at a moment of the track.
  move(time) {
    this.time = time;
    const [first, last] = this.view();
    const share = last > first ? (time - first) / (last - first) : 0;
    this.line.style.left = 100 * clamp(share, 0, 1) + "%";
    this.line.style.opacity = share < -0.001 || share > 1.001 ? 0 : 1;
    this.at("clock").textContent = `${clock(time)} / ${clock(this.duration)}`;
    const slider = this.at("slider");
    slider.setAttribute("aria-valuenow", time.toFixed(1));
    slider.setAttribute("aria-valuetext", `${clock(time)} of ${clock(this.duration)}`);
    for (const button of this.at("moments").children)
      button.classList.toggle("here", time >= button.first && time < button.last);
  }

  // --- what is in view --------------------------------------------------------------------------

  view() {
    return this.near && this.part ? [this.part.start, this.part.stop] : [0, this.duration];
  }

  draw(look) {
    this.whole = this.unpacked(look);
    this.duration = look.duration;
    this.at("slider").setAttribute("aria-valuemax", look.duration.toFixed(1));
    this.rescale();
  }

  // A piece of the track in more detail.
  piece(look) {
    this.part = this.unpacked(look);
    this.near = true;
  }

  unpacked(look) {
    return { ...look, peaks: new Int8Array(bytes(look.peaks).buffer), mel: bytes(look.mel), pictures: {} };
  }

  explain(why) {
    this.why = why;
    this.shown = true;
    this.rescale();
  }

  overlay(on) {
    this.shown = on;
    this.paint();
  }

  rescale() {
    const zoom = this.at("zoom");
    zoom.hidden = !this.part;
    zoom.textContent = this.near ? "Show the whole track" : "Show the explained piece";
    this.paint();
    if (this.answer) this.over(this.answer);
    this.move(this.time);
  }

  paint() {
    const look = this.near && this.part ? this.part : this.whole;
    for (const id of ["wave", "mel"]) {
      const canvas = this.at(id);
      const box = canvas.getBoundingClientRect();
      const scale = window.devicePixelRatio || 1;
      canvas.width = Math.max(1, Math.round(box.width * scale));
      canvas.height = Math.max(1, Math.round(box.height * scale));
      const pen = canvas.getContext("2d");
      pen.scale(scale, scale);
      if (!look || !box.width) continue;
      if (id === "wave") this.waveform(pen, look, box.width, box.height);
      else this.spectrogram(pen, look, box.width, box.height);
    }
    this.ticks();
    this.fit();
  }

  waveform(pen, look, width, tall) {
    const style = getComputedStyle(document.documentElement);
    pen.fillStyle = style.getPropertyValue("--accent");
    const n = look.columns;
    const middle = tall / 2;
    let loudest = 1;
    for (const value of look.peaks) loudest = Math.max(loudest, Math.abs(value));
    const unit = (middle - 2) / Math.max(loudest, 32); // a quiet sound is drawn larger, silence is not
    for (let x = 0; x < width; x++) {
      const from = Math.floor((x / width) * n);
      const to = Math.max(from + 1, Math.floor(((x + 1) / width) * n));
      let low = 127;
      let high = -127;
      for (let column = from; column < Math.min(to, n); column++) {
        low = Math.min(low, look.peaks[column]);
        high = Math.max(high, look.peaks[n + column]);
      }
      const top = middle - high * unit;
      pen.fillRect(x, top, 1, Math.max(1, (high - low) * unit));
    }
  }

  spectrogram(pen, look, width, tall) {
    const reasons = this.shown && this.why;
    const key = reasons ? "grey" : "colour";
    look.pictures[key] = look.pictures[key] || this.picture(look, reasons ? GREY : COLOURED);
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(look.pictures[key], 0, 0, width, tall);
    if (reasons) this.reasons(pen, width, tall);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    for (const hz of LINES_HZ) {
      const y = tall * (1 - height(hz));
      const text = hz < 1000 ? hz + " Hz" : hz / 1000 + " kHz";
      pen.lineWidth = 3;
      pen.strokeStyle = "rgba(0, 0, 0, .75)";
      pen.fillStyle = "#fff";
      pen.strokeText(text, 5, y);
      pen.fillText(text, 5, y);
    }
  }

  picture(look, colours) {
    const canvas = document.createElement("canvas");
    canvas.width = look.columns;
    canvas.height = look.bands;
    const pen = canvas.getContext("2d");
    const image = pen.createImageData(look.columns, look.bands);
    for (let band = 0; band < look.bands; band++)
      for (let column = 0; column < look.columns; column++) {
        const colour = colours[look.mel[band * look.columns + column]];
        const place = 4 * ((look.bands - 1 - band) * look.columns + column);
        image.data.set([colour[0], colour[1], colour[2], 255], place);
      }
    pen.putImageData(image, 0, 0);
    return canvas;
  }

  // Blue with a plus spoke for the genre, orange with a minus against it; stronger is more.
  reasons(pen, width, tall) {
    const { occlusion, band_edges_hz: bands, time_edges_s: times } = this.why;
    const [first, last] = this.view();
    const across = (time) => ((time - first) / (last - first)) * width;
    const up = (hz) => tall * (1 - height(Math.min(hz, TOP_HZ)));
    const sizes = occlusion.cells.flat().map(Math.abs).sort((a, b) => a - b);
    const most = sizes[Math.floor(0.99 * (sizes.length - 1))] || 1;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    for (let b = 0; b + 1 < bands.length; b++)
      for (let t = 0; t + 1 < times.length; t++) {
        const share = clamp(occlusion.cells[b][t] / most, -1, 1);
        if (Math.abs(share) < 0.12) continue;
        const left = across(times[t]);
        const right = across(times[t + 1]);
        const top = up(bands[b + 1]);
        const bottom = up(bands[b]);
        const [r, g, bl] = share > 0 ? FOR : AGAINST;
        pen.fillStyle = `rgba(${r}, ${g}, ${bl}, ${0.12 + 0.68 * Math.abs(share)})`;
        pen.fillRect(left, top, right - left, bottom - top);
        if (Math.abs(share) < 0.45 || right - left < 9) continue;
        pen.font = `bold ${Math.min(15, Math.max(9, bottom - top))}px system-ui, sans-serif`;
        pen.fillStyle = "#000";
        pen.fillText(share > 0 ? "+" : "−", (left + right) / 2, (top + bottom) / 2);
      }
    pen.textAlign = "left";
  }

  ticks() {
    const box = this.at("ticks");
    const [first, last] = this.view();
    const span = last - first;
    box.replaceChildren();
    if (!span) return;
    const most = Math.max(2, Math.floor(box.clientWidth / 70));
    const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 3600].find((s) => span / s <= most) || 7200;
    for (let time = Math.ceil(first / step - 1e-9) * step; time <= last + 1e-6; time += step) {
      const share = (time - first) / span;
      const tick = document.createElement("span");
      tick.textContent = clock(time, step >= 1);
      tick.style.left = 100 * share + "%";
      if (share < 0.01) tick.className = "first";
      if (share > 0.97) tick.className = "last";
      box.append(tick);
    }
  }

  // --- genres over time -------------------------------------------------------------------------

  over(answer) {
    this.answer = answer;
    const [first, last] = [this.view()[0], this.view()[1] || answer.duration];
    const moments = answer.moments;
    const some = moments.length > 1;
    this.at("over-time").hidden = !some;
    const strip = this.at("moments");
    const rows = this.at("rows");
    strip.replaceChildren();
    rows.replaceChildren();
    if (!some) return;
    this.at("over-time-how").textContent = answer.sliced
      ? "heard in slices of 10 s"
      : `heard in ${moments.length} windows of ${Math.round(moments[0].end - moments[0].start)} s`;
    const middles = moments.map((one) => (one.start + one.end) / 2);
    // Moments overlap; each is drawn where it is the nearest.
    const edges = [moments[0].start, ...middles.slice(1).map((m, n) => (m + middles[n]) / 2), moments.at(-1).end];
    const place = (n, element) => {
      const left = clamp((edges[n] - first) / (last - first), 0, 1);
      const right = clamp((edges[n + 1] - first) / (last - first), 0, 1);
      element.style.left = 100 * left + "%";
      element.style.width = 100 * (right - left) + "%";
      return right > left;
    };
    moments.forEach((moment, n) => {
      const ranked = Object.entries(moment.probabilities);
      const [best] = ranked[0];
      const button = document.createElement("button");
      button.type = "button";
      button.first = edges[n];
      button.last = edges[n + 1];
      button.tabIndex = strip.children.length ? -1 : 0;
      button.style.setProperty("--of", answer.marks[best][0]);
      const words = ranked.slice(0, 3).map(([genre, p]) => `${genre} ${Math.round(100 * p)} %`);
      const span = `${clock(moment.start, true)} to ${clock(moment.end, true)}`;
      button.setAttribute("aria-label", `${span}: ${words.join(", ")}. Jump there.`);
      button.title = `${span}\n${words.join("\n")}`;
      const word = document.createElement("span");
      word.className = "word";
      word.textContent = best;
      const few = document.createElement("span");
      few.className = "few";
      few.textContent = short(best, Object.keys(answer.probabilities));
      button.append(mark(answer.marks[best]), word, few);
      button.addEventListener("click", () => {
        for (const one of strip.children) one.tabIndex = -1;
        button.tabIndex = 0;
        this.seek(edges[n]);
      });
      if (place(n, button)) strip.append(button);
    });
    const most = (genre) => Math.max(...moments.map((one) => one.probabilities[genre] || 0));
    const genres = Object.keys(answer.probabilities).filter((genre, n) => n < 3 || most(genre) >= 0.1);
    for (const genre of genres) {
      const row = document.createElement("div");
      row.className = "row";
      row.style.setProperty("--of", answer.marks[genre][0]);
      const name = document.createElement("div");
      name.className = "name";
      name.append(mark(answer.marks[genre]), genre);
      const plot = document.createElement("div");
      plot.className = "plot";
      plot.setAttribute("role", "img");
      plot.setAttribute("aria-label", `${genre} over time: ${moments.map((one) => Math.round(100 * (one.probabilities[genre] || 0)) + " %").join(", ")}`);
      moments.forEach((moment, n) => {
        const bar = document.createElement("i");
        bar.style.height = 100 * (moment.probabilities[genre] || 0) + "%";
        if (place(n, bar)) plot.append(bar);
      });
      row.append(name, plot);
      rows.append(row);
    }
    this.fit();
    this.move(this.time);
  }

  fit() {
    const strip = this.at("moments");
    const widths = [...strip.children].map((one) => one.getBoundingClientRect().width);
    const least = Math.min(...widths.filter((width) => width > 0));
    strip.classList.toggle("tight", least < WIDE);
    strip.classList.toggle("tightest", least < NARROW);
  }
}
