// Boxes on an image, and the position relation of two of them: geometry, embedding, bias and attention.

import { append, around, clamp, digits, fixed, remember, renderWith } from "./canvas.js";
import { next } from "./view.js";
import { BOX_HELP, BoxesView, describeBoxes } from "./boxes.js";
import { measureRow } from "./relation_maths.js";
import { FEATURES, PARTNER, QUERY, cellAt, drawEmbedding, drawHeads, embeddingFrame,
  headsFrame } from "./relation_drawing.js";

// ---- words --------------------------------------------------------------------------------------------

const HELP = `${BOX_HELP} The box chosen last is the query i, the one before it its partner j; a box or column `
  + "under the pointer is the partner for as long. Keys: P partner, H head, X swaps, W weights.";
const CAPTION = "Source and target are the boxes shown: box i attends, box j is attended to. Content logits "
  + "are equal, so that attention is exp(Rel), normalised over j. ρ: Pearson correlation of the two boxes.";

const percent = (value) => `${digits(100 * value)} %`;
const signed = (value) => (Number.isNaN(value) ? "none" : fixed(value, 3));

// Above the drawings: the pair in numbers.
function describePair({ j, rho, overlap, attention, of }) {
  return `ρ ${signed(rho[j])}, IoU ${overlap[j].toFixed(3)}, attention ${percent(attention[of][j])}`;
}

// A cell of the embedding.
function describeWave({ row, column }, { geometry, embedding, frequency, j }) {
  const [wave, times] = [column % 2 ? "cos" : "sin", frequency[column >> 1]];
  const value = embedding[j][row * 2 * frequency.length + column];
  return `${wave}(${digits(times)} × ${digits(geometry[j][row])}) = ${digits(value)}, of ${FEATURES[row]}.`;
}

// A cell of the heads' rows, or else where attention of the chosen head is largest.
function describeCell(cell, { i, j, scores, relation, attention, rho, overlap, of }, names) {
  const [H, pair] = [scores.length, `(${names[i]}, ${names[j]})`];
  if (!cell) {
    const most = attention[of].indexOf(Math.max(...attention[of]));
    const where = most === i ? "itself" : `box ${names[most]}`;
    return `Box ${names[i]} attends most to ${where}, ${percent(attention[of][most])}; uniform is `
      + `${percent(1 / names.length)}.`;
  }
  if (cell.row === H + 1) return `ρ${pair} = ${signed(rho[j])}.`;
  if (cell.row === H + 2) return `IoU${pair} = ${signed(overlap[j])}.`;
  const weight = `attention${pair} = ${percent(attention[cell.row][j])}`;
  if (cell.row === H) return `Mean of heads: ${weight}.`;
  const [score, value] = [scores[cell.row][j], relation[cell.row][j]];
  return `Head ${cell.row}: W embed + B = ${digits(score)}, Rel${pair} = ${digits(value)}, ${weight}.`;
}

// ---- view ---------------------------------------------------------------------------------------------

class RelationView extends BoxesView {
  constructor(model, host, signal) {
    super(model, host, signal, { name: "relation", label: "Boxes on an image and their position relation",
      help: HELP, shown: ["frequency", "projections"] });
  }

  buildRight(right) {
    this.measured = remember(measureRow);
    const above = this.line(right);
    this.steppers(above, "query", "partner", "head");
    this.button(above, "Swap", () => this.swap(), { title: "X: query and partner change places" });
    const names = Object.keys(this.projections);
    if (names.length > 1) this.toggle(this.line(right), "weights", names, (name) => `${name} weights`);
    this.text(right, "mc");
    this.text(right, "geometry", "m-title");
    const wave = (p) => this.over({ wave: p.x < p.drawn.left ? null : cellAt(p) });
    this.figure(right, "Geometry of the pair and its embedding", embeddingFrame, drawEmbedding, wave, wave);
    this.text(right, "bias", "m-title");
    this.figure(right, "Bias and attention of every head, correlation and IoU", headsFrame, drawHeads,
      (p) => this.over({ cell: cellAt(p) }), (p) => this.hold(cellAt(p)));
    this.text(right, "detail", "m-status");
    append(right, "div", "m-help m-muted", CAPTION);
    this.letters({ p: "partner", h: "head", w: "weights" });
    this.keys.x = () => this.swap();
  }

