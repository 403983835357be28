// The composition explorer's sums and choices: functions without any page, so that tests compare them.

export const TERMS = ["all", "base", "query low rank", "query gate", "key low rank", "key gate"];
export const WHERE = ["pre", "post"];
export const MAPS = ["before", "after", "change"];

// Where a layer's scores or weights lie in the arrays: [2, L, ...].
export const unitOf = ({ shape }, { layer, where }) => WHERE.indexOf(where) * shape[0] + layer;

// Scores or weights of a pair in all heads, before composition.
export function headsAt(data, choice, i, j) {
  const { shape: [, heads, tokens], maps } = data;
  const first = unitOf(data, choice) * heads;
  return Array.from({ length: heads }, (_, n) => maps[((first + n) * tokens + i) * tokens + j]);
}

// What a token adds to C as query or as key: low rank and gate, H x H each, row after row; at n * H + m what
// head m receives of head n.
function sideOf(data, choice, token, side) {
  const { shape: [, heads, tokens, rank], groups, vectors } = data;
  const first = ((unitOf(data, choice) * tokens + token) * 2 + (side === "key")) * (2 * rank + 1);
  const vector = (row) => vectors.subarray((first + row) * heads, (first + row + 1) * heads);
  const [low, gate] = [new Float64Array(heads * heads), new Float64Array(heads * heads)];
  for (let r = 0; r < rank; r += 1) {
    const [read, write] = [vector(r), vector(rank + r)];
    for (let n = 0; n < heads; n += 1) {
      const group = n - (n % (heads / groups));
      for (let m = group; m < group + heads / groups; m += 1) low[n * heads + m] += read[n] * write[m];
    }
  }
  vector(2 * rank).forEach((value, n) => (gate[n * (heads + 1)] = value));
  return [low, gate];
}

// The base less the identity.
function baseOf(data, choice) {
  const [size, unit] = [data.shape[1] ** 2, unitOf(data, choice)];
  return data.bases.subarray(unit * size, (unit + 1) * size);
}

const sumOf = (matrices) =>
  Float64Array.from(matrices[0], (_, k) => matrices.reduce((sum, matrix) => sum + matrix[k], 0));

// C(i, j) - I and the five terms that it is the sum of, in the order of TERMS.
export function termsAt(data, choice, i, j) {
  const [query, key] = [sideOf(data, choice, i, "query"), sideOf(data, choice, j, "key")];
  const branches = [baseOf(data, choice), ...query, ...key];
  return [sumOf(branches), ...branches];
}

// What the heads have beside their own through a matrix: before (H) times matrix (H x H).
export const through = (before, matrix) =>
  before.map((_, m) => before.reduce((sum, value, n) => sum + value * matrix[n * before.length + m], 0));

// The map of a head (-1: mean of all) before composition, after it, or their difference, of which the mean is
// that of its size. NaN where the mask forbids a pair.
export function mapOf(data, choice) {
  const { shape: [, heads, tokens] } = data;
  const { head, map } = choice;
  const all = Array.from({ length: tokens }, (_, token) => token);
  // C(i, j) - I is a matrix that the query decides, with the base, and one that the key decides
  const queries = all.map((i) => sumOf([baseOf(data, choice), ...sideOf(data, choice, i, "query")]));
  const keys = all.map((j) => sumOf(sideOf(data, choice, j, "key")));
  const valueAt = (i, j) => {
    if (!isAllowed(data, choice, i, j)) return NaN;
    const before = headsAt(data, choice, i, j);
    const [query, key] = [through(before, queries[i]), through(before, keys[j])];
    const change = query.map((value, m) => value + key[m]);
    const shown = { before, change, after: before.map((value, m) => value + change[m]) }[map];
    if (head >= 0) return shown[head];
    return shown.reduce((sum, value) => sum + (map === "change" ? Math.abs(value) : value), 0) / heads;
  };
  const values = all.flatMap((i) => all.map((j) => valueAt(i, j)));
  const there = values.filter((value) => !Number.isNaN(value));
  return { values, limit: largestOf(there), signed: there.some((value) => value < 0) };
}

export const isAllowed = ({ shape: [, , tokens], masks }, { layer }, i, j) =>
  masks[(layer * tokens + i) * tokens + j] > 0;

export const normOf = (matrix) => Math.hypot(...matrix);

export const largestOf = (matrix) => matrix.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

// The entries that are at least this share of the largest, as { n, m, value }, the largest last.
export function flowsOf(matrix, heads, threshold) {
  const least = Math.max(threshold * largestOf(matrix), Number.MIN_VALUE);
  const flows = Array.from(matrix, (value, k) => ({ n: Math.floor(k / heads), m: k % heads, value }));
  return flows.filter(({ value }) => Math.abs(value) >= least)
    .sort((a, b) => Math.abs(a.value) - Math.abs(b.value));
}

// The flow under a place: x from 0 to 1 across, y in rows of heads; null where none is nearer than `reach`.
// A flow's curve, with its handles at a third and two thirds, has the height n + (m - n) (3 x^2 - 2 x^3).
export function flowAt(flows, x, y, reach) {
  const away = ({ n, m }) => Math.abs(n + (m - n) * x * x * (3 - 2 * x) - y);
  return flows.reduce((best, flow) => (away(flow) <= (best ? away(best) : reach) ? flow : best), null);
}

// A token as text in which blanks can be seen.
export const visible = (token) =>
  token.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "⇥") || "∅";
