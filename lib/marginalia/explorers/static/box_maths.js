// The maths of the box explorer: functions without any page, so that tests compare them with the library.

import { clamp } from "./canvas.js";

const GOLDEN = 0x9e3779b9;
const DRAWS = 200;
const SEED = 0;
const QUANTILES = [0.05, 0.95];
const LEAST = 2; // pixels: a side that can still be taken hold of

// A bijection of the 32-bit numbers that leaves no visible pattern in counters.
export function lowbias32(x) {
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb352d);
  x ^= x >>> 15;
  x = Math.imul(x, 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

// Random boxes of the given widths and heights, inside an image of size [W, H]: the library's own numbers.
export function uniformBoxes(wh, size, seed, draw) {
  const stream = lowbias32(lowbias32(seed ^ GOLDEN) ^ draw);
  const unit = (box, axis) => lowbias32(stream + 2 * box + axis) / 2 ** 32;
  return wh.map(([w, h], box) => [
    unit(box, 0) * Math.max(size[0] - w, 0), unit(box, 1) * Math.max(size[1] - h, 0), w, h,
  ]);
}

// Pixels x, y, w, h told in another way: the correlation of two boxes depends on it.
export function convert([x, y, w, h], boxFormat) {
  if (boxFormat === "cxcywh") return [x + w / 2, y + h / 2, w, h];
  if (boxFormat === "xyxy") return [x, y, x + w, y + h];
  return [x, y, w, h];
}

// Four numbers minus their mean, at unit length; null where all four are equal and nothing is left.
function profile(box) {
  const mean = (box[0] + box[1] + box[2] + box[3]) / 4;
  const rest = box.map((value) => value - mean);
  const length = Math.hypot(...rest);
  if (!(length > 1e-12 * Math.max(...box.map(Math.abs)))) return null; // the library's own threshold
  return rest.map((value) => value / length);
}

const product = (a, b) => clamp(a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3], -1, 1);

// Pearson's correlation of every two boxes over their four numbers, N rows of N; NaN where one has no variance.
export function correlationMatrix(boxes) {
  const profiles = boxes.map(profile);
  return profiles.map((p) => profiles.map((q) => (p && q ? product(p, q) : NaN)));
}

export const pearson = (a, b) => correlationMatrix([a, b])[0][1];

// Mean of |Pearson| over the pairs of usable boxes; NaN for fewer than two.
export function macroscopicCorrelation(boxes) {
  const profiles = boxes.map(profile).filter(Boolean);
  let sum = 0;
  for (let i = 1; i < profiles.length; i += 1) {
    for (let j = 0; j < i; j += 1) sum += Math.abs(product(profiles[i], profiles[j]));
  }
  const pairs = (profiles.length * (profiles.length - 1)) / 2;
  return pairs ? sum / pairs : NaN;
}

// Quantile with linear interpolation between the neighbours, numpy's default.
export function quantile(values, q) {
  const sorted = Float64Array.from(values).sort();
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

// Where MC of random boxes of these sizes lies: [low, high]; the same draws as the library's.
export function uniformBand(wh, size, boxFormat = "xywh") {
  const values = Array.from({ length: DRAWS }, (_, draw) =>
    macroscopicCorrelation(uniformBoxes(wh, size, SEED, draw).map((box) => convert(box, boxFormat))));
  const known = values.filter((value) => !Number.isNaN(value));
  return QUANTILES.map((q) => quantile(known, q));
}

// No N boxes can have a smaller MC: four centred numbers leave room for three directions only.
export const lowerBound = (n) => (n < 4 ? 0 : (n - 3) / (3 * (n - 1)));

const inside = ([x, y, w, h], [W, H]) =>
  [clamp(x, 0, Math.max(W - w, 0)), clamp(y, 0, Math.max(H - h, 0)), w, h];

// The box shifted by whole pixels: one that is inside the image stays there, and another gets no further out.
export function moved([x, y, w, h], dx, dy, [W, H]) {
  const place = (start, by, most) => clamp(start + by, Math.min(start, 0), Math.max(start, most, 0));
  return [place(x, dx, W - w), place(y, dy, H - h), w, h];
}

// The box with the sides that a handle holds shifted, none of them further out of the image than it was. A
// handle is two of -1, 0 and 1; left and top are -1.
export function resized([x, y, w, h], [across, down], dx, dy, [W, H]) {
  const side = (start, length, hold, by, most) => {
    const end = start + length;
    if (hold < 0) {
      const first = clamp(start + by, Math.min(start, 0), Math.max(end - LEAST, start));
      return [first, end - first];
    }
    const [low, high] = [Math.min(length, LEAST), Math.max(most - start, length)];
    return [start, hold > 0 ? clamp(length + by, low, high) : length];
  };
  const [left, width] = side(x, w, across, dx, W);
  const [top, height] = side(y, h, down, dy, H);
  return [left, top, width, height];
}

// The box between two corners, cut to the image, in whole pixels.
export function between(one, other, size) {
  const [[x, right], [y, bottom]] = [0, 1].map((axis) =>
    [one[axis], other[axis]].map((at) => Math.round(clamp(at, 0, size[axis]))).sort((a, b) => a - b));
  return inside([x, y, Math.max(right - x, LEAST), Math.max(bottom - y, LEAST)], size);
}

// A new box around a place, as large as the middle one of those there are.
export function fresh(boxes, x, y, [W, H]) {
  const middle = (k, whole) => {
    const sides = boxes.map((box) => box[k]).sort((a, b) => a - b);
    return Math.round(clamp(sides.length ? sides[sides.length >> 1] : whole / 5, LEAST, whole));
  };
  const [w, h] = [middle(2, W), middle(3, H)];
  return inside([Math.round(x - w / 2), Math.round(y - h / 2), w, h], [W, H]);
}

// Everything the view shows: usable boxes, matrix, MC and its band, worked out by `band`; null for fewer than
// two boxes.
export function measure(boxes, size, boxFormat, band = uniformBand) {
  const told = boxes.map((box) => convert(box, boxFormat));
  const leftOut = told.flatMap((box, i) => (profile(box) ? [] : [i]));
  const wh = boxes.filter((_, i) => !leftOut.includes(i)).map((box) => [box[2], box[3]]);
  return { usable: wh.length, leftOut, band: wh.length < 2 ? null : band(wh, size, boxFormat),
    matrix: correlationMatrix(told), mc: macroscopicCorrelation(told) };
}
