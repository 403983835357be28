// The maths of the Rips explorer: functions without any page, so that tests compare them with the library.

import { clamp } from "./canvas.js";

export const MOST = 40; // points of which loops are found here; of more the kernel finds them
export const MOST_POINTS = 200; // the library's own limit
const NODES = 20; // of the image, along birth and along persistence
const STEPS = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];

// ---- complex ------------------------------------------------------------------------------------------

// All pairs of points by length, the order in which edges enter: `pairs` of [i, j, length], i < j; and
// `rank`, where the edge of points i and j stands in it, at i * n + j. Edges of one length keep an order too.
function filtration(points) {
  const n = points.length;
  const pairs = [];
  for (let i = 0; i < n; i += 1) {
    for (let j = i + 1; j < n; j += 1) {
      const [dx, dy] = [points[i][0] - points[j][0], points[i][1] - points[j][1]];
      pairs.push([i, j, Math.sqrt(dx * dx + dy * dy)]); // to the last bit as in the library
    }
  }
  pairs.sort((a, b) => a[2] - b[2]);
  const rank = new Int32Array(n * n);
  pairs.forEach(([i, j], e) => (rank[i * n + j] = rank[j * n + i] = e));
  return { points, n, pairs, rank };
}

// How many edges a length has let in.
function entered(pairs, length) {
  let [low, high] = [0, pairs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (pairs[middle][2] <= length) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The triangles of the first `count` edges: how many there are, and those that are drawn, at most one on each
// side of an edge that is their last one. These cover the same ground: on one side of edge ij all third points
// are nearer to each other than it is long, and of two of them, k and l, the triangle ijl lies in ijk, ikl and
// jkl, of which the last two are there already.
export function triangles({ points, n, pairs, rank }, count) {
  let all = 0;
  const drawn = pairs.slice(0, count).flatMap(([i, j], e) => {
    const third = [-1, -1]; // on the left and on the right of the edge
    for (let k = 0; k < n; k += 1) {
      if (rank[i * n + k] >= e || rank[j * n + k] >= e || k === i || k === j) continue;
      all += 1;
      const [ax, ay] = [points[i][0] - points[k][0], points[i][1] - points[k][1]];
      const [bx, by] = [points[j][0] - points[k][0], points[j][1] - points[k][1]];
      const cross = ax * by - ay * bx;
      if (cross) third[cross > 0 ? 0 : 1] = k;
    }
    // all counter-clockwise, so that they add up when they are filled as one
    return [[i, j, third[0]], [j, i, third[1]]].filter((corners) => corners[2] >= 0);
  });
  return { all, drawn };
}

// ---- bars ---------------------------------------------------------------------------------------------

// Edges that join two components, by Kruskal's algorithm: a minimum spanning tree.
function joining({ n, pairs }) {
  const parent = Array.from({ length: n }, (_, i) => i);
  const root = (i) => {
    while (parent[i] !== i) i = parent[i] = parent[parent[i]];
    return i;
  };
  const tree = new Set();
  pairs.forEach(([i, j], e) => {
    const [a, b] = [root(i), root(j)];
    if (a === b) return;
    parent[a] = b;
    tree.add(e);
  });
  return tree;
}

// Sum over Z/2 of two ascending lists: what stands in one of them alone.
function sum(a, b) {
  const out = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) [i, j] = [i + 1, j + 1];
    else out.push(a[i] < b[j] ? a[i++] : b[j++]);
  }
  while (i < a.length) out.push(a[i++]);
  while (j < b.length) out.push(b[j++]);
  return out;
}

// Loops as [edge of birth, edge of death, third point of the triangle of death], by persistent cohomology:
// coboundaries of edges, the last edge first, reduced over Z/2. Edges of the tree bear no loop (clearing),
// and those that come with a triangle none that lasts (apparent pairs).
export function loops({ n, pairs, rank }, tree) {
  // The triangles with edge e, as numbers in the order in which triangles enter: last edge, then third point.
  const coboundary = (e) => {
    const [i, j] = pairs[e];
    const around = [];
    for (let k = 0; k < n; k += 1) {
      if (k === i || k === j) continue;
      const [a, b] = [rank[i * n + k], rank[j * n + k]];
      around.push(e > a && e > b ? e * n + k : a > b ? a * n + j : b * n + i);
    }
    return around.sort((x, y) => x - y);
  };
  // A triangle whose last edge is e, the first of these: it ends the loop that e would begin.
  const closing = (e) => {
    const [i, j] = pairs[e];
    for (let k = 0; k < n; k += 1) {
      if (rank[i * n + k] < e && rank[j * n + k] < e && k !== i && k !== j) return e * n + k;
    }
    return -1;
  };
  const columns = new Map(); // by the triangle in which they begin; null: the coboundary of its last edge
  const found = [];
  for (let e = pairs.length - 1; e >= 0; e -= 1) {
    if (tree.has(e)) continue;
    const triangle = closing(e);
    if (triangle >= 0) {
      columns.set(triangle, null);
      continue;
    }
    let column = coboundary(e);
    while (columns.has(column[0])) {
      column = sum(column, columns.get(column[0]) ?? coboundary(Math.floor(column[0] / n)));
    }
    columns.set(column[0], column); // never empty: with all triangles there no loop stays open
    found.push([e, Math.floor(column[0] / n), column[0] % n]);
  }
  return found;
}

