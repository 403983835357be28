// What the box explorer draws: boxes on their image, the matrix of correlations, MC on its axis.

import { block, clamp, diverging, drawPixels, drawTag, emphasis, fill, fillRamp, fixed, inkOn, labelsThatFit,
  outline, pixelsOf, stroke, strokeRimmed, write } from "./canvas.js";
import { lowerBound } from "./box_maths.js";

// ---- image ------------------------------------------------------------------------------------------

const HANDLES = [[-1, -1], [1, -1], [1, 1], [-1, 1], [0, -1], [1, 0], [0, 1], [-1, 0]];
export const CURSORS = {
  "1,1": "nwse-resize", "-1,-1": "nwse-resize", "1,-1": "nesw-resize", "-1,1": "nesw-resize",
  "0,1": "ns-resize", "0,-1": "ns-resize", "1,0": "ew-resize", "-1,0": "ew-resize",
};

// Where handles sit on the screen: outside a small box, so that its middle can still be dragged.
export function handlePlaces([x, y, w, h]) {
  const out = Math.max(0, (26 - Math.min(w, h)) / 2);
  return HANDLES.filter(([across, down]) => (across || w > 44) && (down || h > 44)).map(([across, down]) => ({
    handle: [across, down],
    x: x + ((across + 1) / 2) * w + across * out,
    y: y + ((down + 1) / 2) * h + down * out,
  }));
}

const MANY = 100; // boxes: of more, lines are thin, and only those that are chosen have tags
const MARGIN = 6; // pixels around the image, for handles of boxes at its edge

export const pictureHeight = (width, [W, H]) =>
  Math.min(((width - 2 * MARGIN) * H) / W, 460) + 2 * MARGIN;

// The frame of the image, and where a box of it is on the screen.
function pictureFrame({ width, height }, [W, H]) {
  const scale = Math.min((width - 2 * MARGIN) / W, (height - 2 * MARGIN) / H);
  const [wide, tall] = [W * scale, H * scale];
  const [x, y] = [(width - wide) / 2, (height - tall) / 2];
  const onScreen = ([left, top, w, h]) => [x + left * scale, y + top * scale, w * scale, h * scale];
  return { scale, x, y, wide, tall, onScreen };
}

// leftOut: boxes with dashed lines; hues: colours of some boxes, by index; tags: what stands at the boxes.
export function drawPicture(context, place, { image, boxes, size, names, selected, lit, leftOut = [], hues = {},
  tags = names }) {
  const { theme } = place;
  const frame = pictureFrame(place, size);
  const { scale, x, y, wide, tall, onScreen } = frame;
  block(context, theme.panel, x, y, wide, tall);
  context.imageSmoothingEnabled = scale < 2;
  if (image) context.drawImage(image, x, y, wide, tall);
  outline(context, theme.line, 1, x + 0.5, y + 0.5, wide - 1, tall - 1);

  const strong = (i) => 2 * (i === selected) + lit.includes(i);
  const colourOf = (i) => hues[i] ?? (strong(i) ? "#ff8c1a" : "#56b4e9");
  const order = boxes.map((_, i) => i).sort((a, b) => strong(a) - strong(b));
  for (const i of order) {
    strokeRimmed(context, colourOf(i), strong(i) ? 2.5 : boxes.length > MANY ? 1 : 1.75,
      () => context.rect(...onScreen(boxes[i])), leftOut.includes(i) ? [5, 4] : []);
  }
  const taken = []; // the tag of a chosen box first; where there is one, no other is written over it
  for (const i of order.toReversed().filter((each) => boxes.length <= MANY || strong(each) || hues[each])) {
    drawTag(context, tags[i], "", onScreen(boxes[i]), colourOf(i), frame, taken, i);
  }
  if (selected >= 0) drawHandles(context, onScreen(boxes[selected]));
  return { ...frame, tags: taken };
}

function drawHandles(context, box) {
  for (const { x, y } of handlePlaces(box)) {
    block(context, "#ffffff", x - 3.5, y - 3.5, 7, 7);
    outline(context, "#000000", 1.5, x - 3.5, y - 3.5, 7, 7);
  }
}

// ---- matrix -------------------------------------------------------------------------------------------

const NONE = [128, 128, 128, 100]; // where there is no correlation

// One pixel a pair, in colours of steps of 0.01, each worked out once; a box and itself are no pair.
export function matrixPicture(matrix, dark) {
  const shades = Array.from({ length: 201 }, (_, k) => [...diverging(k / 100 - 1, dark), 255]);
  const cells = matrix.flatMap((row, i) => row.map((value, j) => (i === j ? null : value)));
  return pixelsOf(cells, matrix.length, (value) => (value === null ? []
    : shades[Math.round(100 * (value + 1))] ?? NONE));
}

function matrixFrame(context, { width, height }, names) {
  const widest = Math.max(...names.map((name) => context.measureText(name).width), 8);
  const [left, top, count] = [Math.min(widest, 64) + 8, 20, names.length];
  return { left, top, count, cell: Math.min((width - left - 52) / count, (height - 24) / count) };
}

