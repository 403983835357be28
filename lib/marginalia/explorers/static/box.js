// Boxes on an image, their Pearson correlations, and the band of MC of random boxes of the same sizes.

import { arrowOf, cellUnder, clamp, fixed, remember, renderWith } from "./canvas.js";
import { measure, uniformBand } from "./box_maths.js";
import { drawAxis, drawMatrix, matrixHeight, matrixPicture } from "./box_drawing.js";
import { BOX_HELP, BoxesView, describeBoxes } from "./boxes.js";

// ---- words --------------------------------------------------------------------------------------------

// What is selected or pointed at, in one sentence; and which boxes have no correlation.
function describe({ boxes, names, numbers, selected, lit }) {
  const sentences = [];
  if (lit.length === 2) {
    const value = numbers.matrix[lit[0]][lit[1]];
    const pair = `Boxes ${names[lit[0]]} and ${names[lit[1]]}`;
    sentences.push(`${pair}: ${Number.isNaN(value) ? "no correlation" : `correlation ${fixed(value, 3)}`}.`);
  } else sentences.push(describeBoxes(boxes, names, lit[0] ?? selected));
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

  buildRight(right) {
    // correlations, and their band, each computed again only when something that it depends on changed
    const band = remember(uniformBand, JSON.stringify);
    this.measured = remember((...boxes) => measure(...boxes, band));
    this.pictured = remember(matrixPicture);
    const above = this.line(right);
    this.text(above, "mc");
    this.text(above, "band", "m-muted");
    this.figure(right, "MC on an axis from 0 to 1", () => ({ height: 76 }), drawAxis);
    this.text(right, "heading", "m-title m-muted");
    const point = (p) => this.point({ pointed: cellUnder(p.drawn, p, p.drawn.count, p.drawn.count) ?? [] });
    this.stage(right, "Correlation matrix; arrow keys choose a pair", matrixHeight, drawMatrix,
      { pointer: { down: point, hover: point }, keys: (event) => this.matrixKey(event) });
  }

  get numbers() { return this.measured(this.boxes, this.size, this.box_format); }
  get leftOut() { return this.numbers.leftOut; }
  get python() { return this.call("BoxExplorer"); }
  get said() { return `${super.said} ${this.places.mc.textContent}.`; }

  told() {
    const { numbers: { band, mc }, note } = this;
    const [low, high] = (band ?? []).map((value) => value.toFixed(2));
    return { mc: band ? `MC ${mc.toFixed(3)}` : "MC needs two boxes",
      band: band ? `random boxes: ${low} to ${high}` : "", status: note || describe(this),
      heading: this.boxes.length < 2 ? "" : "Correlation of every two boxes" };
  }

  matrixKey(event) {
    const arrow = arrowOf(event.key);
    const last = this.boxes.length - 1;
    if (event.key === "Escape") this.point({ pointed: [] });
    else if (arrow && last > 0) {
      const [row, column] = this.pointed.length === 2 ? this.pointed : [0, 0];
      this.point({ pointed: [clamp(row + arrow[1], 0, last), clamp(column + arrow[0], 0, last)] });
      this.speak();
    } else return false;
    return true;
  }
}

const render = renderWith(BoxView);

export default { render };
