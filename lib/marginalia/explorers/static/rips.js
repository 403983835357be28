// Points in the plane, the balls, edges and triangles that grow around them, and the bars of their topology.

import { append, around, arrowOf, clamp, digits, fitted, modified, remember, renderWith } from "./canvas.js";
import { ListView, pythonCall } from "./view.js";
import { MOST, MOST_POINTS, complexAt, imageOf, measure, placed } from "./rips_maths.js";
import { barAt, barcodeFrame, diagramFrame, dotAt, drawBarcode, drawCloud, drawDiagram, drawImage,
  imageFrame } from "./rips_drawing.js";

// ---- words --------------------------------------------------------------------------------------------

const HELP = "Click an empty place to add a point, drag points to move them. Keys: Tab chooses, arrows move "
  + "(Shift: 10 steps), N adds, Delete removes, Ctrl+Z undoes, Ctrl+Shift+Z redoes, R reset, C copy, S save, "
  + "Escape lets go.";

const many = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;
const named = (corners) => corners.join("\u2060–\u2060"); // kept on one line;

// Solid and dashed are the lines in the cloud.
function describeBar({ dimension, birth, death, from, to, number }, totals) {
  const bar = `H${dimension} bar ${number} of ${totals[dimension]}`;
  if (death === Infinity) return `${bar} never dies: in the end all points are one component.`;
  if (!dimension) {
    return `${bar}: dies at ${digits(death)}, when edge ${named(to)} (dashed) joins two components.`;
  }
  const shape = to.length === 3 ? "triangle" : "edge";
  return `${bar}: born at ${digits(birth)} with edge ${named(from)} (solid), dies at ${digits(death)} with `
    + `${shape} ${named(to)} (dashed); persistence ${digits(death - birth)}.`;
}

function describeComplex({ length, count, all, components, loops }) {
  const ones = Number.isNaN(loops) ? "loops not known" : many(loops, "loop");
  return `Edges up to length ${digits(length)}, balls of radius ${digits(length / 2)}: ${many(count, "edge")}, `
    + `${many(all, "triangle")}, ${many(components, "component")}, ${ones}.`;
}

const RIPS_STYLE = `
@media (max-width: 500px) { .m-rips .m-status { min-height: 4.35em; } }
.m-rips .m-key { margin-left: 8px; } .m-rips .m-key::before { content: "■ "; color: var(--m-mark); }
.m-rips .m-h1::before { color: var(--m-accent); }
.m-rips .m-pair { display: flex; gap: 8px; margin-top: 6px; }
.m-rips .m-pair > * { flex: 1 1 0; min-width: 0; }
.m-rips .m-caption { flex: 1 1 200px; font-size: 12px; }
`;

// ---- view ---------------------------------------------------------------------------------------------

class RipsView extends ListView {
  constructor(model, host, signal) {
    super(model, host, signal, { name: "rips", list: "points", style: RIPS_STYLE,
      label: "Points and the persistent homology of their Rips complex",
      shown: ["selected", "window", "answer"] });
    this.over = -1; // the bar under the pointer
    this.held = ""; // the bar that was chosen: its dimension and its number by persistence
    // bars, complex and image, each made again only when something that it depends on changed
    [this.measured, this.grown, this.pictured] = [measure, complexAt, imageOf].map((make) => remember(make));
    this.buildCloud(this.left);
    this.buildBars(this.right);
    this.start();
  }

  buildCloud(left) {
    this.ground = this.stage(left, `Points in the plane. ${HELP}`,
      (width) => fitted(width, this.span, 440), drawCloud,
      { pointer: { ...this.pointer("crosshair"), tap: (p) => this.add(p.drawn.onPlane(p)) },
        keys: (event) => this.key(event) });
    this.slider(this.line(left), "length", () => {
      const { known: { end }, length } = this;
      return { max: Math.max(end, length), step: end / 200 };
    });
    this.text(left, "counts");
    this.buildWords("point", HELP);
  }

  buildBars(right) {
    const title = this.line(right);
    this.button(title, "‹ bar", () => this.chooseBar(-1), { label: "choose the bar below" });
    this.button(title, "bar ›", () => this.chooseBar(1), { label: "choose the bar above" });
    this.text(title, "h0", "m-key");
    this.text(title, "h1", "m-key");
    const point = (find) => (p) => this.point({ over: find(p, this.known.bars) });
    const hold = (find) => (p) => this.holdBar(find(p, this.known.bars));
    this.stage(right, "Barcode; arrow keys choose a bar", barcodeFrame, drawBarcode,
      { pointer: { hover: point(barAt), tap: hold(barAt) }, keys: (event) => this.barKey(event) });
    const pair = append(right, "div", "m-pair");
    this.figure(append(pair, "div"), "Persistence diagram", diagramFrame, drawDiagram, point(dotAt),
      hold(dotAt));
    this.figure(append(pair, "div"), "Persistence image", imageFrame, drawImage);
    const line = this.line(right);
    this.text(line, "caption", "m-muted");
    this.toggle(line, "dimension", [0, 1], (dimension) => `H${dimension}`);
  }

