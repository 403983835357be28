// Predicted boxes on their image; for the chosen query, layer and head: content x spatial -> combined.

import { append, around, button, createStage, floatsOf, imageFrom, renderWith, setText } from "./canvas.js";
import { View, press } from "./view.js";
import { KINDS, against, boxAt, bytesOf, cellAt, gridOf, mapOf, peakOf, productAt,
  short, within } from "./attention_maths.js";
import { drawHeads, drawProduct, drawScale, drawScene, frameAt, framesOf, heatOf,
  tintOf } from "./attention_drawing.js";

// ---- words --------------------------------------------------------------------------------------------

const HELP = "Point at a box to choose its query, click to hold it. Keys: ←\u00a0→ query, ↑\u00a0↓ layer, [\u00a0] or a "
  + "digit head, C content, S spatial, B both combined, Escape lets go.";
const CORNERS = "Column j of a map lies on [j, j + 1] / w of the image. Its key encodes the lower right "
  + "corner, so maps lean half a cell up and to the left.";

function describe({ facts, row, layer, head, kind, held }, map) {
  const what = `“${facts.names[row]}”, score ${facts.scores[row].toFixed(2)}${held ? ", held" : ""}`;
  const peak = `peak ${short(map.peak)} = ${against(map.peak, map.levels.length)} the uniform weight`;
  return `Query ${facts.queries[row]} (${what}), layer ${layer}, head ${head}, ${kind}: ${peak}.`;
}

function describeCell(cell, pointed, w, { weights, overlap }) {
  const [content, spatial, combined] = weights.map(short);
  const place = `row ${Math.floor(cell / w)}, column ${cell % w}`;
  const where = pointed ? `Cell at ${place}` : `Peak at ${place}`;
  return `${where}: content ${content} × spatial ${spatial} ÷ Σ ${short(overlap)} ≈\u00a0${combined}`;
}

function describeKept({ queries, left_out: out, best_left_out: best, solid }) {
  const all = queries.length + out;
  const kept = out
    ? `The ${queries.length} best of ${all} queries; ${out} left out, scores up to ${best.toFixed(2)}.`
    : `All ${all} queries.`;
  return `${kept} Boxes with a score below ${solid} are dotted; all numbers count from 0.`;
}

const ATTENTION_STYLE = `
.m-attention .m-left { flex: 1 1 340px; } .m-attention .m-right { flex: 1 1 330px; }
.m-attention .m-cell { min-height: 2.9em; font-variant-numeric: tabular-nums; }
.m-attention .m-choices { display: flex; flex-wrap: wrap; gap: 6px 16px; margin-bottom: 4px; }
.m-attention .m-query { min-width: 70px; text-align: center; }
`;

const TALLEST = 480; // pixels of the image
const TEXT_LINES = { heads: 1, product: 3 };

// ---- view ---------------------------------------------------------------------------------------------

class AttentionView extends View {
  constructor(model, host, signal) {
    super(model, host, signal, { name: "attention", label: "Attention of a detector's queries",
      style: ATTENTION_STYLE });
    this.facts = model.get("facts");
    this.data = { shape: this.facts.shape, levels: bytesOf(model.get("levels")),
      peaks: floatsOf(model.get("peaks")), overlaps: floatsOf(model.get("overlaps")) };
    [this.layers, this.heads, this.rows, this.h, this.w] = this.facts.shape;
    this.aspect = this.facts.size[0] / this.facts.size[1];
    this.solid = this.facts.scores.map((score) => score >= this.facts.solid);
    this.cell = -1; // under the pointer
    this.held = false; // a choice that pointing at other boxes does not change
    this.build(signal);
    this.loadPicture();
  }

  build(signal) {
    const row = append(this.root, "div", "m-row");
    this.buildLeft(append(row, "div", "m-left"), signal);
    const right = append(row, "div", "m-right");
    this.buildChoices(append(right, "div", "m-choices"), signal);
    const scale = this.buildMaps(right, signal);
    this.start([this.picture, this.thumbs, scale, this.product], ["query", "layer", "head", "kind"]);
  }

  buildLeft(left, signal) {
    this.picture = createStage(left, { label: `Image with predicted boxes. ${HELP}`, signal,
      height: (width) => Math.min(width / this.aspect, TALLEST),
      draw: (context, place) => this.drawPicture(context, place),
      pointer: { hover: (p) => this.hover(p), leave: () => this.point(-1), down: (p) => this.click(p) } });
    this.status = append(left, "div", "m-status");
    this.cellText = append(left, "div", "m-cell m-muted");
    this.buildHelp(left, HELP);
    append(left, "div", "m-help m-muted m-kept", describeKept(this.facts));
    append(left, "div", "m-help m-muted", CORNERS);
  }

