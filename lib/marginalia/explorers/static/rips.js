// Points in the plane, the balls, edges and triangles that grow around them, and the bars of their topology.

import { append, around, arrowOf, button, createStage, digits, remember, renderWith,
  setText } from "./canvas.js";
import { ListView, press } from "./view.js";
import { MOST, MOST_POINTS, asPython, complexAt, imageOf, measure, placed } from "./rips_maths.js";
import { barAt, cloudView, diagramView, dotAt, drawBarcode, drawCloud, drawDiagram, drawImage,
  imageView, plotView } from "./rips_drawing.js";

// ---- words --------------------------------------------------------------------------------------------

const HELP = "Click an empty place to add a point, drag points to move them. Keys: Tab chooses, arrows move "
  + "(Shift: 10 steps), N adds, Delete removes, Ctrl+Z undoes, Ctrl+Shift+Z redoes, R reset, C copy, S save, "
  + "Escape lets go.";
const PATIENCE = 5000; // milliseconds that the kernel may take

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
.m-rips .m-left { flex: 1.15 1 340px; } .m-rips .m-right { flex: 1 1 330px; }
.m-rips .m-line input { flex: 1 1 140px; accent-color: var(--m-mark); }
.m-rips .m-counts { min-height: 2.9em; font-variant-numeric: tabular-nums; }
@media (max-width: 500px) { .m-rips .m-status { min-height: 4.35em; } }
.m-rips .m-bars { flex: 1 1 200px; } .m-rips .m-bars > * { margin-right: 12px; }
.m-rips .m-key::before { content: "■ "; color: var(--m-key); }
.m-rips .m-pair { display: flex; gap: 8px; margin-top: 6px; }
.m-rips .m-pair > * { flex: 1 1 0; min-width: 0; }
.m-rips .m-caption { flex: 1 1 200px; font-size: 12px; }
`;

// ---- view ---------------------------------------------------------------------------------------------

class RipsView extends ListView {
  constructor(model, host, signal) {
    super(model, host, signal, { name: "rips", list: "points", style: RIPS_STYLE,
      label: "Points and the persistent homology of their Rips complex" });
    this.pointed = -1; // the point under the pointer
    this.over = -1; // the bar under the pointer
    this.held = ""; // the bar that was chosen: its dimension and its number by persistence
    // bars, complex and image, each made again only when something that it depends on changed
    [this.measured, this.grown, this.pictured] = [measure, complexAt, imageOf].map(remember);
    this.build(signal);
    signal.addEventListener("abort", () => clearTimeout(this.waiting));
    this.awaitKernel();
    this.start([this.cloud, this.barcode, this.diagram, this.image],
      ["length", "selected", "dimension", "window", "answer"]);
  }

  build(signal) {
    const row = append(this.root, "div", "m-row");
    this.buildCloud(append(row, "div", "m-left"), signal);
    this.buildBars(append(row, "div", "m-right"), signal);
  }

  buildCloud(left, signal) {
    this.cloud = createStage(left, { label: `Points in the plane. ${HELP}`, signal,
      height: (width) => Math.min((width * this.span[1]) / this.span[0], 440),
      draw: (context, place) => this.drawCloud(context, place),
      pointer: this.pointer(), keys: (event) => this.key(event) });
    const slider = append(left, "label", "m-line");
    append(slider, "span", "", "length");
    this.slider = append(slider, "input");
    this.slider.type = "range";
    this.slider.addEventListener("input", () =>
      this.change({ length: Number(this.slider.value) }, { last: false }), { signal });
    this.slider.addEventListener("change", () => this.speak(this.counts.textContent), { signal });
    this.counts = append(left, "div", "m-counts");
    this.buildWords(left, "point", HELP);
  }

  buildBars(right, signal) {
    const title = append(right, "div", "m-line");
    const text = append(title, "div", "m-bars");
    this.keys = [0, 1].map(() => append(text, "span", "m-key"));
    button(title, "‹ bar", () => this.chooseBar(-1), { signal, label: "choose the bar below" });
    button(title, "bar ›", () => this.chooseBar(1), { signal, label: "choose the bar above" });
    const over = (find) => ({ hover: (p) => this.hoverBar(find(p)), leave: () => this.hoverBar(-1),
      down: (p) => this.holdBar(find(p)) });
    this.barcode = createStage(right, { label: "Barcode; arrow keys choose a bar", signal, height: () => 210,
      draw: (context, place) => this.drawBarcode(context, place),
      pointer: over((p) => barAt(this.barView, this.known.bars, p)), keys: (event) => this.barKey(event) });
    const pair = append(right, "div", "m-pair");
    const image = (label, draw, pointer) => createStage(append(pair, "div"), { label, signal, draw, pointer,
      role: "img", height: (width) => Math.min(width + 20, 270) });
    this.diagram = image("Persistence diagram", (context, place) => this.drawDiagram(context, place),
      over((p) => dotAt(this.dotView, this.known.bars, p)));
    this.image = image("Persistence image", (context, place) => this.drawImage(context, place), {});
    const line = append(right, "div", "m-line");
    this.caption = append(line, "div", "m-caption m-muted");
    this.choices = this.toggle(line, "dimension", [0, 1], (dimension) => `H${dimension}`);
  }

  get points() { return this.model.get("points"); }
  get length() { return this.model.get("length"); }
  get window() { return this.model.get("window"); }
  get span() { return [this.window[1] - this.window[0], this.window[3] - this.window[2]]; }

  get known() { return this.measured(this.points, this.model.get("answer")); }
  get complex() { return this.grown(this.known, this.length); }
  get shown() { return this.pictured(this.known, this.model.get("dimension")); }

  // The bar that is pointed at, else the one that is held; -1: none.
  get lit() {
    const { bars } = this.known;
    if (this.over >= 0 && this.over < bars.length) return this.over;
    return bars.findIndex((bar) => `${bar.dimension} ${bar.number}` === this.held);
  }

  show() {
    const { known, shown } = this;
    setText(this.counts, describeComplex(this.complex));
    setText(this.status, this.describe());
    known.totals.forEach((total, k) => setText(this.keys[k], `H${k}: ${many(total, "bar")}`));
    if (!known.known) setText(this.keys[1], this.missing());
    const { dimension, nodes, bandwidth, peak } = shown;
    const settings = `${nodes} × ${nodes} nodes, bandwidth ${digits(bandwidth)}, weight = persistence`;
    setText(this.caption, dimension && !known.known ? "No persistence image: H1 is not known."
      : `Persistence image of H${dimension}: ${settings}, peak ${digits(peak)}.`);
    press(this.choices, dimension);
    this.slider.max = Math.max(known.end, this.length);
    this.slider.step = known.end / 200;
    this.slider.value = this.length;
    this.slider.setAttribute("aria-valuetext", this.counts.textContent);
  }

  describe() {
    const { lit, known, selected, pointed, points, note } = this;
    if (lit >= 0) return describeBar(known.bars[lit], known.totals);
    if (note) return note;
    const at = points[pointed] ? pointed : selected;
    if (at < 0) return `${many(points.length, "point")}. Point at a bar to see what begins and ends it.`;
    return `Point ${at}: x ${digits(points[at][0])}, y ${digits(points[at][1])}.`;
  }

  // In place of H1, where the browser does not compute it.
  missing() {
    const why = `the browser finds loops of at most ${MOST} points, and there are ${this.points.length}`;
    if (this.model.send && !this.late) return `H1: ${why}; waiting for the kernel.`;
    return `H1 is missing: ${why}. ${this.late ? "The kernel does not answer" : "This page has no kernel"}.`;
  }

  awaitKernel() {
    if (this.awaited === this.points) return;
    this.awaited = this.points;
    clearTimeout(this.waiting);
    this.late = false;
    if (this.known.known || !this.model.send) return;
    this.waiting = setTimeout(() => {
      this.late = true;
      this.refresh();
    }, PATIENCE);
  }

  get python() { return asPython(this.points, this.length); }

  replaced(options) {
    this.awaitKernel();
    super.replaced(options);
  }

  // ---- changes

  // Without a place near the middle, where points added one after the other do not hide each other.
  add(place) {
    const { points, points: { length: n }, window: [left, right, low, high], span } = this;
    const [turn, part] = [n * Math.PI * (3 - Math.sqrt(5)), 0.05 + 0.25 * ((n * 0.618) % 1)];
    const [dx, dy] = [span[0] * part * Math.cos(turn), span[1] * part * Math.sin(turn)];
    const point = placed(place ?? [(left + right) / 2 + dx, (low + high) / 2 + dy], this.window);
    if (n >= MOST_POINTS) this.say(`There is room for ${MOST_POINTS} points.`);
    else this.change({ points: [...points, point], selected: n });
  }

  remove() {
    this.pointed = -1;
    this.change({ points: this.points.filter((_, i) => i !== this.selected) });
  }

  // ---- pointer

  under(p) {
    if (!this.view) return -1;
    const away = this.points.map((point) => {
      const [x, y] = this.view.onScreen(point);
      return Math.hypot(x - p.x, y - p.y);
    });
    const best = away.indexOf(Math.min(...away));
    return away[best] < (p.touch ? 22 : 10) ? best : -1;
  }

  pointAt(i) {
    this.cloud.cursor(i < 0 ? "crosshair" : "move");
    if (i === this.pointed) return;
    this.pointed = i;
    this.note = "";
    this.refresh();
  }

  pointer() {
    return {
      hover: (p) => this.pointAt(this.under(p)),
      leave: () => this.pointAt(-1),
      down: (p) => {
        const i = this.under(p);
        this.free = false;
        if (i < 0) return false;
        this.select(i);
        const [x, y] = this.view.onScreen(this.points[i]);
        this.grip = { dx: x - p.x, dy: y - p.y, p, ours: this.points };
        return true;
      },
      drag: (p) => {
        if (!this.grip || Math.hypot(p.x - this.grip.p.x, p.y - this.grip.p.y) < 1) return;
        const place = this.view.onPlane({ x: p.x + this.grip.dx, y: p.y + this.grip.dy });
        this.put(placed(place, this.window), { last: false });
      },
      drop: () => this.drop(),
      tap: (p) => this.add(this.view.onPlane(p)),
    };
  }

  nudge(event, [right, down]) {
    if (event.ctrlKey || event.altKey || event.metaKey) return false;
    const step = (this.span[0] / 200) * (event.shiftKey ? 10 : 1);
    const [x, y] = this.points[this.selected];
    this.put(placed([x + right * step, y - down * step], this.window));
    return true;
  }

  // ---- bars

  hoverBar(i) {
    if (i === this.over) return;
    this.over = i;
    this.refresh();
  }

  // Holds a bar, or lets it go when it is held already.
  holdBar(i) {
    const bar = this.known.bars[i];
    const key = bar ? `${bar.dimension} ${bar.number}` : "";
    this.held = key === this.held ? "" : key;
    this.over = -1;
    this.refresh();
    this.speak();
  }

  chooseBar(by) {
    const { lit, known: { bars } } = this;
    if (!bars.length) return;
    const next = bars[lit < 0 ? (by > 0 ? 0 : bars.length - 1) : around(lit + by, bars.length)];
    this.held = "";
    this.holdBar(bars.indexOf(next));
  }

  barKey(event) {
    const arrow = arrowOf(event.key);
    if (arrow) this.chooseBar(arrow[0] - arrow[1]);
    else if (event.key === "Escape") this.holdBar(-1);
    else return false;
    return true;
  }

  // ---- drawing

  drawCloud(context, { width, height, theme }) {
    const { known, complex, selected, pointed, lit } = this;
    this.view = cloudView(this.window, { width, height });
    drawCloud(context, { view: this.view, theme, known, complex, selected, pointed, bar: known.bars[lit] });
  }

  drawBarcode(context, { width, height, theme }) {
    const { known, complex, lit } = this;
    [0, 1].forEach((k) => this.keys[k].style.setProperty("--m-key", k ? theme.accent : theme.mark));
    this.barView = plotView({ width, height }, known.end);
    drawBarcode(context, { view: this.barView, theme, known, complex, lit });
  }

  drawDiagram(context, { width, height, theme }) {
    const { known, complex, lit } = this;
    this.dotView = diagramView(context, { width, height }, known.end);
    drawDiagram(context, { view: this.dotView, theme, known, complex, lit });
  }

  drawImage(context, { width, height, theme }) {
    const { known, shown, lit } = this;
    const bar = known.bars[lit];
    const mark = bar?.dimension === shown.dimension && bar.death < Infinity ? bar : null;
    const view = imageView(context, { width, height }, known.end, shown.nodes);
    drawImage(context, { view, theme, image: shown, mark });
  }
}

export const render = renderWith(RipsView);

export default { render };