// Bars as { dimension, birth, death, from, to }: `from` and `to` are the points of the edges and triangles
// that begin and end them. Those of length 0 are left out, as in the library. `told` are births and deaths of
// loops that the kernel found; null: look for them here.
function barsOf(edges, told) {
  const { n, pairs } = edges;
  const tree = joining(edges);
  const ends = (e) => pairs[e].slice(0, 2);
  const bars = [...tree].map((e) =>
    ({ dimension: 0, birth: 0, death: pairs[e][2], from: null, to: ends(e) }));
  if (n) bars.push({ dimension: 0, birth: 0, death: Infinity, from: null, to: null });
  const edgeOf = (length) => ends(Math.min(entered(pairs, length * (1 - 1e-12)), pairs.length - 1));
  const ones = told
    ? told.map(([birth, death]) => ({ dimension: 1, birth, death, from: edgeOf(birth), to: edgeOf(death) }))
    : loops(edges, tree).map(([e, f, k]) =>
      ({ dimension: 1, birth: pairs[e][2], death: pairs[f][2], from: ends(e), to: [...ends(f), k] }));
  ones.sort((a, b) => a.birth - b.birth || a.death - b.death);
  return [...bars, ...ones].filter((bar) => bar.death > bar.birth);
}

// The end of all axes: a round number a little beyond the last death; 1 where nothing dies.
function endOf(bars) {
  const most = 1.05 * Math.max(0, ...bars.map((bar) => bar.death).filter(Number.isFinite));
  if (!most) return 1;
  const unit = 10 ** Math.floor(Math.log10(most));
  return STEPS.find((step) => step * unit >= most) * unit;
}

const same = (a, b) =>
  a.length === b.length && a.every((row, i) => row.every((value, k) => value === b[i][k]));

// Everything about a cloud that the view shows. `answer` is the kernel's: its `points`, and their loops as
// births and deaths; it counts for these points alone.
export function measure(points, answer) {
  const edges = filtration(points);
  const here = points.length <= MOST;
  const known = here || same(answer?.points ?? [], points);
  const bars = barsOf(edges, here ? null : known ? answer.bars : []);
  const order = bars.map((bar, i) => i).sort((a, b) => // by persistence: a bar keeps its number in a drag
    bars[b].death - bars[b].birth - (bars[a].death - bars[a].birth) || a - b);
  const seen = [0, 0];
  for (const i of order) bars[i].number = seen[bars[i].dimension] += 1;
  return { points, edges, bars, known, totals: seen, end: endOf(bars) };
}

// The complex at a length: its edges and triangles, and Betti numbers (`loops`: NaN where it is unknown).
export function complexAt({ edges, bars, known }, length) {
  const alive = (k) =>
    bars.filter((bar) => bar.dimension === k && bar.birth <= length && length < bar.death).length;
  const count = entered(edges.pairs, length);
  return { length, count, ...triangles(edges, count), components: alive(0), loops: known ? alive(1) : NaN };
}

// ---- image --------------------------------------------------------------------------------------------

// Persistence image of [birth, death] pairs as in the library: weight = persistence, gudhi's convention; rows
// by ascending persistence, columns by birth. `ranges` as there.
export function persistenceImage(pairs, bandwidth, [lowB, highB, lowP, highP], nodes = NODES) {
  const bump = (x, low, high, node) => {
    const z = (low + (node * (high - low)) / (nodes - 1) - x) / bandwidth;
    return Math.exp(-0.5 * z * z) / (Math.sqrt(2 * Math.PI) * bandwidth);
  };
  const image = Array.from({ length: nodes }, () => new Float64Array(nodes));
  const every = Array.from({ length: nodes }, (_, node) => node);
  for (const [birth, death] of pairs.filter((pair) => Number.isFinite(pair[1]))) {
    const across = every.map((node) => bump(birth, lowB, highB, node));
    every.forEach((row) => {
      const height = (death - birth) * bump(death - birth, lowP, highP, row);
      every.forEach((column) => (image[row][column] += height * across[column]));
    });
  }
  return image;
}

// The image of one dimension as it is shown: births and persistences from 0 to the end of the axes.
export function imageOf({ bars, end }, dimension) {
  const pairs = bars.filter((bar) => bar.dimension === dimension).map((bar) => [bar.birth, bar.death]);
  const bandwidth = end / NODES;
  const rows = persistenceImage(pairs, bandwidth, [0, end, 0, end]);
  const peak = Math.max(...rows.map((row) => Math.max(...row)));
  return { dimension, rows, bandwidth, nodes: NODES, peak };
}

// ---- points -------------------------------------------------------------------------------------------

// A place inside the window, rounded to a thousandth of it or finer, so that numbers stay short.
export function placed([x, y], [left, right, low, high]) {
  const rounded = (value, span) => Number(value.toFixed(clamp(3 - Math.floor(Math.log10(span)), 0, 20)));
  return [rounded(clamp(x, left, right), right - left), rounded(clamp(y, low, high), high - low)];
}

// The points as an expression that makes the explorer again.
export function asPython(points, length) {
  const rows = points.map(([x, y]) => `[${x}, ${y}]`).join(", ");
  return `RipsExplorer([${rows}], length=${length})`;
}