  buildMaps(right, signal) {
    this.title = append(right, "div", "m-title");
    const image = (label, options) => createStage(right, { label, signal, role: "img", ...options });
    this.thumbs = image("Maps of all heads; a click chooses one", {
      height: (width) => this.headFrames(width).height,
      draw: (context, place) => this.drawHeads(context, place),
      pointer: { hover: (p) => this.thumbs.cursor(this.headAt(p) < 0 ? "default" : "pointer"),
        down: (p) => this.clickHead(p) } });
    const scale = image("Colours of the maps, from 0 to their own peak", { height: () => 18,
      draw: (context, { width, theme }) => drawScale(context, { width, theme }) });
    this.equation = append(right, "div", "m-title");
    this.product = image("Content map times spatial map gives the combined map; a click chooses one", {
      height: (width) => this.productFrames(width).height,
      draw: (context, place) => this.drawProduct(context, place),
      pointer: { hover: (p) => this.hoverProduct(p), leave: () => this.point(-1),
        down: (p) => this.clickProduct(p) } });
    return scale;
  }

  // Buttons for what keys do too.
  buildChoices(parent, signal) {
    const choice = (parent, string, act, label) => button(parent, string, act, { signal, label });
    const group = (label) => {
      const element = append(parent, "div", "m-choice");
      element.setAttribute("role", "group");
      element.setAttribute("aria-label", label);
      return element;
    };
    const query = group("query");
    choice(query, "‹", () => this.stepQuery(-1), "query with the next higher score");
    this.queryText = append(query, "span", "m-query");
    choice(query, "›", () => this.stepQuery(1), "query with the next lower score");
    const layers = group("layer");
    append(layers, "span", "m-muted", "layer");
    const kinds = group("kind of map");
    this.buttons = {
      layer: Array.from({ length: this.layers }, (_, layer) =>
        choice(layers, String(layer), () => this.change({ layer }), `layer ${layer}`)),
      kind: this.toggle(kinds, "kind", KINDS),
    };
  }

  get layer() { return this.model.get("layer"); }
  get head() { return this.model.get("head"); }
  get kind() { return this.model.get("kind"); }
  get row() { return Math.max(0, this.facts.queries.indexOf(this.model.get("query"))); }
  get choice() { return { layer: this.layer, head: this.head, row: this.row }; }
  get box() { return this.facts.boxes[this.row]; }
  get reference() { return this.facts.references?.[this.layer][this.row]; }

  // The maps of what is chosen and their images; made again only when the choice changed.
  get shown() {
    const { choice, kind, w, data } = this;
    const key = JSON.stringify([choice, kind]);
    if (this.known?.key !== key) {
      const heads = Array.from({ length: this.heads }, (_, head) => mapOf(data, kind, { ...choice, head }));
      const parts = KINDS.map((name) => mapOf(data, name, choice));
      const heats = (maps) => maps.map((map) => heatOf(map, w));
      this.known = { key, heads, parts, headHeats: heats(heads), partHeats: heats(parts),
        tint: tintOf(heads[choice.head], w), peak: peakOf(parts[KINDS.indexOf(kind)]) };
    }
    return this.known;
  }

  show() {
    const { facts, row, layer, head, kind, held, shown } = this;
    setText(this.status, describe({ facts, row, layer, head, kind, held }, shown.heads[head]));
    const cell = this.cell < 0 ? shown.peak : this.cell;
    setText(this.cellText, describeCell(cell, this.cell >= 0, this.w, productAt(this.data, this.choice, cell)));
    setText(this.queryText, `query ${facts.queries[row]}`);
    setText(this.title, `All heads: ${kind} attention of query ${facts.queries[row]} in layer ${layer}`);
    setText(this.equation, `Head ${head}: content × spatial → combined; Σ sums the products over all cells`);
    press(this.buttons.layer, layer);
    press(this.buttons.kind, KINDS.indexOf(kind));
  }

  async loadPicture() {
    this.image = await imageFrom(this.model.get("png"));
    this.refresh();
  }

  // ---- changes

