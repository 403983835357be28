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
  const pairs = points.flatMap(([ax, ay], i) => points.slice(i + 1).map(([bx, by], k) => {
    const [dx, dy] = [ax - bx, ay - by];
    return [i, i + 1 + k, Math.sqrt(dx * dx + dy * dy)]; // to the last bit as in the library
  }));
  pairs.sort((a, b) => a[2] - b[2]);
  const rank = new Int32Array(n * n);
  pairs.forEach(([i, j], e) => (rank[i * n + j] = rank[j * n + i] = e));
  return { points, n, pairs, rank };
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

// Sum over Z/2 of two lists of numbers: what stands in one of them alone, ascending.
function sum(a, b) {
  const alone = new Set(b);
  return [...a.filter((value) => !alone.delete(value)), ...alone].sort((x, y) => x - y);
}

// Loops as [edge of birth, edge of death, third point of the triangle of death], by persistent cohomology:
// coboundaries of edges, the last edge first, reduced over Z/2. Edges of the tree bear no loop (clearing); one
// that comes with a triangle begins a loop that ends at once.
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
  const columns = new Map(); // by the triangle in which they begin
  const found = [];
  for (let e = pairs.length - 1; e >= 0; e -= 1) {
    if (tree.has(e)) continue;
    let column = coboundary(e);
    while (columns.has(column[0])) column = sum(column, columns.get(column[0]));
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
  const edgeOf = (length) => (pairs.find((pair) => pair[2] > length * (1 - 1e-12)) ?? pairs.at(-1)).slice(0, 2);
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

// Everything about a cloud that the view shows. `answer` is the kernel's: its `points`, and their loops as
// births and deaths; it counts for these points alone.
export function measure(points, answer) {
  const edges = filtration(points);
  const here = points.length <= MOST;
  const known = here || JSON.stringify(answer?.points) === JSON.stringify(points);
  const bars = barsOf(edges, here ? null : known ? answer.bars : []);
  const seen = [0, 0];
  // by persistence: a bar keeps its number in a drag
  for (const bar of bars.toSorted((a, b) => b.death - b.birth - (a.death - a.birth))) {
    bar.number = seen[bar.dimension] += 1;
  }
  return { points, edges, bars, known, totals: seen, end: endOf(bars) };
}

// The complex at a length: its edges and triangles, and Betti numbers (`loops`: NaN where it is unknown).
export function complexAt({ edges, bars, known }, length) {
  const alive = (k) =>
    bars.filter((bar) => bar.dimension === k && bar.birth <= length && length < bar.death).length;
  const count = edges.pairs.filter((pair) => pair[2] <= length).length;
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
  const every = Array.from({ length: nodes }, (_, node) => node);
  const bumps = pairs.filter((pair) => Number.isFinite(pair[1])).map(([birth, death]) => ({
    across: every.map((node) => bump(birth, lowB, highB, node)),
    up: every.map((node) => (death - birth) * bump(death - birth, lowP, highP, node)) }));
  return every.map((row) => every.map((column) =>
    bumps.reduce((sum, { across, up }) => sum + up[row] * across[column], 0)));
}

// The image of one dimension as it is shown: births and persistences from 0 to the end of the axes.
export function imageOf({ bars, end }, dimension) {
  const pairs = bars.filter((bar) => bar.dimension === dimension).map((bar) => [bar.birth, bar.death]);
  const bandwidth = end / NODES;
  const rows = persistenceImage(pairs, bandwidth, [0, end, 0, end]);
  const peak = Math.max(...rows.flat());
  return { dimension, rows, bandwidth, nodes: NODES, peak };
}

// ---- points -------------------------------------------------------------------------------------------

// A place inside the window, rounded to a thousandth of it or finer, so that numbers stay short.
export function placed([x, y], [left, right, low, high]) {
  const rounded = (value, span) => Number(value.toFixed(clamp(3 - Math.floor(Math.log10(span)), 0, 20)));
  return [rounded(clamp(x, left, right), right - left), rounded(clamp(y, low, high), high - low)];
}
