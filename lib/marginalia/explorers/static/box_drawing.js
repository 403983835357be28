// What the box explorer draws: boxes on their image, the matrix of correlations, MC on its axis.

import { block, clamp, diverging, drawColours, drawPixels, drawTag, emphasis, fill, fixed, inkOn, outline,
  pixelsOf, stroke, strokeRimmed, write, writeAlong } from "./canvas.js";
import { lowerBound } from "./box_maths.js";

// ---- image ------------------------------------------------------------------------------------------

const HANDLES = [[-1, -1], [1, -1], [1, 1], [-1, 1], [0, -1], [1, 0], [0, 1], [-1, 0]];
export const cursorOf = ([across, down]) =>
  `${across * down ? (across === down ? "nwse" : "nesw") : across ? "ew" : "ns"}-resize`;

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
export const MARGIN = 6; // pixels around the image, for handles of boxes at its edge

// leftOut: boxes with dashed lines; hues: colours of some boxes, by index; shares: what stands behind names.
export function drawPicture(context, place, { image, boxes, names, selected, lit, leftOut = [], hues = {},
  shares = [] }) {
  const { scale, x, y, wide, tall, theme } = place;
  const onScreen = ([left, top, w, h]) => [x + left * scale, y + top * scale, w * scale, h * scale];
  block(context, theme.panel, x, y, wide, tall);
  context.imageSmoothingEnabled = scale < 2;
  if (image) context.drawImage(image, x, y, wide, tall);
  outline(context, theme.line, 1, x + 0.5, y + 0.5, wide - 1, tall - 1);

  const strong = (i) => 2 * (i === selected) + lit.includes(i);
  const colourOf = (i) => hues[i] ?? (strong(i) ? "#ff8c1a" : "#56b4e9");
  const rank = (i) => strong(i) + Boolean(hues[i]);
  const order = boxes.map((_, i) => i).sort((a, b) => rank(a) - rank(b));
  for (const i of order) {
    strokeRimmed(context, colourOf(i), strong(i) ? 2.5 : boxes.length > MANY ? 1 : 1.75,
      () => context.rect(...onScreen(boxes[i])), leftOut.includes(i) ? [5, 4] : []);
  }
  const taken = []; // the tag of a chosen box first; where there is one, no other is written over it
  for (const i of order.toReversed().filter((each) => boxes.length <= MANY || rank(each))) {
    drawTag(context, names[i], shares[i] ?? "", onScreen(boxes[i]), colourOf(i), place, taken, i);
  }
  for (const spot of selected < 0 ? [] : handlePlaces(onScreen(boxes[selected]))) {
    block(context, "#ffffff", spot.x - 3.5, spot.y - 3.5, 7, 7);
    outline(context, "#000000", 1.5, spot.x - 3.5, spot.y - 3.5, 7, 7);
  }
  return { ...place, onScreen, tags: taken };
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

export const matrixHeight = (width, { names }) =>
  ({ height: names.length < 2 ? 0 : Math.min(width - 24, 336) });

export function drawMatrix(context, { width, height, theme }, { numbers: { matrix }, names, lit, pictured }) {
  const count = names.length;
  if (count < 2) return;
  const widest = Math.max(...names.map((name) => context.measureText(name).width));
  const [x, y] = [clamp(widest, 8, 64) + 8, 20]; // beside names, and below them
  const cell = Math.min(width - x - 4, height - y - 20) / count;
  const side = cell * count;
  drawPixels(context, pictured(matrix, theme.dark), x, y, side, side);
  for (let k = 1; cell > 8 && k <= count; k += 1) {
    block(context, theme.page, x + k * cell - 1, y, 1, side);
    block(context, theme.page, x, y + k * cell - 1, side, 1);
  }
  matrix.forEach((row, i) => row.forEach((value, j) => {
    if (count > 8 || i === j || Number.isNaN(value)) return;
    const string = fixed(Math.round(value * 100) / 100 || 0, 2); // no −0.00
    write(context, string, x + (j + 0.5) * cell, y + (i + 0.5) * cell,
      { size: clamp(cell / 3.2, 8, 12), align: "center", colour: inkOn(diverging(value, theme.dark)) });
  }));
  drawNames(context, names, { x, y, cell, widest, lit, theme });
  const mark = (i, j, wide) => outline(context, theme.accent, 2, x + j * cell, y + i * cell, wide, cell - 1);
  const pairs = lit.length === 2 ? [lit, lit.toReversed()] : [];
  for (const [i, j] of pairs) mark(i, j, cell - 1);
  if (lit.length === 1) mark(lit[0], 0, side - 1);
  drawColours(context, { x, y: y + side + 11, most: side, colourAt: (t) => diverging(2 * t - 1, theme.dark),
    low: "−1", words: "1", theme });
  return { x, y, wide: side, tall: side, count };
}

// Names beside rows and above columns: those that are lit, and as many others as do not touch.
function drawNames(context, names, { x, y, cell, widest, lit, theme }) {
  const style = (more) => (i) => ({ ...emphasis(lit.includes(i), theme), ...more });
  const [along, wide] = [{ step: cell, wanted: lit }, clamp(widest + 6, cell, Math.max(cell, 24))];
  const rows = { ...along, x: x - 6, y, line: 13, down: true };
  writeAlong(context, names, rows, style({ most: 64, align: "right" }));
  writeAlong(context, names, { ...along, x, y: 10, line: wide }, style({ most: wide, align: "center" }));
}

// ---- MC -----------------------------------------------------------------------------------------------

export function drawAxis(context, { width, theme }, { numbers }) {
  const at = (value) => 12 + value * (width - 24);
  const line = 40;
  const tick = (value, colour, from, to) =>
    block(context, colour, Math.round(at(value)) - 0.5, from, 1, to - from);
  if (numbers.band) {
    const [low, high] = numbers.band.map(at);
    block(context, `${theme.mark}66`, low, line - 18, Math.max(high - low, 2), 17);
    const string = "5 to 95 % of random boxes";
    const half = context.measureText(string).width / 2;
    write(context, string, clamp((low + high) / 2, half, width - half), 11,
      { align: "center", colour: theme.mark });
  }
  block(context, theme.muted, at(0), line, at(1) - at(0), 1);
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    tick(value, theme.muted, line, line + 4);
    write(context, String(value), at(value), line + 12, { align: "center", colour: theme.muted });
  }
  tick(0.5, theme.ink, line - 20, line);
  write(context, "0.5: chance level", at(0.5) - 3, line + 28, { colour: theme.ink });
  const least = lowerBound(numbers.usable);
  if (least) {
    tick(least, theme.ink, line - 8, line + 6);
    const right = Math.max(at(least) + 3, context.measureText("no MC below").width);
    write(context, "no MC below", right, line + 28, { align: "right", colour: theme.ink });
  }
  if (Number.isNaN(numbers.mc)) return;
  context.beginPath();
  context.arc(at(numbers.mc), line - 9.5, 6, 0, 2 * Math.PI);
  fill(context, theme.accent);
  stroke(context, theme.page, 1.5);
}