  chooseRow(row, options) { return this.change({ query: this.facts.queries[row] }, options); }

  // A query that was asked for by name stays when the pointer moves on.
  stepQuery(by) {
    this.held = true;
    return this.chooseRow(around(this.row + by, this.rows));
  }

  point(cell) {
    if (cell === this.cell) return;
    this.cell = cell;
    this.refresh();
  }

  rootKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return false;
    const key = event.key.toLowerCase();
    const digit = /^\d$/.test(key) ? Number(key) : -1;
    const kind = { c: "content", s: "spatial", b: "combined" }[key];
    if (key === "arrowleft" || key === "arrowright") return this.stepQuery(key === "arrowright" ? 1 : -1);
    if (key === "arrowup" || key === "arrowdown") {
      return this.change({ layer: within(this.layer + (key === "arrowdown" ? 1 : -1), this.layers) });
    }
    if (key === "[" || key === "]") {
      return this.change({ head: around(this.head + (key === "]" ? 1 : -1), this.heads) });
    }
    if (digit >= 0 && digit < this.heads) return this.change({ head: digit });
    if (kind) return this.change({ kind });
    if (key !== "escape") return false;
    this.held = false;
    return this.change({});
  }

  // ---- pointer

  // A place on a frame, relative to it.
  part(p, { x, y, wide, tall }) { return [(p.x - x) / wide, (p.y - y) / tall]; }

  hover(p) {
    if (!this.frame) return;
    const [x, y] = this.part(p, this.frame);
    const row = boxAt(this.facts.boxes, this.solid, x, y);
    this.picture.cursor(row < 0 ? "default" : "pointer");
    if (!this.held && row >= 0 && row !== this.row) this.chooseRow(row, { last: false });
    this.point(cellAt(x, y, this.h, this.w));
  }

  // Holds the query of the box, or lets it go when it is held already; a click beside all boxes lets go too.
  click(p) {
    const row = boxAt(this.facts.boxes, this.solid, ...this.part(p, this.frame));
    this.held = row >= 0 && !(this.held && row === this.row);
    this.chooseRow(row < 0 ? this.row : row);
  }

  headFrames(width) {
    return framesOf(width, this.heads, gridOf(this.heads)[0], this.aspect, TEXT_LINES.heads);
  }

  productFrames(width) {
    return framesOf(width, KINDS.length, KINDS.length, this.aspect, TEXT_LINES.product,
      Math.max(20, Math.min(30, width / 14)));
  }

  headAt(p) { return this.headPlaces ? frameAt(this.headPlaces, p, TEXT_LINES.heads) : -1; }
  productAt(p) { return this.productPlaces ? frameAt(this.productPlaces, p, TEXT_LINES.product) : -1; }

  clickHead(p) {
    const head = this.headAt(p);
    if (head >= 0) this.change({ head });
  }

  clickProduct(p) {
    const k = this.productAt(p);
    if (k >= 0) this.change({ kind: KINDS[k] });
  }

  hoverProduct(p) {
    const k = this.productAt(p);
    this.product.cursor(k < 0 ? "default" : "pointer");
    this.point(k < 0 ? -1 : cellAt(...this.part(p, this.productPlaces[k]), this.h, this.w));
  }

  // ---- drawing

  drawPicture(context, { width, height, theme }) {
    const wide = Math.min(width, height * this.aspect);
    this.frame = { x: 0, y: 0, wide, tall: wide / this.aspect };
    const { image, facts, row, reference, cell, shown, h, w } = this;
    drawScene(context, { image, tint: shown.tint, facts, view: this.frame, row, reference, cell,
      grid: { h, w }, theme });
  }

  drawHeads(context, { width, theme }) {
    this.headPlaces = this.headFrames(width).frames;
    const { shown, head, box, reference } = this;
    drawHeads(context, { heats: shown.headHeats, maps: shown.heads, frames: this.headPlaces, head, box,
      reference, theme });
  }

  drawProduct(context, { width, theme }) {
    this.productPlaces = this.productFrames(width).frames;
    const { shown, kind, box, reference, h, w } = this;
    const cell = this.cell < 0 ? shown.peak : this.cell;
    drawProduct(context, { heats: shown.partHeats, maps: shown.parts, frames: this.productPlaces, kind, box,
      reference, cell, grid: { h, w }, terms: this.facts.terms.map((terms) => terms[this.layer]), theme });
  }
}

export const render = renderWith(AttentionView);

export default { render };
