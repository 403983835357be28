// Boxes on an image, and the position relation of two of them: geometry, embedding, bias and attention.

import { append, around, button, clamp, createStage, digits, remember, renderWith, setText } from "./canvas.js";
import { press } from "./view.js";
import { asPython } from "./box_maths.js";
import { BOX_HELP, BoxesView, describeBoxes } from "./boxes.js";
import { measureRow } from "./relation_maths.js";
import { EMBEDDING_HEIGHT, FEATURES, PARTNER, QUERY, cellAt, drawEmbedding, drawHeads, embeddingView,
  headsHeight, headsView } from "./relation_drawing.js";

// ---- words --------------------------------------------------------------------------------------------

const HELP = `${BOX_HELP} The box chosen last is the query i, the one before it its partner j; a box or column `
  + "under the pointer is the partner for as long. Keys: P partner, H head, X swaps, W weights.";
const CAPTION = "Source and target are the boxes shown: box i attends, box j is attended to. Content logits are "
  + "equal, so that attention is exp(Rel), normalised over j. ρ: Pearson correlation of the two boxes.";

const percent = (value) => `${digits(100 * value)} %`;
const signed = (value) => (Number.isNaN(value) ? "none" : value.toFixed(3).replace("-", "−"));

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
      help: HELP, shown: ["pair", "head", "weights"] });
  }

  buildRight(right, signal) {
    this.frequency = this.model.get("frequency");
    this.projections = this.model.get("projections");
    this.measured = remember(measureRow);
    const line = () => append(right, "div", "m-line");
    const above = line();
    this.values = Object.fromEntries(["query", "partner", "head"].map((name) =>
      [name, this.stepper(above, name, (by) => this.step(name, by))]));
    button(above, "Swap", () => this.swap(), { signal, title: "X: query and partner change places" });
    const names = Object.keys(this.projections);
    this.choices = names.length < 2 ? [] : this.toggle(line(), "weights", names, (name) => `${name} weights`);
    this.mc = append(right, "div", "m-mc");
    this.geometryTitle = append(right, "div", "m-title");
    this.waves = createStage(right, { label: "Geometry of the pair and its embedding", signal, role: "img",
      height: () => EMBEDDING_HEIGHT, draw: (context, place) => this.drawWaves(context, place),
      pointer: this.hovering((p) => this.over({ wave: this.waveAt(p) })) });
    this.headsTitle = append(right, "div", "m-title");
    this.rows = createStage(right, { label: "Bias and attention of every head, correlation and IoU", signal,
      role: "img", height: () => headsHeight(this.heads.length),
      draw: (context, place) => this.drawRows(context, place),
      pointer: this.hovering((p) => this.over({ cell: this.rowAt(p) }), (p) => this.clickRow(p)) });
    this.detail = append(right, "div", "m-status m-detail");
    append(right, "div", "m-help m-muted", CAPTION);
    return [this.waves, this.rows];
  }

  get heads() { return this.projections[this.model.get("weights")]; }
  get head() { return this.model.get("head"); }
  get pair() { return this.model.get("pair").map((k) => clamp(k, 0, Math.max(this.boxes.length - 1, 0))); }
  get python() {
    const relation = this.projections.given ? ", relation" : "";
    const choice = `${relation}, pair=(${this.pair.join(", ")}), head=${this.head}`;
    return asPython("RelationExplorer", this.model, choice);
  }
  get said() { return `${this.status.textContent} ${this.mc.textContent}. ${this.detail.textContent}`; }

  // What is told and drawn of the pair; null without a box. A box under the pointer is the partner for as long.
  get known() {
    const { boxes, heads, frequency, lit, grip, pair: [i, j], model } = this;
    if (!boxes.length) return null;
    const row = this.measured(boxes, this.size, model.get("box_format"), i, heads, frequency);
    const [over = j] = grip ? [] : lit.filter((k) => k !== i || this.cell);
    return { ...row, i, j: over, frequency, of: around(this.head, heads.length + 1) };
  }

  show() {
    const { known, names, boxes, selected, note, values } = this;
    const weights = this.model.get("weights");
    press(this.choices, Object.keys(this.projections).indexOf(weights));
    setText(this.status, note || describeBoxes(boxes, names, selected));
    const [query, partner] = known ? [names[known.i], names[known.j]] : ["none", "none"];
    const head = this.head < 0 ? "mean" : String(this.head);
    for (const [name, value] of Object.entries({ query, partner, head })) setText(values[name], value);
    setText(this.mc, known ? describePair(known) : "Add a box");
    setText(this.geometryTitle, `Geometry of box ${query} beside box ${partner} (w′, h′), and its embedding`);
    const most = known ? percent(Math.max(...known.attention.flat())) : "";
    setText(this.headsTitle, `Bias Rel(${query}, ${partner}) of each head, ${weights} weights; attention of box `
      + `${query} to every box in %, from 0 (dark) to ${most} (bright)`);
    setText(this.detail, !known ? "" : this.wave ? describeWave(this.wave, known)
      : describeCell(this.cell, known, names));
  }

  // ---- changes

  // A box that is chosen becomes the query, and the one before it its partner.
  change(values, options) {
    const { selected, boxes } = values;
    if ((boxes || selected >= 0) && (this.wave || this.cell)) this.over({});
    const pair = selected >= 0 && selected !== this.pair[0] ? { pair: [selected, this.pair[0]] } : {};
    return super.change({ ...pair, ...values }, options);
  }

  // The pair stays with its boxes.
  remove() {
    this.model.set("pair", this.pair.map((k) => k - (k > this.selected)));
    super.remove();
  }

  swap() {
    const [i, j] = this.pair;
    this.change({ pair: [j, i], selected: j });
  }

  step(name, by) {
    const { pair: [i, j], boxes: { length: n }, heads: { length: H } } = this;
    const next = (k) => around(k + by, Math.max(n, 1));
    this.change({
      query: { pair: [next(i), j], selected: next(i) },
      partner: { pair: [i, next(j)] },
      head: { head: around(this.head + 1 + by, H + 1) - 1 }, // after the last their mean, -1
    }[name]);
  }

  rootKey(event) {
    const [key, back] = [event.key.toLowerCase(), event.shiftKey ? -1 : 1];
    if (super.rootKey(event)) return true;
    if (event.ctrlKey || event.altKey || event.metaKey) return false;
    if (key === "p") this.step("partner", back);
    else if (key === "h") this.step("head", back);
    else if (key === "x") this.swap();
    else if (key === "w") this.choices.find((each) => each.getAttribute("aria-pressed") === "false")?.click();
    else return false;
    return true;
  }

  // ---- pointer

  // What a finger has tapped is told until it taps elsewhere.
  hovering(hover, down = hover) { return { hover, down, leave: (p) => p.touch || this.over({}) }; }

  // A cell of the embedding or of the heads' rows is under the pointer, or none.
  over({ wave = null, cell = null }) {
    const same = JSON.stringify([wave, cell]) === JSON.stringify([this.wave ?? null, this.cell ?? null]);
    [this.wave, this.cell] = [wave, cell];
    this.pointed = cell?.column >= 0 ? [cell.column] : [];
    if (!same) this.refresh();
  }

  waveAt(p) {
    const wave = this.wavesView && cellAt(this.wavesView, p);
    return wave?.column >= 0 ? wave : null;
  }

  rowAt(p) { return this.rowsView ? cellAt(this.rowsView, p) : null; }

  // Holds the partner, and the head, of a cell.
  clickRow(p) {
    const cell = this.rowAt(p);
    if (!cell) return;
    const H = this.heads.length;
    const head = cell.row > H ? {} : { head: cell.row === H ? -1 : cell.row };
    const pair = cell.column < 0 ? {} : { pair: [this.pair[0], cell.column] };
    this.cell = cell;
    this.change({ ...head, ...pair });
  }

  // ---- drawing

  drawPicture(context, place) {
    const { known, names } = this;
    if (!known) return super.drawPicture(context, place);
    const { i, j, attention, of } = known;
    super.drawPicture(context, place, { hues: { [j]: PARTNER, [i]: QUERY },
      names: names.map((name, k) => `${name}: ${Math.round(100 * attention[of][k])} %`) });
  }

  drawWaves(context, { width, theme }) {
    const { known, frequency, wave } = this;
    this.wavesView = known && embeddingView(width, frequency.length);
    if (!known) return;
    drawEmbedding(context, { view: this.wavesView, geometry: known.geometry[known.j],
      embedding: known.embedding[known.j], frequency, over: wave, theme });
  }

  drawRows(context, { width, theme }) {
    const { known, names, head, heads } = this;
    this.rowsView = known && headsView(width, heads.length, names.length);
    if (known) drawHeads(context, { view: this.rowsView, known, names, head, theme });
  }
}

export const render = renderWith(RelationView);

export default { render };
