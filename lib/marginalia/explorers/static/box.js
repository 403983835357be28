// Boxes on an image, their Pearson correlations, and the band of MC of random boxes of the same sizes.

import { append, around, arrowOf, clamp, createRoot, createStage, listen, renderWith,
  setText } from "./canvas.js";
import { fresh, measure, moved, resized } from "./box_maths.js";
import { CURSORS, drawAxis, drawMatrix, drawPicture, handlePlaces, matrixView } from "./box_drawing.js";

// ---- words --------------------------------------------------------------------------------------------

const HELP = "Drag a box or its handles; double-click an empty place to add one. Keys: Tab or [ ] choose, "
  + "arrows move (Shift: 10 px, Alt: resize), N adds, Delete removes, Escape lets go.";

const neat = (value) => String(Math.round(value * 10) / 10);
const signed = (value) => value.toFixed(3).replace("-", "−");

// What is selected or pointed at, in one sentence; and which boxes have no correlation.
function describe({ boxes, names, numbers, selected, lit }) {
  const sentences = [];
  if (lit.length === 2) {
    const value = numbers.matrix[lit[0]][lit[1]];
    const pair = `Boxes ${names[lit[0]]} and ${names[lit[1]]}`;
    sentences.push(`${pair}: ${Number.isNaN(value) ? "no correlation" : `correlation ${signed(value)}`}.`);
  } else if (selected >= 0) {
    const [x, y, w, h] = boxes[selected].map(neat);
    sentences.push(`Box ${names[selected]}: x ${x}, y ${y}, w ${w}, h ${h} px.`);
  } else sentences.push(`${boxes.length} ${boxes.length === 1 ? "box" : "boxes"}.`);
  if (numbers.leftOut.length) {
    const which = numbers.leftOut.map((i) => names[i]).join(", ");
    sentences.push(`Left out of MC (four equal numbers): ${which}.`);
  }
  return sentences.join(" ");
}

const BOX_STYLE = `
.m-box .m-left { flex: 1.3 1 340px; } .m-box .m-right { flex: 1 1 280px; }
.m-box .m-status { min-height: 1.45em; margin-top: 6px; font-variant-numeric: tabular-nums; }
.m-box .m-help { font-size: 12px; margin-top: 2px; }
.m-box .m-mc { font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; margin-right: 10px; }
.m-box .m-title { font-size: 12px; margin: 10px 0 2px; }
`;

const MARGIN = 6; // pixels around the image, for handles of boxes at its edge

// ---- view ---------------------------------------------------------------------------------------------

class BoxView {
  constructor(model, host, signal) {
    this.model = model;
    this.pointed = []; // boxes under the pointer, or the pair of a cell of the matrix
    this.grip = null; // what the pointer holds while it drags
    this.free = false; // Escape: the next Tab leaves the image
    this.stages = [];
    this.root = createRoot(host, { label: "Boxes on an image and their correlations", signal,
      themed: () => this.refresh() });
    this.root.classList.add("m-box");
    append(this.root, "style", "", BOX_STYLE);
    this.build(signal);
    this.loadPicture();
    listen(model, { boxes: () => this.replaced(), selected: () => this.refresh(), size: () => this.replaced(),
      labels: () => this.refresh(), box_format: () => this.refresh(), png: () => this.loadPicture() }, signal);
    this.refresh();
  }

  build(signal) {
    const row = append(this.root, "div", "m-row");
    const left = append(row, "div", "m-left");
    const right = append(row, "div", "m-right");
    this.picture = createStage(left, { label: `Image with boxes. ${HELP}`, signal,
      height: (width) => Math.min(((width - 2 * MARGIN) * this.size[1]) / this.size[0], 460) + 2 * MARGIN,
      draw: (context, place) => this.drawPicture(context, place),
      pointer: this.pointer(), keys: (event) => this.key(event) });
    this.status = append(left, "div", "m-status");
    append(left, "div", "m-help m-muted", HELP);
    this.spoken = append(left, "div", "m-unseen");
    this.spoken.setAttribute("role", "status");
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
    this.stages = [this.picture, this.axis, this.matrix];
  }

