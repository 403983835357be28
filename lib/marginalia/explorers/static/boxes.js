// Boxes on an image that can be moved, resized, added and removed: what the views of boxes have in common.

import { listen, modified } from "./canvas.js";
import { ListView } from "./view.js";
import { fresh, moved, resized } from "./box_maths.js";
import { CURSORS, drawPicture, handlePlaces, pictureHeight } from "./box_drawing.js";

export const BOX_HELP = "Drag a box or its handles; double-click an empty place to add one. Keys: Tab or [ ] "
  + "choose, arrows move (Shift: 10 px, Alt: resize), N adds, Delete removes, Ctrl+Z, Ctrl+Shift+Z, R reset, "
  + "C copy, S save, Escape lets go.";
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
      pointer: { ...this.pointer("default"), twice: (p) => this.twice(p) },
      keys: (event) => this.key(event) });
    this.buildWords("box", help);
    this.buildRight(this.right);
    this.start([...TRAITS, ...shown]);
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
    this.put(modified(event) ? resized(box, arrow.map(Math.abs), dx, dy, size) : moved(box, dx, dy, size));
    return true;
  }

  // A handle of the selected box, that box, or else the smallest one there.
  under({ x, y, touch, drawn: { onScreen } }) {
    const { boxes, selected } = this;
    const reach = touch ? 18 : 8;
    const spots = selected < 0 ? [] : handlePlaces(onScreen(boxes[selected]));
    const spot = spots.find((each) => Math.abs(x - each.x) <= reach && Math.abs(y - each.y) <= reach);
    if (spot) return { item: selected, handle: spot.handle, cursor: CURSORS[spot.handle] };
    const inside = (i) => {
      const [left, top, w, h] = onScreen(boxes[i]);
      return x >= left - 3 && x <= left + w + 3 && y >= top - 3 && y <= top + h + 3;
    };
    const area = (i) => boxes[i][2] * boxes[i][3];
    const found = boxes.map((_, i) => i).filter(inside)
      .sort((a, b) => (b === selected) - (a === selected) || area(a) - area(b));
    return found.length ? { item: found[0], cursor: "move" } : null;
  }

  dragged({ start, handle, p: from }, { x, y, drawn: { scale } }) {
    const [dx, dy] = [x - from.x, y - from.y].map((shift) => Math.round(shift / scale));
    return handle ? resized(start, handle, dx, dy, this.size) : moved(start, dx, dy, this.size);
  }

  twice(p) {
    const { x, y, scale } = p.drawn;
    if (this.under(p)) return false;
    this.add([(p.x - x) / scale, (p.y - y) / scale]);
    return true;
  }
}
