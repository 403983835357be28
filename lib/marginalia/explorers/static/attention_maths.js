// The attention explorer's arrays and choices: functions without any page, so that tests compare them.

export const KINDS = ["content", "spatial", "combined"];

// The bytes of a message, without a copy.
export const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

// Where a map lies in the arrays: (layer, head, row) of [L, H, Q, h, w]. A row is a query's place by score.
export const unitOf = ([, heads, rows], { layer, head, row }) => (layer * heads + head) * rows + row;

// One map: its levels of 8 bits, and the weight of level 255.
export function mapOf({ shape, levels, peaks }, kind, choice) {
  const [layers, heads, rows, h, w] = shape;
  const at = KINDS.indexOf(kind) * layers * heads * rows + unitOf(shape, choice);
  return { levels: levels.subarray(at * h * w, (at + 1) * h * w), peak: peaks[at] };
}

export const weightAt = (map, cell) => (map.levels[cell] / 255) * map.peak;

// The three weights of a cell, and what their product is divided by.
export function productAt(data, choice, cell) {
  const weights = KINDS.map((kind) => weightAt(mapOf(data, kind, choice), cell));
  return { weights, overlap: data.overlaps[unitOf(data.shape, choice)] };
}

// The cell where a map is largest, the first of several.
export function peakOf({ levels }) {
  let best = 0;
  for (let cell = 1; cell < levels.length; cell += 1) if (levels[cell] > levels[best]) best = cell;
  return best;
}

// The cell that covers a place relative to the image, -1 outside: column j covers [j, j + 1] / w.
export function cellAt(x, y, h, w) {
  const [column, row] = [Math.floor(x * w), Math.floor(y * h)];
  return column >= 0 && row >= 0 && column < w && row < h ? row * w + column : -1;
}

// The row whose box (cx, cy, w, h) is under a place: the smallest of the solid ones, else of all; -1: none.
export function boxAt(boxes, solid, x, y) {
  const inside = ([cx, cy, w, h]) => Math.abs(x - cx) <= w / 2 && Math.abs(y - cy) <= h / 2;
  const found = boxes.map((_, row) => row).filter((row) => inside(boxes[row]));
  const area = (row) => boxes[row][2] * boxes[row][3];
  found.sort((a, b) => solid[b] - solid[a] || area(a) - area(b));
  return found.length ? found[0] : -1;
}

// Two digits that count, as short as they can be read.
export function short(value) {
  if (value === 0) return "0";
  if (value < 1e-4) return value.toExponential(0).replace("-", "−");
  return value >= 99.5 ? String(Math.round(value)) : String(Number(value.toPrecision(2)));
}

// A weight against the uniform weight over the cells.
export const against = (weight, cells) => `${short(weight * cells)}×`;

// Heads side by side: [columns, rows], about twice as wide as high.
export function gridOf(count) {
  const rows = Math.max(1, Math.round(Math.sqrt(count / 2)));
  return [Math.ceil(count / rows), rows];
}
