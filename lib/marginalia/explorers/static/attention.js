// Predicted boxes on their image; for the chosen query, layer and head: content x spatial -> combined. Or the
// other way round: the queries that look at a cell.

import { append, around, boxesAt, cellUnder, clamp, fitted, floatsOf, remember, renderWith } from "./canvas.js";
import { View, pythonCall } from "./view.js";
import { KINDS, against, bytesOf, looksAt, mapOf, overlapOf, peakOf, short, timesUniform,
  told } from "./attention_maths.js";
import { barAt, drawHeads, drawPinned, drawProduct, drawQueries, drawScale, drawScene, frameAt, headFrames,
  heatOf, pinFrames, productFrames, queryBars, tintOf } from "./attention_drawing.js";

// ---- words --------------------------------------------------------------------------------------------

const HELP = "Point at a box to choose its query, click to hold it, click again for what lies beneath. "
  + "“Cell → queries” shows which queries look at a cell: click one. Keys: ←\u00a0→ query, ↑\u00a0↓ layer (or "
  + "they move the cell), [\u00a0] or a digit head, C content, S spatial, B both combined, Q cell → queries, "
  + "L all layers, P pin, Ctrl+Z, Ctrl+Shift+Z, R reset, Escape lets go.";
const CORNERS = "Column j of a map lies on [j, j + 1] / w of the image. Its key encodes the lower right "
  + "corner, so maps lean half a cell up and to the left.";

const headOf = (head) => (head < 0 ? "mean of heads" : `head ${head}`);
const queryOf = ({ queries, names, scores }, row, more = "", word = "Query") =>
  `${word} ${queries[row]} (“${names[row]}”, score ${scores[row].toFixed(2)}${more})`;
const placeOf = (cell, w) => `row ${Math.floor(cell / w)}, column ${cell % w}`;

function describe({ facts, row, layer, head, kind, held, shown: { map } }) {
  const peak = `peak ${short(map.peak)} = ${against(map.peak, map.levels.length)} the uniform weight`;
  return `${queryOf(facts, row, held ? ", held" : "")}, layer ${layer}, ${headOf(head)}, ${kind}: ${peak}.`;
}

// The three queries that give a cell most.
function describeLooks({ facts, looks, lit, layer, head, kind, w, h }) {
  const where = `Cell at ${placeOf(lit, w)}, layer ${layer}, ${headOf(head)}, ${kind}`;
  if (!looks.some(({ weight }) => weight)) return `${where}: every query gives it less than 8 bits can tell.`;
  const best = looks.map((_, row) => row).sort((a, b) => looks[b].weight - looks[a].weight).slice(0, 3)
    .filter((row) => looks[row].weight); // of the others 8 bits tell nothing
  const each = best.map((row) => `${queryOf(facts, row, "", "query")} ${timesUniform(looks[row], h * w)}`);
  return `${where}: most from ${each.join(", then ")} the uniform weight.`;
}

// A query of the bars, or the cell under the pointer, with the box there, or else the peak.
function describeCell({ facts, bar, near, row, looks, over, cells, lit, w, data, choice, shown: { parts } }) {
  if (bar >= 0) {
    const weight = `${timesUniform(looks[bar], parts[0].levels.length)} the uniform weight`;
    return `${queryOf(facts, bar)} gives the cell at ${placeOf(lit, w)} ${weight}.`;
  }
  const [content, spatial, combined] = parts.map((map) => told(map, lit));
  const beside = near < 0 || near === row ? "" : `${queryOf(facts, near)} is here. `;
  const where = `${beside}${over < 0 && !cells ? "Peak" : "Cell"} at ${placeOf(lit, w)}`;
  if (choice.head < 0) {
    return `${where}, means of heads: content ${content}, spatial ${spatial}, combined ${combined}. The `
      + "product holds for each head, not for means.";
  }
  const sum = short(overlapOf(data, choice));
  return `${where}: content ${content} × spatial ${spatial} ÷ Σ ${sum} ≈\u00a0${combined}`;
}