  get boxes() { return this.model.get("boxes"); }
  get size() { return this.model.get("size"); }
  get selected() { return this.model.get("selected") < this.boxes.length ? this.model.get("selected") : -1; }
  get names() {
    const labels = this.model.get("labels");
    return this.boxes.map((_, i) => labels[i] || String(i));
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

  get lit() { return [...new Set(this.pointed)].filter((i) => i < this.boxes.length); }

  refresh() {
    if (!this.stages.length) return;
    const { numbers, boxes, names, selected, lit } = this;
    const enough = numbers.usable >= 2;
    setText(this.mc, enough ? `MC ${numbers.mc.toFixed(3)}` : "MC needs two boxes");
    const [low, high] = enough ? numbers.band.map((value) => value.toFixed(2)) : [];
    setText(this.band, enough ? `random boxes: ${low} to ${high}` : "");
    setText(this.status, describe({ boxes, names, numbers, selected, lit }));
    for (const stage of this.stages) stage.redraw();
  }

  speak() { this.spoken.textContent = `${this.status.textContent} ${this.mc.textContent}.`; }

  // Python, or another view, put other boxes there: a drag that still holds an old one ends.
  replaced() {
    if (this.grip && this.grip.ours !== this.boxes) this.grip = null;
    this.refresh();
  }

  async loadPicture() {
    const png = this.model.get("png");
    this.image = png?.byteLength ? await createImageBitmap(new Blob([png], { type: "image/png" })) : null;
    this.refresh();
  }

  // ---- changes

  // Set and sent in one go, or Python's echo of an older state could come between. A browser reports a moving
  // pointer once a frame, and the widget manager sends no faster than the kernel answers.
  change(values, { last = true } = {}) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
    this.refresh();
    if (last) this.speak();
  }

  put(box, options) {
    const boxes = this.boxes.map((old, i) => (i === this.selected ? box : old));
    if (this.grip) this.grip.ours = boxes;
    this.change({ boxes }, options);
  }

  select(i) {
    if (i !== this.selected) this.change({ selected: i });
  }

  add(x, y) {
    const labels = this.model.get("labels");
    const added = labels.length ? { labels: [...this.boxes.map((_, i) => labels[i] ?? ""), ""] } : {};
    const boxes = [...this.boxes, fresh(this.boxes, x, y, this.size)];
    this.change({ boxes, selected: boxes.length - 1, ...added });
  }

  remove() {
    const gone = this.selected;
    const rest = (list) => list.filter((_, i) => i !== gone);
    this.pointed = [];
    this.change({ boxes: rest(this.boxes), labels: rest(this.model.get("labels")),
      selected: Math.min(gone, this.boxes.length - 2) });
  }

  point(boxes) {
    if (boxes.join() === this.pointed.join()) return;
    this.pointed = boxes;
    this.refresh();
  }

  // ---- pointer

  place({ width, height }) {
    const [W, H] = this.size;
    const scale = Math.min((width - 2 * MARGIN) / W, (height - 2 * MARGIN) / H);
    const [left, top] = [(width - W * scale) / 2, (height - H * scale) / 2];
    const onScreen = ([x, y, w, h]) => [left + x * scale, top + y * scale, w * scale, h * scale];
    this.view = { scale, left, top, W, H, onScreen };
    return this.view;
  }

