// Predicted boxes on their image; for the chosen query, layer and head: content x spatial -> combined.

import { append, around, clamp, floatsOf, remember, renderWith } from "./canvas.js";
import { View, pythonCall } from "./view.js";
import { KINDS, against, boxAt, bytesOf, cellAt, mapOf, peakOf, productAt, short } from "./attention_maths.js";
import { drawHeads, drawProduct, drawScale, drawScene, frameAt, headFrames, heatOf, partIn, productFrames,
  tintOf } from "./attention_drawing.js";

// ---- words --------------------------------------------------------------------------------------------

const HELP = "Point at a box to choose its query, click to hold it. Keys: ←\u00a0→ query, ↑\u00a0↓ layer, "
  + "[\u00a0] or a digit head, C content, S spatial, B both combined, Ctrl+Z, Ctrl+Shift+Z, R reset, Escape lets go.";
const CORNERS = "Column j of a map lies on [j, j + 1] / w of the image. Its key encodes the lower right "
  + "corner, so maps lean half a cell up and to the left.";

function describe({ facts, row, layer, head, kind, held, shown }) {
  const map = shown.heads[head];
  const what = `“${facts.names[row]}”, score ${facts.scores[row].toFixed(2)}${held ? ", held" : ""}`;
  const peak = `peak ${short(map.peak)} = ${against(map.peak, map.levels.length)} the uniform weight`;
  return `Query ${facts.queries[row]} (${what}), layer ${layer}, head ${head}, ${kind}: ${peak}.`;
}

