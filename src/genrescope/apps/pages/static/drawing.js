// Colours, scales and small marks that pictures of a sound share.
"use strict";

const MAGMA = ["000004", "1d1147", "51127c", "822681", "b63679", "e65164", "fb8861", "fec287", "fcfdbf"].map(
  (hex) => [0, 2, 4].map((n) => parseInt(hex.slice(n, n + 2), 16))
);
export const TOP_HZ = 15000;
export const LINES_HZ = [250, 1000, 4000];
export const FOR = [77, 155, 255];
export const AGAINST = [255, 154, 60];

const mel = (hz) => (hz < 1000 ? (3 * hz) / 200 : 15 + Math.log(hz / 1000) / (Math.log(6.4) / 27));
export const height = (hz) => mel(hz) / mel(TOP_HZ);
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

const SHAPES = {
  circle: "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13z",
  square: "M2 2h12v12H2z",
  diamond: "M8 .5L15.5 8L8 15.5L.5 8z",
  "triangle-up": "M8 1L15.5 14.5H.5z",
  "triangle-down": "M8 15L.5 1.5H15.5z",
  plus: "M5.5 1h5v4.5H15v5h-4.5V15h-5v-4.5H1v-5h4.5z",
  cross: "M4.5 1L8 4.5L11.5 1L15 4.5L11.5 8L15 11.5L11.5 15L8 11.5L4.5 15L1 11.5L4.5 8L1 4.5z",
  star: "M8 .5l2.2 5 5.3.5-4 3.6 1.2 5.4L8 12.2 3.3 15l1.2-5.4-4-3.6 5.3-.5z",
};
const SVG = "http://www.w3.org/2000/svg";

// The mark of a genre: its colour and its shape; the name stands beside it.
export function mark([colour, shape]) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "mark");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[shape] || SHAPES.circle);
  path.setAttribute("fill", colour);
  svg.append(path);
  return svg;
}

export function clock(seconds, whole = false) {
  const tenths = Math.floor(seconds * 10 + 1e-6);
  const minutes = Math.floor(tenths / 600);
  const rest = (tenths - 600 * minutes) / 10;
  return minutes + ":" + (whole ? String(Math.floor(rest)).padStart(2, "0") : rest.toFixed(1).padStart(4, "0"));
}

export function bytes(text) {
  const raw = atob(text);
  const made = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) made[n] = raw.charCodeAt(n);
  return made;
}

// The colour of a level from 0 to 255.
function tones(grey) {
  const made = [];
  for (let level = 0; level < 256; level++) {
    if (grey) {
      const value = 18 + 0.72 * level;
      made.push([value, value, value]);
      continue;
    }
    const place = (level / 255) * (MAGMA.length - 1);
    const low = Math.min(Math.floor(place), MAGMA.length - 2);
    made.push(MAGMA[low].map((value, n) => value + (MAGMA[low + 1][n] - value) * (place - low)));
  }
  return made;
}
export const COLOURED = tones(false);
export const GREY = tones(true);
