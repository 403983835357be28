// Boxes on an image that can be moved, resized, added and removed: what the views of boxes have in common.

import { boxesAt, fitted, modified } from "./canvas.js";
import { ListView, pythonCall } from "./view.js";
import { between, fresh, moved, resized } from "./box_maths.js";
import { MARGIN, cursorOf, drawPicture, handlePlaces } from "./box_drawing.js";

export const BOX_HELP = "Drag a box or its handles; click again to choose what lies beneath. Drag on empty "
  + "ground (with Shift anywhere) to draw a box with a mouse; double-click to add one. Keys: Tab or [ ] choose, "
  + "arrows move (Shift: 10 px, Alt: resize), N adds, Delete removes, Ctrl+Z, Ctrl+Shift+Z, R reset, C copy, "
  + "S save, Escape lets go.";
const BOXES_STYLE = `
.marginalia .m-mc { font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums;
  margin-right: 10px; }
.m-relation .m-mc { font-size: 16px; }
`;

// The selected box in pixels, or how many there are.
export function describeBoxes(boxes, names, selected) {
  if (selected < 0) return `${boxes.length} ${boxes.length === 1 ? "box" : "boxes"}.`;
  const [x, y, w, h] = boxes[selected].map((value) => Math.round(value * 10) / 10);
  return `Box ${names[selected]}: x ${x}, y ${y}, w ${w}, h ${h} px.`;
}

// Its class has `buildRight(element)`; it may have what `drawPicture` can show beside the boxes.
export class BoxesView extends ListView {
  constructor(model, host, signal, { help, shown = [], ...words }) {
    super(model, host, signal, { list: "boxes", style: BOXES_STYLE,
      shown: ["selected", "size", "box_format", ...shown], ...words });
    this.ground = this.stage(this.left, `Image with boxes. ${help}`,
      (width) => fitted(width, this.size, 460, MARGIN), drawPicture,
      { pointer: this.boxPointer(), keys: (event) => this.key(event) });
    this.buildWords("box", help);
    this.buildRight(this.right);
    this.start();
  }

  get names() { return this.boxes.map((_, i) => this.labels[i] || String(i)); }
  get lit() { return [...new Set(this.pointed)].filter((i) => i < this.boxes.length); }

  // A call that makes the explorer again, `more` being what it takes beside boxes, by place and by name.
  call(explorer, more = "", choices = {}) {
    const { boxes, labels, image, size, box_format: format } = this;
    const named = labels.length ? `, labels=${JSON.stringify(labels)}` : "";
    const given = `${JSON.stringify(boxes)}${more}${image ? ", pixels=pixels" : ""}${named}`;
    return pythonCall(explorer, given, { size, box_format: format, ...choices });
  }

  // Without a place near the middle, where boxes added one after the other do not hide each other.
  add(place) {
    const { boxes, size } = this;
    const shift = 0.4 + (boxes.length % 7) * 0.04;
    const [x, y] = place ?? [size[0] * shift, size[1] * shift];
    this.append(fresh(boxes, x, y, size));
  }

  append(box, options) {
    const { boxes: old, labels } = this;
    const boxes = [...old, box];
    if (this.grip) this.grip.ours = boxes;
    const added = labels.length ? { labels: [...old.map((_, i) => labels[i] ?? ""), ""] } : {};
    this.change({ boxes, selected: old.length, ...added }, options);
  }

  remove(more) { super.remove({ labels: this.others(this.labels), ...more }); }

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
    const [left, top, w, h] = selected < 0 ? [] : onScreen(boxes[selected]);
    const spots = selected < 0 ? [] : handlePlaces([left, top, w, h]);
    const from = (other) => Math.hypot(x - other.x, y - other.y);
    const middle = from({ x: left + w / 2, y: top + h / 2 }); // of a small box: a finger covers all of it
    const spot = spots.find((each) => from(each) <= Math.min(reach, middle));
    const held = spot ? [{ item: selected, handle: spot.handle, cursor: cursorOf(spot.handle) }] : [];
    const found = boxesAt(boxes.map(onScreen), p, tags).filter((item) => !spot || item !== selected);
    return [...held, ...found.map((item) => ({ item, cursor: "move" }))];
  }

  dragged({ start, handle, p: from, draws }, p) {
    const { scale } = p.drawn;
    if (draws) return between(placeOf(from), placeOf(p), this.size);
    const [dx, dy] = [p.x - from.x, p.y - from.y].map((shift) => Math.round(shift / scale));
    return handle ? resized(start, handle, dx, dy, this.size) : moved(start, dx, dy, this.size);
  }

  // Beside what things in the plane do: a drag on empty ground, or with Shift, draws a box; a finger scrolls
  // the page there.
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
        else {
          this.grip.begun = true;
          this.append(this.dragged(this.grip, p), { last: false });
        }
      },
      twice: (p) => {
        this.grip = null;
        this.add(placeOf(p));
        return true;
      } };
  }
}

// Where a place of the canvas is on the image.
const placeOf = ({ x, y, drawn }) => [(x - drawn.x) / drawn.scale, (y - drawn.y) / drawn.scale];
