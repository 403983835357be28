// What the box explorer draws: boxes on their image, the matrix of correlations, MC on its axis.

import { block, clamp, css, diverging, fillRamp, inkOn, outline, shorten, write } from "./canvas.js";
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

// leftOut: boxes with dashed lines; hues: colours of some boxes, by index.
export function drawPicture(context, { image, boxes, names, view, selected, lit, theme, leftOut = [],
  hues = {} }) {
  const { scale, left, top, W, H, onScreen } = view;
  block(context, theme.panel, left, top, W * scale, H * scale);
  context.imageSmoothingEnabled = scale < 2;
  if (image) context.drawImage(image, left, top, W * scale, H * scale);
  outline(context, theme.line, 1, left + 0.5, top + 0.5, W * scale - 1, H * scale - 1);

  const order = boxes.map((_, i) => i).sort((a, b) => (a === selected) - (b === selected));
  for (const i of order) {
    const [x, y, w, h] = onScreen(boxes[i]);
    const strong = i === selected || lit.includes(i);
    const colour = hues[i] ?? (strong ? "#ff8c1a" : "#56b4e9");
    context.setLineDash(leftOut.includes(i) ? [5, 4] : []);
    for (const [style, line] of [["rgba(0, 0, 0, 0.75)", 3.5], [colour, 1.75]]) { // seen on any image
      outline(context, style, line + (strong ? 0.75 : 0), x, y, w, h);
    }
    context.setLineDash([]);
    drawTag(context, names[i], x, y, colour, view);
  }
  if (selected >= 0) drawHandles(context, onScreen(boxes[selected]));
}

// The box's name on its top left corner: above it where there is room, else inside.
function drawTag(context, name, x, y, colour, view) {
  context.font = context.font.replace(/^.*?px/, "600 11px");
  const string = shorten(context, name, 90);
  const width = context.measureText(string).width + 8;
  const left = clamp(x - 1, view.left, view.left + view.W * view.scale - width);
  const top = y - 16 < view.top ? y + 1 : y - 16;
  block(context, colour, left, top, width, 15);
  write(context, string, left + 4, top + 8, { size: 11, weight: 600, colour: "#000000" });
}

function drawHandles(context, box) {
  context.lineWidth = 1.5;
  for (const { x, y } of handlePlaces(box)) {
    context.fillStyle = "#ffffff";
    context.strokeStyle = "#000000";
    context.beginPath();
    context.rect(x - 3.5, y - 3.5, 7, 7);
    context.fill();
    context.stroke();
  }
}

// ---- matrix -------------------------------------------------------------------------------------------

// Colour and ink of a correlation in steps of 0.01, worked out once: 100 boxes have ten thousand cells.
const shades = new Map();
function shade(value, dark) {
  const key = Math.round(value * 100) + (dark ? 1000 : 0);
  if (!shades.has(key)) {
    const colour = diverging(value, dark);
    shades.set(key, { colour: css(colour), ink: inkOn(colour) });
  }
  return shades.get(key);
}

export function matrixView(count, names, context, width, height) {
  const widest = Math.max(...names.map((name) => context.measureText(name).width), 8);
  const gutter = Math.min(widest, 64) + 8;
  const cell = Math.min((width - gutter - 52) / count, (height - 24) / count);
  return { cell, left: gutter, top: 20, count };
}

export function drawMatrix(context, { numbers, names, view, lit, theme }) {
  const { cell, left, top, count } = view;
  for (let i = 0; i < count; i += 1) {
    for (let j = 0; j < count; j += 1) {
      const [x, y, value] = [left + j * cell, top + i * cell, numbers.matrix[i][j]];
      if (i === j) continue; // no pair: the page shows through
      const missing = Number.isNaN(value);
      const { colour, ink } = missing ? { colour: theme.line } : shade(value, theme.dark);
      block(context, colour, x, y, cell - (cell > 8), cell - (cell > 8));
      if (missing || count > 8) continue;
      const string = (Math.round(value * 100) / 100 || 0).toFixed(2).replace("-", "−"); // no −0.00
      write(context, string, x + cell / 2, y + cell / 2,
        { size: clamp(cell / 3.2, 8, 12), align: "center", colour: ink });
    }
  }
  drawNames(context, { names, view, lit, theme });
  context.lineWidth = 2;
  context.strokeStyle = theme.accent;
  const pairs = lit.length === 2 ? [lit, [lit[1], lit[0]]] : [];
  for (const [i, j] of pairs) context.strokeRect(left + j * cell, top + i * cell, cell - 1, cell - 1);
  if (lit.length === 1) context.strokeRect(left, top + lit[0] * cell, cell * count - 1, cell - 1);
  drawScale(context, left + cell * count + 10, top, cell * count - 1, theme);
}

// Names beside rows and above columns; where cells are small only every so many, or they would touch.
function drawNames(context, { names, view: { cell, left, top }, lit, theme }) {
  const widest = Math.max(...names.map((name) => context.measureText(name).width));
  const everyRow = Math.ceil(13 / cell);
  const everyColumn = Math.ceil(Math.min(widest + 6, Math.max(cell, 24)) / cell);
  names.forEach((name, i) => {
    const strong = lit.includes(i);
    const style = { size: 11, weight: strong ? 700 : 400, colour: strong ? theme.ink : theme.muted };
    const middle = (i + 0.5) * cell;
    const put = (x, y, most, align) =>
      write(context, shorten(context, name, most), x, y, { ...style, align });
    if (i % everyRow === 0) put(left - 6, top + middle, 64, "right");
    if (i % everyColumn === 0) put(left + middle, 10, cell * everyColumn, "center");
  });
}

function drawScale(context, x, y, tall, theme) {
  fillRamp(context, (t) => diverging(2 * t - 1, theme.dark), x, y, 10, tall);
  const middle = tall > 30 ? [[0.5, "0"]] : [];
  for (const [part, string] of [[0, "1"], ...middle, [1, "−1"]]) {
    write(context, string, x + 14, y + clamp(part * tall, 6, tall - 6), { size: 11, colour: theme.muted });
  }
}

// ---- MC -----------------------------------------------------------------------------------------------

export function drawAxis(context, { numbers, width, theme }) {
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
      { size: 11, align: "center", colour: theme.mark });
  }
  block(context, theme.muted, at(0), line, at(1) - at(0), 1);
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    context.fillStyle = theme.muted;
    tick(value, line, line + 4);
    write(context, String(value), at(value), line + 12, { size: 11, align: "center", colour: theme.muted });
  }
  context.fillStyle = theme.ink;
  tick(0.5, line - 20, line);
  write(context, "0.5: chance level", at(0.5) - 3, line + 28, { size: 11, colour: theme.ink });
  const least = lowerBound(numbers.usable);
  if (least) {
    tick(least, line - 8, line + 6);
    const right = Math.max(at(least) + 3, context.measureText("no MC below").width);
    write(context, "no MC below", right, line + 28, { size: 11, align: "right", colour: theme.ink });
  }
  if (Number.isNaN(numbers.mc)) return;
  context.beginPath();
  context.arc(at(numbers.mc), line - 9.5, 6, 0, 2 * Math.PI);
  context.fillStyle = theme.accent;
  context.fill();
  context.strokeStyle = theme.page;
  context.lineWidth = 1.5;
  context.stroke();
}