  get heads() { return this.projections[this.weights]; }
  get pair() { return this.model.get("pair").map((k) => clamp(k, 0, Math.max(this.boxes.length - 1, 0))); }
  get python() {
    const { projections, pair, head, weights } = this;
    return this.call("RelationExplorer", projections.given ? ", relation" : "", { pair, head, weights });
  }
  get said() { return `${super.said} ${this.places.mc.textContent}. ${this.places.detail.textContent}`; }

  // What is told and drawn of the pair; null without one. A box under the pointer is the partner for as long.
  get known() {
    const { boxes, heads, frequency, lit, grip, pair: [i, j] } = this;
    if (boxes.length < 2) return null;
    const row = this.measured(boxes, this.size, this.box_format, i, heads, frequency);
    const [over = j] = grip ? [] : lit.filter((k) => k !== i || this.cell);
    return { ...row, i, j: over, frequency, of: around(this.head, heads.length + 1) };
  }
  get hues() { return this.known ? { [this.known.j]: PARTNER, [this.known.i]: QUERY } : {}; }
  get shares() {
    const { attention, of } = this.known ?? {};
    return attention?.[of].map((share) => `: ${Math.round(100 * share)} %`);
  }

  told() {
    const { known, names, boxes, selected, lit, note, weights } = this;
    const [query, partner] = known ? [names[known.i], names[known.j]] : ["none", "none"];
    const most = known ? percent(Math.max(...known.attention.flat())) : "";
    return { query, partner, head: this.head < 0 ? "mean" : this.head,
      status: note || describeBoxes(boxes, names, lit[0] ?? selected),
      mc: known ? describePair(known) : "A pair needs two boxes",
      geometry: known ? `Geometry of box ${query} beside box ${partner} (w′, h′), and its embedding` : "",
      bias: known ? `Bias Rel(${query}, ${partner}) of each head, ${weights} weights; attention of box `
        + `${query} to every box in %, from 0 (dark) to ${most} (bright)` : "",
      detail: !known ? "" : this.wave ? describeWave(this.wave, known)
        : describeCell(this.cell, known, names) };
  }

  // ---- changes

  // A box that is chosen becomes the query, and the one before it its partner.
  change(values, options) {
    const { selected, boxes } = values;
    if ((boxes || selected >= 0) && (this.wave || this.cell)) this.over({});
    const pair = selected >= 0 && selected !== this.pair[0] ? { pair: [selected, this.pair[0]] } : {};
    super.change({ ...pair, ...values }, options);
  }

  // The pair stays with its boxes; where one of them goes, the next takes its place.
  remove() {
    const [i, j] = this.pair.map((k) => k - (k > this.selected));
    super.remove({ pair: [i, i === j ? around(i + 1, Math.max(this.boxes.length - 1, 1)) : j] });
  }

  reset() {
    this.over({});
    super.reset();
  }

  swap() {
    const [i, j] = this.pair;
    this.change({ pair: [j, i], selected: j });
  }

  steps(by) {
    const { pair: [i, j], boxes: { length: n }, heads: { length: H } } = this;
    const beside = (k) => around(k + by, Math.max(n, 1));
    const query = beside(i);
    const partner = beside(j) === i ? around(j + 2 * by, Math.max(n, 1)) : beside(j);
    return {
      query: { pair: [query, query === j ? i : j], selected: query },
      partner: { pair: [i, n < 2 ? j : partner] },
      head: { head: around(this.head + 1 + by, H + 1) - 1 }, // after the last their mean, -1
      weights: { weights: next(Object.keys(this.projections), this.weights, by) },
    };
  }

  // A cell of the embedding or of the heads' rows is under the pointer, or none.
  over({ wave = null, cell = null }) {
    this.point({ wave, cell, pointed: cell?.column >= 0 ? [cell.column] : [] });
  }

  // Holds the partner, and the head, of a cell.
  hold(cell) {
    if (!cell) return;
    const H = this.heads.length;
    const head = cell.row > H ? {} : { head: cell.row === H ? -1 : cell.row };
    const pair = cell.column < 0 || cell.column === this.pair[0] ? {} : { pair: [this.pair[0], cell.column] };
    this.cell = cell;
    this.change({ ...head, ...pair });
  }
}

const render = renderWith(RelationView);

export default { render };
