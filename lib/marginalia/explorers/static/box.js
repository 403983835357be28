// Boxes on an image, their Pearson correlations, and the band of MC of random boxes of the same sizes.

import { append, arrowOf, clamp, createStage, renderWith, setText } from "./canvas.js";
import { asPython, measure } from "./box_maths.js";
import { drawAxis, drawMatrix, matrixView } from "./box_drawing.js";
import { BOX_HELP, BoxesView, describeBoxes } from "./boxes.js";

// ---- words --------------------------------------------------------------------------------------------

const signed = (value) => value.toFixed(3).replace("-", "−");

// What is selected or pointed at, in one sentence; and which boxes have no correlation.
function describe({ boxes, names, numbers, selected, lit }) {
  const sentences = [];
  if (lit.length === 2) {
    const value = numbers.matrix[lit[0]][lit[1]];
    const pair = `Boxes ${names[lit[0]]} and ${names[lit[1]]}`;
    sentences.push(`${pair}: ${Number.isNaN(value) ? "no correlation" : `correlation ${signed(value)}`}.`);
  } else sentences.push(describeBoxes(boxes, names, selected));
  if (numbers.leftOut.length) {
    const which = numbers.leftOut.map((i) => names[i]).join(", ");
    sentences.push(`Left out of MC (four equal numbers): ${which}.`);
  }
  return sentences.join(" ");
}

// ---- view ---------------------------------------------------------------------------------------------

class BoxView extends BoxesView {
  constructor(model, host, signal) {
    super(model, host, signal, { name: "box", help: BOX_HELP,
      label: "Boxes on an image and their correlations" });
  }

  buildRight(right, signal) {
    this.mc = append(right, "span", "m-mc");
    this.band = append(right, "span", "m-band m-muted");
    this.axis = createStage(right, { label: "MC on an axis from 0 to 1", signal, height: () => 76, role: "img",
      draw: (context, place) => drawAxis(context, { ...place, numbers: this.numbers }) });
    append(right, "div", "m-title m-muted", "Correlation of every two boxes");
    this.matrix = createStage(right, { label: "Correlation matrix; arrow keys choose a pair", signal,
      height: (width) => Math.min(width - 40, 320),
      draw: (context, place) => this.drawMatrix(context, place),
      pointer: { down: (p) => this.pointAt(p), hover: (p) => this.pointAt(p), leave: () => this.point([]) },
      keys: (event) => this.matrixKey(event) });
    return [this.axis, this.matrix];
  }

  // Correlations of the boxes as they are now; computed again only when something they depend on changed.
  get numbers() {
    const [boxes, size, boxFormat] = ["boxes", "size", "box_format"].map((name) => this.model.get(name));
    const old = this.known;
    if (old?.boxes !== boxes || old.size !== size || old.boxFormat !== boxFormat) {
      this.known = { boxes, size, boxFormat, ...measure(boxes, size, boxFormat, old) };
    }
    return this.known;
  }

  get python() { return asPython("BoxExplorer", this.model); }
  get said() { return `${this.status.textContent} ${this.mc.textContent}.`; }

  show() {
    const { numbers, boxes, names, selected, lit, note } = this;
    const enough = numbers.usable >= 2;
    setText(this.mc, enough ? `MC ${numbers.mc.toFixed(3)}` : "MC needs two boxes");
    const [low, high] = enough ? numbers.band.map((value) => value.toFixed(2)) : [];
    setText(this.band, enough ? `random boxes: ${low} to ${high}` : "");
    setText(this.status, note || describe({ boxes, names, numbers, selected, lit }));
  }

  matrixKey(event) {
    const arrow = arrowOf(event.key);
    const last = this.boxes.length - 1;
    if (event.key === "Escape") this.point([]);
    else if (arrow && last > 0) {
      const [row, column] = this.pointed.length === 2 ? this.pointed : [0, 0];
      this.point([clamp(row + arrow[1], 0, last), clamp(column + arrow[0], 0, last)]);
      this.speak();
    } else return false;
    return true;
  }

  pointAt(p) {
    if (!this.cells) return;
    const { cell, left, top, count } = this.cells;
    const [row, column] = [Math.floor((p.y - top) / cell), Math.floor((p.x - left) / cell)];
    const inside = Math.min(row, column) >= 0 && Math.max(row, column) < count;
    this.point(inside ? [row, column] : []);
  }

  // ---- drawing

  drawPicture(context, place) { super.drawPicture(context, place, { leftOut: this.numbers.leftOut }); }

  drawMatrix(context, { width, height, theme }) {
    const { names, numbers, lit, boxes } = this;
    this.cells = boxes.length > 1 ? matrixView(boxes.length, names, context, width, height) : null;
    if (this.cells) drawMatrix(context, { numbers, names, view: this.cells, lit, theme });
  }
}

export const render = renderWith(BoxView);

export default { render };