function describeKept({ queries, left_out: out, best_left_out: best }) {
  const all = queries.length + out;
  const kept = out
    ? `The ${queries.length} best of ${all} queries; ${out} left out, scores up to ${best.toFixed(2)}.`
    : `All ${all} queries.`;
  return `${kept} Boxes with a score below the threshold are hidden, but for the chosen one; all numbers count `
    + "from 0.";
}

// ---- view ---------------------------------------------------------------------------------------------

class AttentionView extends View {
  constructor(model, host, signal) {
    super(model, host, signal, { name: "attention", label: "Attention of a detector's queries" });
    this.facts = model.get("facts");
    this.data = { shape: this.facts.shape, levels: bytesOf(model.get("levels")),
      peaks: floatsOf(model.get("peaks")), overlaps: floatsOf(model.get("overlaps")) };
    [this.layers, this.heads, this.count, this.h, this.w] = this.facts.shape;
    this.aspect = this.facts.size[0] / this.facts.size[1];
    this.over = -1; // the cell under the pointer
    this.near = this.bar = -1; // the rows of the box and of the bar under it
    this.held = false; // a choice that pointing at other boxes does not change
    this.all = false; // maps of all layers
    // made again only when the choice changed
    this.mapped = remember((...choice) => this.maps(...choice));
    this.paired = remember((pinned, ...choice) => (pinned.kind ? this.onOneScale(pinned, ...choice) : []));
    this.looked = remember((kind, layer, head, cell) => looksAt(this.data, kind, { layer, head }, cell));
    this.buildChoices(this.line(this.above));
    this.buildImage(this.left);
    this.buildMaps(this.right);
    this.buildHelp(this.root, HELP);
    append(this.root, "div", "m-help m-muted m-kept", describeKept(this.facts));
    append(this.root, "div", "m-help m-muted", CORNERS);
    this.buildKeys();
    this.start();
  }

  buildChoices(line) {
    this.steppers(line, "query");
    this.toggle(line, "layer", [...Array(this.layers).keys()]);
    this.steppers(line, "head");
    this.toggle(line, "kind", KINDS);
    this.press(line, "Cell → queries", () => this.cells, () => this.turn(),
      { title: "Q: which queries look at a cell" });
    this.press(line, "All layers", () => this.all, () => this.overview(), { title: "L: layers × heads" });
    this.press(line, "Pin", () => this.pair.length > 0, () => this.pin(),
      { title: "P: keep this map beside those chosen next, on one scale" });
  }

  buildImage(left) {
    this.picture = this.stage(left, `Image with predicted boxes. ${HELP}`,
      (width) => ({ ...fitted(width, this.facts.size, 480), x: 0, y: 0 }), drawScene,
      { pointer: { hover: (p) => this.hover(p), tap: (p) => this.click(p) } });
    const sliders = this.line(left);
    this.slider(sliders, "threshold");
    this.slider(sliders, "opacity");
    this.buildActs(this.line(left));
    this.text(left, "status");
    this.text(left, "cell", "m-muted");
  }

  buildMaps(right) {
    this.text(right, "title");
    const choose = (p) => {
      const { layer, head } = this.shown.small[frameAt(p)] ?? this.choice;
      this.change({ layer, head });
    };
    this.figure(right, "Maps of all heads; a click chooses one", headFrames, drawHeads, null, choose);
    this.figure(right, "Colours of the maps, from 0 to their own peak", () => ({ height: 18 }), drawScale);
    this.text(right, "pinned", "m-title");
    this.figure(right, "The pinned map beside the present one, on one scale", pinFrames, drawPinned);
    this.text(right, "equation", "m-title");
    this.figure(right, "Content times spatial map gives the combined map; a click chooses one", productFrames,
      drawProduct, (p) => this.point({ over: this.inProduct(p).cell }), (p) => this.clickProduct(p));
    this.text(right, "looks", "m-title");
    this.figure(right, "Weight that each query gives to the cell; a click chooses a query", queryBars,
      drawQueries, (p) => this.point({ bar: barAt(p) }), (p) => this.hold(barAt(p)));
  }

