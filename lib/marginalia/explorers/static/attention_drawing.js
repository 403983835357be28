// What the attention explorer draws: boxes and a map on their image, all heads, and the product.

import { block, fillRamp, outline, pixelsOf, sequential, shorten, write } from "./canvas.js";
import { KINDS, against, short } from "./attention_maths.js";

const CHOSEN = "#ff8c1a";
const OTHER = "#56b4e9";
const TINT = [255, 120, 0]; // of the chosen query's map, like its box
const FULL = 215; // opacity of the tint where the map peaks, of 255

// ---- maps ---------------------------------------------------------------------------------------------

const MAGNITUDE = Array.from({ length: 256 }, (_, level) => [...sequential(level / 255), 255]);
const OPACITY = Array.from({ length: 256 }, (_, level) => [...TINT, Math.round((level * FULL) / 255)]);

export const heatOf = (map, w) => pixelsOf(map.levels, w, (level) => MAGNITUDE[level]);
export const tintOf = (map, w) => pixelsOf(map.levels, w, (level) => OPACITY[level]);

// Cells are shown as they are: smoothing them would move a peak.
function drawCells(context, image, { x, y, wide, tall }) {
  context.imageSmoothingEnabled = false;
  context.drawImage(image, x, y, wide, tall);
}

// ---- marks --------------------------------------------------------------------------------------------

