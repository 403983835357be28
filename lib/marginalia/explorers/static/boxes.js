// Boxes on an image that can be moved, resized, added and removed: what the views of boxes have in common.

import { append, arrowOf, createStage, imageFrom, listen } from "./canvas.js";
import { ListView } from "./view.js";
import { fresh, moved, resized } from "./box_maths.js";
import { CURSORS, drawPicture, handlePlaces } from "./box_drawing.js";

export const BOX_HELP = "Drag a box or its handles; double-click an empty place to add one. Keys: Tab or [ ] "
  + "choose, arrows move (Shift: 10 px, Alt: resize), N adds, Delete removes, Ctrl+Z, Ctrl+Shift+Z, R reset, "
  + "C copy, S save, Escape lets go.";
const BOXES_STYLE = `
.marginalia .m-left { flex: 1.3 1 340px; } .marginalia .m-right { flex: 1 1 280px; }
.marginalia .m-mc { font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums;
  margin-right: 10px; }
.m-relation .m-mc { font-size: 16px; }
`;
const TRAITS = ["boxes", "selected", "size", "labels", "box_format"];
const MARGIN = 6; // pixels around the image, for handles of boxes at its edge

// The selected box in pixels, or how many there are.
export function describeBoxes(boxes, names, selected) {
  if (selected < 0) return `${boxes.length} ${boxes.length === 1 ? "box" : "boxes"}.`;
  const [x, y, w, h] = boxes[selected].map((value) => Math.round(value * 10) / 10);
  return `Box ${names[selected]}: x ${x}, y ${y}, w ${w}, h ${h} px.`;
}

// Its class has `buildRight(element, signal)`, which gives the stages there.
export class BoxesView extends ListView {
  constructor(model, host, signal, { help, shown = [], ...words }) {
    super(model, host, signal, { list: "boxes", style: BOXES_STYLE, ...words });
    this.pointed = []; // boxes under the pointer, or the pair of a cell of a matrix
    const row = append(this.root, "div", "m-row");
    const left = append(row, "div", "m-left");
    this.picture = createStage(left, { label: `Image with boxes. ${help}`, signal,
      height: (width) => Math.min(((width - 2 * MARGIN) * this.size[1]) / this.size[0], 460) + 2 * MARGIN,
      draw: (context, place) => this.drawPicture(context, place),
      pointer: this.pointer(), keys: (event) => this.key(event) });
    this.buildWords(left, "box", help);
    const right = this.buildRight(append(row, "div", "m-right"), signal);
    this.start([this.picture, ...right], [...TRAITS, ...shown]);
    listen(model, { png: () => this.loadPicture() }, signal);
    this.loadPicture();
  }

  get boxes() { return this.items; }
  get size() { return this.model.get("size"); }
  get names() {
    const labels = this.model.get("labels");
    return this.boxes.map((_, i) => labels[i] || String(i));
  }
  get lit() { return [...new Set(this.pointed)].filter((i) => i < this.boxes.length); }

  async loadPicture() {
    this.image = await imageFrom(this.model.get("png"));
    this.refresh();
  }

  // ---- changes

  // Without a place near the middle, where boxes added one after the other do not hide each other.
  add(place) {
    const { boxes: old, size } = this;
    const shift = 0.4 + (old.length % 7) * 0.04;
    const [x, y] = place ?? [size[0] * shift, size[1] * shift];
    const labels = this.model.get("labels");
    const added = labels.length ? { labels: [...old.map((_, i) => labels[i] ?? ""), ""] } : {};
    this.change({ boxes: [...old, fresh(old, x, y, size)], selected: old.length, ...added });
  }

  remove() {
    const rest = (list) => list.filter((_, i) => i !== this.selected);
    this.pointed = [];
    this.change({ boxes: rest(this.boxes), labels: rest(this.model.get("labels")) });
  }

  nudge(event, arrow) {
    const { size, boxes: { [this.selected]: box } } = this;
    const [dx, dy] = arrow.map((step) => step * (event.shiftKey ? 10 : 1));
    const plain = !(event.ctrlKey || event.altKey || event.metaKey);
    this.put(plain ? moved(box, dx, dy, size) : resized(box, [Math.abs(dx), Math.abs(dy)], dx, dy, size));
    return true;
  }

  point(boxes) {
    if (boxes.join() === this.pointed.join()) return;
    this.note = "";
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
      drop: () => this.drop(),
      twice: (p) => {
        if (this.under(p)) return false;
        this.add([(p.x - this.view.left) / this.view.scale, (p.y - this.view.top) / this.view.scale]);
        return true;
      },
    };
  }

  // ---- drawing

  // `hues`: colours of some boxes, by index.
  drawPicture(context, { width, height, theme }, more = {}) {
    const { image, boxes, names, selected, lit } = this;
    const view = this.place({ width, height });
    drawPicture(context, { image, boxes, names, view, selected, lit, theme, ...more });
  }
}