  get span() { return [this.window[1] - this.window[0], this.window[3] - this.window[2]]; }
  get python() {
    const { points, length, dimension } = this;
    return pythonCall("RipsExplorer", JSON.stringify(points), { length, dimension });
  }

  get known() { return this.measured(this.points, this.answer); }
  get complex() { return this.grown(this.known, this.length); }
  get shown() { return this.pictured(this.known, this.dimension); }

  // The bar that is pointed at, else the one that is held; -1: none.
  get lit() {
    const { bars } = this.known;
    if (this.over >= 0 && this.over < bars.length) return this.over;
    return bars.findIndex((bar) => `${bar.dimension} ${bar.number}` === this.held);
  }
  get bar() { return this.known.bars[this.lit]; }

  told() {
    const { known: { known, totals }, shown: { dimension, nodes, bandwidth, peak } } = this;
    const settings = `${nodes} × ${nodes} nodes, bandwidth ${digits(bandwidth)}, weight = persistence`;
    return { counts: describeComplex(this.complex), length: digits(this.length), status: this.describe(),
      h0: `H0: ${many(totals[0], "bar")}`, h1: known ? `H1: ${many(totals[1], "bar")}` : this.missing(),
      caption: dimension && !known ? "No persistence image: H1 is not known."
        : `Persistence image of H${dimension}: ${settings}, peak ${digits(peak)}.` };
  }

  describe() {
    const { bar, known, selected, pointed: [pointed], points, note } = this;
    if (note) return note;
    if (bar) return describeBar(bar, known.totals);
    const at = points[pointed] ? pointed : selected;
    if (at < 0) return `${many(points.length, "point")}. Point at a bar to see what begins and ends it.`;
    const places = clamp(4 - Math.ceil(Math.log10(this.span[0])), 0, 12); // a thousandth of the window, or less
    const [x, y] = points[at].map((value) => String(Number(value.toFixed(places))).replace("-", "−"));
    return `Point ${at}: x ${x}, y ${y}.`;
  }

  // In place of H1, where the browser does not compute it.
  missing() {
    const why = `the browser finds loops of at most ${MOST} points, and there are ${this.points.length}`;
    if (!this.model.send) return `H1 is missing: ${why}. This page has no kernel.`;
    return this.gone.textContent ? `H1 is missing: ${why}.` : `H1: ${why}; waiting for the kernel.`;
  }

  // ---- points

  // Without a place near the middle, where points added one after the other do not hide each other.
  add(place) {
    const { points, points: { length: n }, window: [left, right, low, high], span } = this;
    const [turn, part] = [n * Math.PI * (3 - Math.sqrt(5)), 0.05 + 0.25 * ((n * 0.618) % 1)];
    const [dx, dy] = [span[0] * part * Math.cos(turn), span[1] * part * Math.sin(turn)];
    const point = placed(place ?? [(left + right) / 2 + dx, (low + high) / 2 + dy], this.window);
    if (n >= MOST_POINTS) this.say(`There is room for ${MOST_POINTS} points.`);
    else this.change({ points: [...points, point], selected: n });
  }

  under({ x, y, touch, drawn: { onScreen } }) {
    const away = this.points.map(onScreen).map(([left, top]) => Math.hypot(left - x, top - y));
    const near = away.map((_, item) => item).filter((item) => away[item] < (touch ? 22 : 10));
    return near.sort((a, b) => away[a] - away[b]).map((item) => ({ item, cursor: "move" }));
  }

  dragged({ start, p: from }, { x, y, drawn: { onScreen, onPlane } }) {
    const [left, top] = onScreen(start);
    return placed(onPlane({ x: left + x - from.x, y: top + y - from.y }), this.window);
  }

  nudge(event, [right, down]) {
    if (modified(event)) return false;
    const step = (this.span[0] / 200) * (event.shiftKey ? 10 : 1);
    const [x, y] = this.points[this.selected];
    this.put(placed([x + right * step, y - down * step], this.window));
    return true;
  }

  reset() {
    this.held = "";
    super.reset();
  }

  letGo() {
    this.held = "";
    super.letGo();
  }

  // A mouse that rests on a bar no longer points at it.
  select(i) {
    this.over = -1;
    super.select(i);
  }

  // ---- bars

  // Holds a bar, or lets it go when it is held already.
  holdBar(i) {
    const bar = this.known.bars[i];
    const key = bar ? `${bar.dimension} ${bar.number}` : "";
    this.held = key === this.held ? "" : key;
    this.over = -1;
    this.say("");
  }

  chooseBar(by) {
    const { lit, known: { bars } } = this;
    if (!bars.length) return;
    this.held = "";
    this.holdBar(lit < 0 && by < 0 ? bars.length - 1 : around(lit + by, bars.length));
  }

  barKey(event) {
    const arrow = arrowOf(event.key);
    if (arrow) this.chooseBar(arrow[0] - arrow[1]);
    else if (event.key === "Escape") this.holdBar(-1);
    else return false;
    return true;
  }
}

const render = renderWith(RipsView);

export default { render };