// The cell under the pointer, or else the peak.
function describeCell({ cell, lit, w, data, choice }) {
  const { weights, overlap } = productAt(data, choice, lit);
  const [content, spatial, combined] = weights.map(short);
  const where = `${cell < 0 ? "Peak" : "Cell"} at row ${Math.floor(lit / w)}, column ${lit % w}`;
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
.m-attention .m-cell { min-height: 2.9em; font-variant-numeric: tabular-nums; }
.m-attention .m-choices { gap: 6px 16px; margin: 0 0 4px; }
`;

const TALLEST = 480; // pixels of the image

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
    this.mapped = remember((...choice) => this.maps(...choice)); // made again only when the choice changed
    this.buildImage(this.left);
    this.buildMaps(this.right);
    this.buildKeys();
    this.start();
    this.loadPicture();
  }

  buildImage(left) {
    this.picture = this.stage(left, `Image with predicted boxes. ${HELP}`, drawScene, {
      height: (width) => Math.min(width / this.aspect, TALLEST),
      pointer: { hover: (p) => this.hover(p), down: (p) => this.click(p) } });
    this.buildActs(this.line(left));
    this.text(left, "status");
    this.text(left, "cell", "m-muted");
    this.buildHelp(left, HELP);
    append(left, "div", "m-help m-muted m-kept", describeKept(this.facts));
    append(left, "div", "m-help m-muted", CORNERS);
  }

  buildMaps(right) {
    const choices = append(right, "div", "m-line m-choices");
    this.steppers(choices, "query");
    append(choices, "span", "m-muted", "layer");
    this.toggle(choices, "layer", Array.from({ length: this.layers }, (_, layer) => layer));
    this.toggle(choices, "kind", KINDS);
    this.text(right, "title");
    const heads = this.stage(right, "Maps of all heads; a click chooses one", drawHeads, { role: "img",
      height: (width) => headFrames(width, this).height,
      pointer: { hover: (p) => heads.cursor(frameAt(p) < 0 ? "default" : "pointer"),
        down: (p) => frameAt(p) >= 0 && this.change({ head: frameAt(p) }) } });
    this.stage(right, "Colours of the maps, from 0 to their own peak", drawScale,
      { role: "img", height: () => 18 });
    this.text(right, "equation", "m-title");
    this.product = this.stage(right, "Content map times spatial map gives the combined map; a click chooses one",
      drawProduct, { role: "img", height: (width) => productFrames(width, this).height,
        pointer: { hover: (p) => this.hoverProduct(p),
          down: (p) => frameAt(p) >= 0 && this.change({ kind: KINDS[frameAt(p)] }) } });
  }

  buildKeys() {
    const choose = (values) => () => this.change(values);
    this.arrows("query", "layer");
    Object.assign(this.keys, { c: choose({ kind: "content" }), s: choose({ kind: "spatial" }),
      b: choose({ kind: "combined" }), "[": () => this.step("head", -1), "]": () => this.step("head", 1),
      escape: () => this.letGo() });
    for (let head = 0; head < Math.min(this.heads, 10); head += 1) this.keys[head] = choose({ head });
  }

  get layer() { return this.model.get("layer"); }
  get head() { return this.model.get("head"); }
  get kind() { return this.model.get("kind"); }
  get row() { return Math.max(0, this.facts.queries.indexOf(this.model.get("query"))); }
  get choice() { return { layer: this.layer, head: this.head, row: this.row }; }
  get box() { return this.facts.boxes[this.row]; }
  get reference() { return this.facts.references?.[this.layer][this.row]; }
  get shown() { return this.mapped(this.row, this.layer, this.head, this.kind); }
  get lit() { return this.cell < 0 ? this.shown.peak : this.cell; }
  get python() {
    const { rows, state, facts: { image, named } } = this;
    const given = `captured, pixels${named ? ", names=names" : ""}`;
    return pythonCall("AttentionExplorer", given, { image, queries: rows, ...state });
  }

  // The maps of a choice and their images: those of all heads, and of all kinds.
  maps(row, layer, head, kind) {
    const one = (name, at) => {
      const map = mapOf(this.data, name, { layer, head: at, row });
      return { ...map, heat: heatOf(map, this.w) };
    };
    const heads = Array.from({ length: this.heads }, (_, at) => one(kind, at));
    const parts = KINDS.map((name) => one(name, head));
    return { heads, parts, tint: tintOf(heads[head], this.w), peak: peakOf(heads[head]) };
  }

  told() {
    const { layer, head, kind, note } = this;
    const query = this.model.get("query");
    return { query, status: note || describe(this), cell: describeCell(this),
      title: `All heads: ${kind} attention of query ${query} in layer ${layer}`,
      equation: `Head ${head}: content × spatial → combined; Σ sums the products over all cells` };
  }

  // ---- changes

  chooseRow(row, options) { this.change({ query: this.facts.queries[row] }, options); }

  steps(by) {
    return { query: { query: this.facts.queries[around(this.row + by, this.rows)] },
      layer: { layer: clamp(this.layer + by, 0, this.layers - 1) },
      head: { head: around(this.head + by, this.heads) } };
  }

  // A query that was asked for by name stays when the pointer moves on.
  step(name, by) {
    this.held ||= name === "query";
    super.step(name, by);
  }

  letGo() {
    this.held = false;
    this.change({});
  }

  // ---- pointer

  hover(p) {
    const [x, y] = partIn(p.drawn, p);
    const row = boxAt(this.facts.boxes, this.solid, x, y);
    this.picture.cursor(row < 0 ? "default" : "pointer");
    if (!this.held && row >= 0 && row !== this.row) this.chooseRow(row, { last: false });
    this.point({ cell: cellAt(x, y, this.h, this.w) });
  }

  // Holds the query of the box, or lets it go when it is held already; a click beside all boxes lets go too.
  click(p) {
    const row = boxAt(this.facts.boxes, this.solid, ...partIn(p.drawn, p));
    this.held = row >= 0 && !(this.held && row === this.row);
    this.chooseRow(row < 0 ? this.row : row);
  }

  hoverProduct(p) {
    const k = frameAt(p);
    this.product.cursor(k < 0 ? "default" : "pointer");
    this.point({ cell: k < 0 ? -1 : cellAt(...partIn(p.drawn.frames[k], p), this.h, this.w) });
  }
}

const render = renderWith(AttentionView);

export default { render };