  buildKeys() {
    const choose = (values) => () => this.change(values);
    this.arrows("across", "down");
    Object.assign(this.keys, { c: choose({ kind: "content" }), s: choose({ kind: "spatial" }),
      b: choose({ kind: "combined" }), q: () => this.turn(), l: () => this.overview(), p: () => this.pin(),
      "[": () => this.step("head", -1), "]": () => this.step("head", 1), escape: () => this.letGo() });
    for (let head = 0; head < Math.min(this.heads, 10); head += 1) this.keys[head] = choose({ head });
  }

  get cells() { return this.cell >= 0; }
  get row() { return Math.max(0, this.facts.queries.indexOf(this.query)); }
  get rows() { // that are shown
    const { row, facts: { scores } } = this;
    return scores.map((_, i) => i).filter((i) => i === row || scores[i] >= this.threshold);
  }
  get choice() { return { layer: this.layer, head: this.head, row: this.row }; }
  get box() { return this.facts.boxes[this.row]; }
  get reference() { return this.referenceOf(this.layer, this.row); }
  get shown() { return this.mapped(this.row, this.layer, this.head, this.kind, this.all); }
  get pair() { return this.paired(this.pinned, this.row, this.layer, this.head, this.kind); }
  get lit() { return this.over >= 0 ? this.over : this.cells ? this.cell : this.shown.peak; }
  get looks() { return this.looked(this.kind, this.layer, this.head, this.lit); }
  get python() {
    const { count, state, facts: { image, named } } = this;
    const given = `captured, pixels${named ? ", names=names" : ""}`;
    return pythonCall("AttentionExplorer", given, { image, queries: count, ...state });
  }

  referenceOf(layer, row) { return this.facts.references?.[layer][row]; }

  // The map of a choice and those beside it, with their images: all kinds, all heads and their mean.
  maps(row, layer, head, kind, all) {
    const one = (name, at) => {
      const map = mapOf(this.data, name, { row, ...at });
      return { ...map, ...at, heat: heatOf(map, this.w) };
    };
    const small = (all ? [...Array(this.layers).keys()] : [layer]).flatMap((at) =>
      [...Array(this.heads).keys(), -1].map((each) =>
        ({ ...one(kind, { layer: at, head: each }), reference: this.referenceOf(at, row) })));
    const parts = KINDS.map((name) => one(name, { layer, head }));
    const map = parts[KINDS.indexOf(kind)];
    return { map, small, parts, tint: tintOf(map, this.w), peak: peakOf(map) };
  }

  // The pinned map and the present one.
  onOneScale(pinned, ...now) {
    const at = [[this.facts.queries.indexOf(pinned.query), pinned.layer, pinned.head, pinned.kind], now];
    const pair = at.map(([row, layer, head, kind], k) => ({ ...mapOf(this.data, kind, { row, layer, head }),
      box: this.facts.boxes[row], reference: this.referenceOf(layer, row),
      words: [`${k ? "now" : "pinned"}: query ${this.facts.queries[row]} “${this.facts.names[row]}”`,
        `layer ${layer}, ${headOf(head)}, ${kind}`] }));
    const most = Math.max(...pair.map(({ peak }) => peak));
    return pair.map((map) => ({ ...map, most, heat: heatOf(map, this.w, most) }));
  }

  told() {
    const { query, layer, head, kind, note, cells, lit, pair, rows, w } = this;
    return { query, head: head < 0 ? "mean" : head, cell: describeCell(this),
      status: note || (cells ? describeLooks(this) : describe(this)),
      threshold: `${this.threshold.toFixed(2)}: ${rows.length} of ${this.count}`,
      opacity: this.opacity.toFixed(2),
      title: `All heads: ${kind} attention of query ${query} in ${this.all ? "all layers" : `layer ${layer}`}`,
      pinned: pair.length ? `Pinned and present map, both in colours from 0 to ${short(pair[0].most)}` : "",
      equation: head < 0 ? "Mean of heads of each kind"
        : `Head ${head}: content × spatial → combined; Σ sums the products over all cells`,
      looks: `Queries, by score: ${kind} weight on the cell at ${placeOf(lit, w)}; dashed: uniform` };
  }