// The pair of boxes under a place of the matrix, empty beside it.
export function pairAt({ x, y, drawn: { left, top, cell, count } }) {
  const pair = [Math.floor((y - top) / cell), Math.floor((x - left) / cell)];
  return pair.every((k) => k >= 0 && k < count) ? pair : [];
}

export function drawMatrix(context, place, { numbers: { matrix }, names, lit, pictured }) {
  const { theme } = place;
  if (names.length < 2) return null;
  const frame = matrixFrame(context, place, names);
  const { cell, left, top, count } = frame;
  drawPixels(context, pictured(matrix, theme.dark), left, top, cell * count, cell * count);
  for (let k = 1; cell > 8 && k <= count; k += 1) {
    block(context, theme.page, left + k * cell - 1, top, 1, cell * count);
    block(context, theme.page, left, top + k * cell - 1, cell * count, 1);
  }
  if (count <= 8) {
    matrix.forEach((row, i) => row.forEach((value, j) => {
      if (i === j || Number.isNaN(value)) return;
      const string = fixed(Math.round(value * 100) / 100 || 0, 2); // no −0.00
      write(context, string, left + (j + 0.5) * cell, top + (i + 0.5) * cell,
        { size: clamp(cell / 3.2, 8, 12), align: "center", colour: inkOn(diverging(value, theme.dark)) });
    }));
  }
  drawNames(context, { names, frame, lit, theme });
  const mark = (i, j, wide) => outline(context, theme.accent, 2, left + j * cell, top + i * cell, wide, cell - 1);
  const pairs = lit.length === 2 ? [lit, [lit[1], lit[0]]] : [];
  for (const [i, j] of pairs) mark(i, j, cell - 1);
  if (lit.length === 1) mark(lit[0], 0, cell * count - 1);
  drawScale(context, left + cell * count + 10, top, cell * count - 1, theme);
  return frame;
}

// Names beside rows and above columns: those that are lit, and as many others as do not touch.
function drawNames(context, { names, frame: { cell, left, top }, lit, theme }) {
  const widest = Math.max(...names.map((name) => context.measureText(name).width));
  const wide = Math.max(Math.min(widest + 6, Math.max(cell, 24)), cell);
  const place = (i) => ({ ...emphasis(lit.includes(i), theme), middle: (i + 0.5) * cell });
  for (const i of labelsThatFit(names.length, cell, 13, lit)) {
    const { middle, ...look } = place(i);
    write(context, names[i], left - 6, top + middle, { ...look, most: 64, align: "right" });
  }
  for (const i of labelsThatFit(names.length, cell, wide, lit)) {
    const { middle, ...look } = place(i);
    write(context, names[i], left + middle, 10, { ...look, most: wide, align: "center" });
  }
}

function drawScale(context, x, y, tall, theme) {
  fillRamp(context, (t) => diverging(2 * t - 1, theme.dark), x, y, 10, tall);
  const middle = tall > 30 ? [[0.5, "0"]] : [];
  for (const [part, string] of [[0, "1"], ...middle, [1, "−1"]]) {
    write(context, string, x + 14, y + clamp(part * tall, 6, tall - 6), { colour: theme.muted });
  }
}

// ---- MC -----------------------------------------------------------------------------------------------

export function drawAxis(context, { width, theme }, { numbers }) {
  const at = (value) => 12 + value * (width - 24);
  const line = 40;
  const tick = (value, from, to) => context.fillRect(Math.round(at(value)) - 0.5, from, 1, to - from);
  if (numbers.band) {
    const [low, high] = numbers.band.map(at);
    context.globalAlpha = 0.4;
    block(context, theme.mark, low, line - 18, Math.max(high - low, 2), 17);
    context.globalAlpha = 1;
    const string = "5 to 95 % of random boxes";
    const half = context.measureText(string).width / 2;
    write(context, string, clamp((low + high) / 2, half, width - half), 11,
      { align: "center", colour: theme.mark });
  }
  block(context, theme.muted, at(0), line, at(1) - at(0), 1);
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    context.fillStyle = theme.muted;
    tick(value, line, line + 4);
    write(context, String(value), at(value), line + 12, { align: "center", colour: theme.muted });
  }
  context.fillStyle = theme.ink;
  tick(0.5, line - 20, line);
  write(context, "0.5: chance level", at(0.5) - 3, line + 28, { colour: theme.ink });
  const least = lowerBound(numbers.usable);
  if (least) {
    tick(least, line - 8, line + 6);
    const right = Math.max(at(least) + 3, context.measureText("no MC below").width);
    write(context, "no MC below", right, line + 28, { align: "right", colour: theme.ink });
  }
  if (Number.isNaN(numbers.mc)) return;
  context.beginPath();
  context.arc(at(numbers.mc), line - 9.5, 6, 0, 2 * Math.PI);
  fill(context, theme.accent);
  stroke(context, theme.page, 1.5);
}