  // What lies under the pointer: a handle of the selected box, that box, or else the smallest one there.
  under(p) {
    const { boxes, selected, view } = this;
    if (!view) return null;
    const reach = p.touch ? 18 : 8;
    const spots = selected < 0 ? [] : handlePlaces(view.onScreen(boxes[selected]));
    const spot = spots.find(({ x, y }) => Math.abs(p.x - x) <= reach && Math.abs(p.y - y) <= reach);
    if (spot) return { box: selected, handle: spot.handle };
    const inside = (i) => {
      const [x, y, w, h] = view.onScreen(boxes[i]);
      return p.x >= x - 3 && p.x <= x + w + 3 && p.y >= y - 3 && p.y <= y + h + 3;
    };
    const area = (i) => boxes[i][2] * boxes[i][3];
    const found = boxes.map((_, i) => i).filter(inside)
      .sort((a, b) => (b === selected) - (a === selected) || area(a) - area(b));
    return found.length ? { box: found[0], handle: null } : null;
  }

  pointer() {
    return {
      hover: (p) => {
        const at = this.under(p);
        this.picture.cursor(at?.handle ? CURSORS[at.handle] : at ? "move" : "default");
        this.point(at ? [at.box] : []);
      },
      leave: () => this.point([]),
      down: (p) => {
        const at = this.under(p);
        this.free = false;
        this.select(at ? at.box : -1);
        this.grip = at && { ...at, p, start: this.boxes[at.box], ours: this.boxes };
        return Boolean(at);
      },
      drag: (p) => {
        if (!this.grip) return;
        const { start, handle, p: from } = this.grip;
        const [dx, dy] = [p.x - from.x, p.y - from.y].map((shift) => Math.round(shift / this.view.scale));
        const box = handle ? resized(start, handle, dx, dy, this.size) : moved(start, dx, dy, this.size);
        this.put(box, { last: false });
      },
      drop: () => {
        this.grip = null;
        this.change({});
      },
      twice: (p) => {
        if (this.under(p)) return false;
        this.add((p.x - this.view.left) / this.view.scale, (p.y - this.view.top) / this.view.scale);
        return true;
      },
    };
  }

  // ---- keys

  key(event) {
    const { selected, boxes, size } = this;
    const arrow = arrowOf(event.key);
    const plain = !(event.ctrlKey || event.altKey || event.metaKey);
    if (event.key === "Tab") return this.tab(event.shiftKey ? -1 : 1);
    this.free = false;
    if (arrow && selected >= 0) {
      const [dx, dy] = arrow.map((step) => step * (event.shiftKey ? 10 : 1));
      const box = boxes[selected];
      this.put(plain ? moved(box, dx, dy, size) : resized(box, [Math.abs(dx), Math.abs(dy)], dx, dy, size));
    } else if (plain && "[]".includes(event.key) && boxes.length) {
      const from = event.key === "]" ? selected + 1 : Math.max(selected, 0) - 1;
      this.select(around(from, boxes.length));
    } else if (plain && event.key.toLowerCase() === "n") {
      const shift = (boxes.length % 7) * 0.04; // boxes added one after the other do not hide each other
      this.add(size[0] * (0.4 + shift), size[1] * (0.4 + shift));
    } else if (["Delete", "Backspace"].includes(event.key) && selected >= 0) this.remove();
    else if (event.key === "Escape") {
      this.free = true;
      this.select(-1);
    } else return false;
    return true;
  }

  // Tab goes through the boxes and then on along the page: nobody is shut in.
  tab(step) {
    const next = this.selected + (this.selected < 0 && step < 0 ? 0 : step);
    if (this.free || next < 0 || next >= this.boxes.length) return false;
    this.select(next);
    return true;
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

  drawPicture(context, { width, height, theme }) {
    const { image, boxes, names, selected, lit, numbers } = this;
    const view = this.place({ width, height });
    drawPicture(context, { image, boxes, names, view, selected, lit, theme, leftOut: numbers.leftOut });
  }

  drawMatrix(context, { width, height, theme }) {
    const { names, numbers, lit, boxes } = this;
    this.cells = boxes.length > 1 ? matrixView(boxes.length, names, context, width, height) : null;
    if (this.cells) drawMatrix(context, { numbers, names, view: this.cells, lit, theme });
  }
}

export const render = renderWith(BoxView);

export default { render };
