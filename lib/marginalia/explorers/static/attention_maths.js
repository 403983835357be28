// The attention explorer's arrays and choices: functions without any page, so that tests compare them.

export const KINDS = ["content", "spatial", "combined"];

// The bytes of a message, without a copy.
export const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

// Where a map lies in the arrays: (layer, head, row) of [L, H, Q, h, w]. A row is a query's place by score.
export const unitOf = ([, heads, rows], { layer, head, row }) => (layer * heads + head) * rows + row;

// One map: its levels of 8 bits, and the weight of level 255; of head -1 the mean of all heads.
export function mapOf(data, kind, choice) {
  const { shape: [layers, heads, rows, h, w], levels, peaks } = data;
  if (choice.head < 0) {
    return meanOf(Array.from({ length: heads }, (_, head) => mapOf(data, kind, { ...choice, head })));
  }
  const at = KINDS.indexOf(kind) * layers * heads * rows + unitOf(data.shape, choice);
  return { levels: levels.subarray(at * h * w, (at + 1) * h * w), peak: peaks[at] };
}

function meanOf(maps) {
  const weights = Array.from(maps[0].levels, (_, cell) =>
    maps.reduce((sum, map) => sum + weightAt(map, cell), 0) / maps.length);
  const peak = Math.max(...weights);
  return { levels: Uint8Array.from(weights, (weight) => Math.round((255 * weight) / peak)), peak };
}

export const weightAt = (map, cell) => (map.levels[cell] / 255) * map.peak;

// A weight in words: level 0 is anything below half a step.
export const told = (map, cell) =>
  (map.levels[cell] ? short(weightAt(map, cell)) : `below\u00a0${short(map.peak / 510)}`);

// What the product of content and spatial weights is divided by.
export const overlapOf = ({ shape, overlaps }, choice) => overlaps[unitOf(shape, choice)];

// The other way round: the weight that each row gives to a cell, and half a step of its map.
export const looksAt = (data, kind, { layer, head }, cell) =>
  Array.from({ length: data.shape[2] }, (_, row) => mapOf(data, kind, { layer, head, row }))
    .map((map) => ({ weight: weightAt(map, cell), half: map.peak / 510 }));

// Such a weight against the uniform weight over the cells.
export const timesUniform = ({ weight, half }, cells) =>
  (weight ? against(weight, cells) : `<\u2060${against(half, cells)}`);

// The cell where a map is largest, the first of several.
export function peakOf({ levels }) {
  let best = 0;
  for (let cell = 1; cell < levels.length; cell += 1) if (levels[cell] > levels[best]) best = cell;
  return best;
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