// A line seen on any image: dark below, coloured above.
function stroke(context, colour, line, path) {
  for (const [style, width] of [["rgba(0, 0, 0, 0.75)", line + 1.75], [colour, line]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    path();
    context.stroke();
  }
}

const corner = ([cx, cy, w, h], { x, y, wide, tall }) =>
  [x + (cx - w / 2) * wide, y + (cy - h / 2) * tall, w * wide, h * tall];

function markBox(context, box, frame, colour, line) {
  stroke(context, colour, line, () => context.rect(...corner(box, frame)));
}

// Where a layer looks from: a cross, and an anchor's box with dashes.
function markReference(context, reference, frame, size) {
  const [x, y] = [frame.x + reference[0] * frame.wide, frame.y + reference[1] * frame.tall];
  stroke(context, "#ffffff", size > 5 ? 2 : 1.25, () => {
    for (const [dx, dy] of [[size, 0], [0, size]]) {
      context.moveTo(x - dx, y - dy);
      context.lineTo(x + dx, y + dy);
    }
  });
  if (reference.length < 4 || size < 5) return;
  context.setLineDash([3, 3]);
  markBox(context, reference, frame, "#ffffff", 1.25);
  context.setLineDash([]);
}

function markCell(context, cell, { h, w }, { x, y, wide, tall }) {
  const [column, row] = [cell % w, Math.floor(cell / w)];
  const place = [x + (column * wide) / w, y + (row * tall) / h, wide / w, tall / h];
  stroke(context, "#ffffff", 1.25, () => context.rect(...place));
}

// ---- image ------------------------------------------------------------------------------------------

export function drawScene(context, { image, tint, facts, view, row, reference, cell, grid, theme }) {
  const { x, y, wide, tall } = view;
  block(context, theme.panel, x, y, wide, tall);
  context.save();
  context.beginPath();
  context.rect(x, y, wide, tall);
  context.clip(); // boxes may reach beyond their image
  context.imageSmoothingEnabled = wide < 2 * facts.size[0];
  if (image) context.drawImage(image, x, y, wide, tall);
  drawCells(context, tint, view);
  const solid = (i) => facts.scores[i] >= facts.solid;
  const order = facts.boxes.map((_, i) => i).filter((i) => i !== row).sort((a, b) => solid(a) - solid(b));
  for (const i of order) {
    context.globalAlpha = solid(i) ? 1 : 0.45;
    context.setLineDash(solid(i) ? [] : [2, 4]);
    markBox(context, facts.boxes[i], view, OTHER, solid(i) ? 1.75 : 1);
    context.setLineDash([]);
    context.globalAlpha = 1;
  }
  markBox(context, facts.boxes[row], view, CHOSEN, 2.75);
  const taken = []; // boxes on one thing would write over each other: the best keeps its tag
  drawTag(context, facts, row, view, CHOSEN, taken);
  const best = order.filter(solid).sort((a, b) => facts.scores[b] - facts.scores[a]);
  for (const i of best) drawTag(context, facts, i, view, OTHER, taken);
  if (reference) markReference(context, reference, view, 7);
  if (cell >= 0) markCell(context, cell, grid, view);
  context.restore();
}

// Class and score on the box's top left corner: above it where there is room, else inside; not over another.
function drawTag(context, facts, row, view, colour, taken) {
  const [x, y] = corner(facts.boxes[row], view);
  context.font = context.font.replace(/^.*?px/, "600 11px");
  const string = `${shorten(context, facts.names[row], 90)} ${facts.scores[row].toFixed(2)}`;
  const width = context.measureText(string).width + 8;
  const left = Math.max(view.x, Math.min(x - 1, view.x + view.wide - width));
  const top = Math.max(view.y, y - 16 < view.y ? y + 1 : y - 16);
  const met = (tag) => Math.abs(tag.top - top) < 15 && left < tag.left + tag.width && tag.left < left + width;
  if (taken.some(met)) return;
  taken.push({ left, top, width });
  block(context, colour, left, top, width, 15);
  write(context, string, left + 4, top + 8, { size: 11, weight: 600, colour: "#000000" });
}

// ---- heads --------------------------------------------------------------------------------------------

export const LINE = 16; // pixels of a line of text
const GAP = 10;
const EDGE = 3; // room for the chosen frame's outline
const TALL = 150; // pixels of a small map

// Frames of `count` equal images in a canvas of this width, `lines` of text below each.
export function framesOf(width, count, columns, aspect, lines, gap = GAP) {
  const room = width - 2 * EDGE - (columns - 1) * gap;
  const wide = Math.min(room / columns, TALL * aspect);
  const tall = wide / aspect;
  const step = tall + lines * LINE + 6;
  const frames = Array.from({ length: count }, (_, i) => (
    { x: EDGE + (i % columns) * (wide + gap), y: EDGE + Math.floor(i / columns) * step, wide, tall }));
  return { frames, height: EDGE + Math.ceil(count / columns) * step };
}

// The frame under a pointer, its text included; -1: none.
export const frameAt = (frames, p, lines) => frames.findIndex(({ x, y, wide, tall }) =>
  p.x >= x && p.x <= x + wide && p.y >= y && p.y <= y + tall + lines * LINE);

function drawHeat(context, heat, frame, { box, reference, chosen, theme }) {
  drawCells(context, heat, frame);
  context.save();
  context.beginPath();
  context.rect(frame.x, frame.y, frame.wide, frame.tall);
  context.clip();
  markBox(context, box, frame, CHOSEN, 1.5);
  if (reference) markReference(context, reference, frame, 4);
  context.restore();
  if (!chosen) return;
  outline(context, theme.accent, 2.5, frame.x - 1, frame.y - 1, frame.wide + 2, frame.tall + 2);
}

export function drawHeads(context, { heats, maps, frames, head, box, reference, theme }) {
  const cells = maps[0].levels.length;
  frames.forEach((frame, i) => {
    const chosen = i === head;
    drawHeat(context, heats[i], frame, { box, reference, chosen, theme });
    const below = frame.y + frame.tall + LINE / 2 + 2;
    const style = { size: 11, colour: chosen ? theme.ink : theme.muted, weight: chosen ? 700 : 400 };
    const told = frame.wide < 72 ? String(i) : `head ${i}`;
    write(context, told, frame.x, below, style);
    write(context, against(maps[i].peak, cells), frame.x + frame.wide, below, { ...style, align: "right" });
  });
}

// ---- product ------------------------------------------------------------------------------------------

export function drawProduct(context, { heats, maps, frames, kind, box, reference, cell, grid, terms, theme }) {
  const formulas = [...terms.map((term) => `softmax(${term})`), "content × spatial ÷ Σ"];
  frames.forEach((frame, k) => {
    const chosen = KINDS[k] === kind;
    drawHeat(context, heats[k], frame, { box, reference, chosen, theme });
    if (cell >= 0) markCell(context, cell, grid, frame);
    const line = (n) => frame.y + frame.tall + (n + 0.5) * LINE + 2;
    write(context, KINDS[k], frame.x, line(0), { size: 12, weight: chosen ? 700 : 600, colour: theme.ink });
    const most = frame.wide + (k < 2 ? 14 : 0);
    writeFitting(context, [formulas[k], terms[k] ?? formulas[k]], frame.x, line(1), most, theme.muted);
    const peak = `peak ${short(maps[k].peak)} = ${against(maps[k].peak, maps[k].levels.length)}`;
    writeFitting(context, [peak], frame.x, line(2), most, theme.ink);
    if (!k) return;
    const [before, middle] = [frames[k - 1], frame.y + frame.tall / 2];
    const between = (before.x + before.wide + frame.x) / 2;
    write(context, k === 1 ? "×" : "→", between, middle, { size: 18, align: "center", colour: theme.ink });
  });
}

// The first of the strings that fits in 9 to 11 pixels, else the last, smaller; c_q is c with a lowered q.
function writeFitting(context, strings, x, y, most, colour) {
  const font = (i, size) => {
    const own = i % 2 ? size * 0.75 : size;
    context.font = context.font.replace(/^.*?px/, `${own}px`);
    return own;
  };
  const laid = (string) => {
    const parts = string.replaceAll(" . ", " · ").split(/_(\w)/); // every second one is lowered
    const wide = parts.map((part, i) => font(i, 11) && context.measureText(part).width);
    return { parts, wide, size: Math.min(11, (11 * most) / wide.reduce((a, b) => a + b, 0)) };
  };
  const choices = strings.map(laid);
  const { parts, wide, size } = choices.find((choice) => choice.size >= 9) ?? choices.at(-1);
  let at = x;
  parts.forEach((part, i) => {
    write(context, part, at, y + (i % 2) * 3, { size: font(i, size), colour });
    at += (wide[i] * size) / 11;
  });
}

// The colours of the small maps, from nothing to each map's own peak.
export function drawScale(context, { width, theme }) {
  const words = { size: 11, colour: theme.muted };
  write(context, "0", EDGE, 8, words);
  const long = Math.min(120, width / 4);
  fillRamp(context, sequential, EDGE + 12, 3, long, 10);
  const start = EDGE + long + 18;
  const told = "own peak, told as a multiple of the uniform weight";
  writeFitting(context, [told, "own peak, told in uniform weights"], start, 8, width - start, theme.muted);
}
