// Boxes on an image that can be moved, resized, added and removed: what the views of boxes have in common.

import { boxesAt, listen, modified } from "./canvas.js";
import { ListView } from "./view.js";
import { between, fresh, moved, resized } from "./box_maths.js";
import { CURSORS, drawPicture, handlePlaces, pictureHeight } from "./box_drawing.js";

export const BOX_HELP = "Drag a box or its handles; click again to choose what lies beneath. Drag on empty "
  + "ground (with Shift anywhere) to draw a box; double-click to add one. Keys: Tab or [ ] choose, arrows move "
  + "(Shift: 10 px, Alt: resize), N adds, Delete removes, Ctrl+Z, Ctrl+Shift+Z, R reset, C copy, S save, Escape "
  + "lets go.";
const BOXES_STYLE = `
.marginalia .m-mc { font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums;
  margin-right: 10px; }
.m-relation .m-mc { font-size: 16px; }
`;
const TRAITS = ["boxes", "selected", "size", "labels", "box_format"];

// The selected box in pixels, or how many there are.
export function describeBoxes(boxes, names, selected) {
  if (selected < 0) return `${boxes.length} ${boxes.length === 1 ? "box" : "boxes"}.`;
  const [x, y, w, h] = boxes[selected].map((value) => Math.round(value * 10) / 10);
  return `Box ${names[selected]}: x ${x}, y ${y}, w ${w}, h ${h} px.`;
}

// Its class has `buildRight(element)`; it may have what `drawPicture` can show beside the boxes.
export class BoxesView extends ListView {
  constructor(model, host, signal, { help, shown = [], ...words }) {
    super(model, host, signal, { list: "boxes", style: BOXES_STYLE, ...words });
    this.ground = this.stage(this.left, `Image with boxes. ${help}`, drawPicture, {
      height: (width) => pictureHeight(width, this.size),
      pointer: this.boxPointer(),
      keys: (event) => this.key(event) });
    this.buildWords("box", help);
    this.buildRight(this.right);
    this.start([...TRAITS, ...shown]);
    listen(model, { "change:png": () => this.loadPicture() }, signal);
    this.loadPicture();
  }

  get boxes() { return this.items; }
  get size() { return this.model.get("size"); }
  get names() {
    const labels = this.model.get("labels");
    return this.boxes.map((_, i) => labels[i] || String(i));
  }
  get lit() { return [...new Set(this.pointed)].filter((i) => i < this.boxes.length); }

  // Without a place near the middle, where boxes added one after the other do not hide each other.
  add(place) {
    const { boxes, size } = this;
    const shift = 0.4 + (boxes.length % 7) * 0.04;
    const [x, y] = place ?? [size[0] * shift, size[1] * shift];
    this.append(fresh(boxes, x, y, size));
  }

  append(box, options) {
    const { boxes: old } = this;
    const boxes = [...old, box];
    if (this.grip) this.grip.ours = boxes;
    const labels = this.model.get("labels");
    const added = labels.length ? { labels: [...old.map((_, i) => labels[i] ?? ""), ""] } : {};
    this.change({ boxes, selected: old.length, ...added }, options);
  }

  remove() {
    const rest = (list) => list.filter((_, i) => i !== this.selected);
    this.pointed = [];
    this.change({ boxes: rest(this.boxes), labels: rest(this.model.get("labels")) });
  }

  nudge(event, arrow) {
    const { size, boxes: { [this.selected]: box } } = this;
    const [dx, dy] = arrow.map((step) => step * (event.shiftKey ? 10 : 1));
    this.put(modified(event) ? resized(box, arrow.map(Math.abs), dx, dy, size) : moved(box, dx, dy, size));
    return true;
  }

  // A handle of the selected box, then the boxes there.
  under(p) {
    const { boxes, selected } = this;
    const { x, y, touch, drawn: { onScreen, tags } } = p;
    const reach = touch ? 18 : 8;
    const spots = selected < 0 ? [] : handlePlaces(onScreen(boxes[selected]));
    const spot = spots.find((each) => Math.abs(x - each.x) <= reach && Math.abs(y - each.y) <= reach);
    const held = spot ? [{ item: selected, handle: spot.handle, cursor: CURSORS[spot.handle] }] : [];
    const found = boxesAt(boxes.map(onScreen), p, tags).filter((item) => !spot || item !== selected);
    return [...held, ...found.map((item) => ({ item, cursor: "move" }))];
  }

  dragged({ start, handle, p: from, draws }, p) {
    const { scale } = p.drawn;
    if (draws) return between(placeOf(from), placeOf(p), this.size);
    const [dx, dy] = [p.x - from.x, p.y - from.y].map((shift) => Math.round(shift / scale));
    return handle ? resized(start, handle, dx, dy, this.size) : moved(start, dx, dy, this.size);
  }

  // Beside what things in the plane do: a drag on empty ground, or with Shift, draws a box; a finger scrolls the
  // page there.
  boxPointer() {
    const own = this.pointer("crosshair");
    return { ...own,
      down: (p) => {
        if (!p.shift && (own.down(p) || p.touch)) return Boolean(this.grip);
        this.grip = { p, ours: this.boxes, draws: true };
        return true;
      },
      drag: (p) => {
        if (!this.grip?.draws || this.grip.begun) own.drag(p);
        else if (!p.still) {
          this.grip.begun = true;
          this.append(this.dragged(this.grip, p), { last: false });
        }
      },
      twice: (p) => {
        this.add(placeOf(p));
        return true;
      } };
  }
}

// Where a place of the canvas is on the image.
const placeOf = ({ x, y, drawn }) => [(x - drawn.x) / drawn.scale, (y - drawn.y) / drawn.scale];