  // ---- changes

  chooseRow(row, options) { this.change({ query: this.facts.queries[row] }, options); }

  // Arrow keys step across and down: through queries and layers, or they move a cell.
  steps(by) {
    const { cell, cells, h, w } = this;
    const query = { query: this.facts.queries[around(this.row + by, this.count)] };
    const layer = { layer: clamp(this.layer + by, 0, this.layers - 1) };
    const head = { head: around(this.head + 1 + by, this.heads + 1) - 1 }; // after the last their mean, -1
    const [row, column] = [Math.floor(cell / w), cell % w];
    return { query, layer, head,
      across: cells ? { cell: row * w + clamp(column + by, 0, w - 1) } : query,
      down: cells ? { cell: clamp(row + by, 0, h - 1) * w + column } : layer };
  }

  // A query that was asked for by name stays when the pointer moves on.
  step(name, by) {
    this.held ||= name === "query" || (name === "across" && !this.cells);
    this.over = this.near = this.bar = -1; // a mouse that rests on a cell no longer points at it
    super.step(name, by);
  }

  // What is undone stays when the pointer moves on.
  travel(by) {
    this.held = true;
    super.travel(by);
  }

  reset() {
    this.held = this.all = false;
    super.reset();
  }

  hold(row) {
    if (row < 0) return;
    this.held = true;
    this.chooseRow(row);
  }

  letGo() {
    this.held = false;
    this.change({ cell: -1 });
  }

  // From a query's cells to a cell's queries, and back.
  turn() { this.change({ cell: this.cells ? -1 : this.lit }); }

  overview() { this.point({ all: !this.all }); }

  pin() {
    const { query, layer, head, kind } = this;
    this.change({ pinned: this.pair.length ? {} : { query, layer, head, kind } });
  }

  // ---- pointer

  // The cell of a map in a frame under a place; -1: none.
  cellAt(frame, p) {
    const [row, column] = cellUnder(frame, p, this.h, this.w) ?? [0, -1];
    return row * this.w + column;
  }

  // Rows whose boxes are at a place, best first.
  under(p) { return boxesAt(p.drawn.places, p, p.drawn.tags).filter((row) => this.rows.includes(row)); }

  hover(p) {
    const over = this.cellAt(p.drawn, p);
    const [near = -1] = this.under(p);
    this.picture.cursor(this.cells && over >= 0 ? "crosshair" : near < 0 ? "default" : "pointer");
    const follows = !this.held && !this.cells && near >= 0 && near !== this.row;
    if (follows) this.chooseRow(near, { last: false });
    this.point({ over, near });
  }

  // Holds the cell; or the query of the box, at the same place again the one beneath, and after the last none.
  click(p) {
    const cell = this.cellAt(p.drawn, p);
    if (this.cells) {
      if (cell >= 0) this.change({ cell });
      return;
    }
    const rows = this.under(p);
    const now = this.again(p) && this.held ? rows.indexOf(this.row) : -1;
    const row = rows[now + 1];
    this.held = row !== undefined;
    this.chooseRow(row ?? this.row);
  }

  // The kind whose map is under a place, and the cell in it; -1: none.
  inProduct(p) {
    const k = frameAt(p);
    return { kind: KINDS[k], cell: k < 0 ? -1 : this.cellAt(p.drawn.frames[k], p) };
  }

  clickProduct(p) {
    const { kind, cell } = this.inProduct(p);
    if (kind) this.change({ kind, ...(this.cells && cell >= 0 ? { cell } : {}) });
  }
}

const render = renderWith(AttentionView);

export default { render };
