// What the attention explorer draws: boxes and a map on their image, all heads, and the product.

import { block, clipped, drawColours, drawTag, emphasis, outline, pixelsOf, sequential, setFont, strokeRimmed,
  write } from "./canvas.js";
import { KINDS, against, gridOf, short } from "./attention_maths.js";

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

const corner = ([cx, cy, w, h], { x, y, wide, tall }) =>
  [x + (cx - w / 2) * wide, y + (cy - h / 2) * tall, w * wide, h * tall];

function markBox(context, box, frame, colour, line, dash) {
  strokeRimmed(context, colour, line, () => context.rect(...corner(box, frame)), dash);
}

// Where a layer looks from: a cross, and an anchor's box with dashes.
function markReference(context, reference, frame, size) {
  const [x, y] = [frame.x + reference[0] * frame.wide, frame.y + reference[1] * frame.tall];
  strokeRimmed(context, "#ffffff", size > 5 ? 2 : 1.25, () => {
    for (const [dx, dy] of [[size, 0], [0, size]]) {
      context.moveTo(x - dx, y - dy);
      context.lineTo(x + dx, y + dy);
    }
  });
  if (reference.length < 4 || size < 5) return;
  markBox(context, reference, frame, "#ffffff", 1.25, [3, 3]);
}

function markCell(context, cell, { h, w }, { x, y, wide, tall }) {
  const [column, row] = [cell % w, Math.floor(cell / w)];
  const place = [x + (column * wide) / w, y + (row * tall) / h, wide / w, tall / h];
  strokeRimmed(context, "#ffffff", 1.25, () => context.rect(...place));
}

// ---- image ------------------------------------------------------------------------------------------

// Where a place is in a frame: 0 to 1 across and down.
export const partIn = ({ x, y, wide, tall }, p) => [(p.x - x) / wide, (p.y - y) / tall];

export function drawScene(context, { width, height, theme }, view) {
  const { facts, image, shown, row, reference, cell, aspect, solid } = view;
  const wide = Math.min(width, height * aspect);
  const frame = { x: 0, y: 0, wide, tall: wide / aspect };
  block(context, theme.panel, 0, 0, wide, frame.tall);
  context.imageSmoothingEnabled = wide < 2 * facts.size[0];
  if (image) context.drawImage(image, 0, 0, wide, frame.tall);
  drawCells(context, shown.tint, frame);
  clipped(context, frame, () => { // boxes may reach beyond their image
    const order = facts.boxes.map((_, i) => i).filter((i) => i !== row).sort((a, b) => solid[a] - solid[b]);
    for (const i of order) {
      context.globalAlpha = solid[i] ? 1 : 0.45;
      markBox(context, facts.boxes[i], frame, OTHER, solid[i] ? 1.75 : 1, solid[i] ? [] : [2, 4]);
    }
    context.globalAlpha = 1;
    markBox(context, facts.boxes[row], frame, CHOSEN, 2.75);
    const taken = []; // boxes on one thing would write over each other: the best keeps its tag
    const best = order.filter((i) => solid[i]).sort((a, b) => facts.scores[b] - facts.scores[a]);
    for (const i of [row, ...best]) {
      drawTag(context, facts.names[i], ` ${facts.scores[i].toFixed(2)}`, corner(facts.boxes[i], frame),
        i === row ? CHOSEN : OTHER, frame, taken);
    }
    if (reference) markReference(context, reference, frame, 7);
    if (cell >= 0) markCell(context, cell, view, frame);
  });
  return frame;
}

// ---- heads --------------------------------------------------------------------------------------------

const LINE = 16; // pixels of a line of text
const GAP = 10;
const EDGE = 3; // room for the chosen frame's outline
const TALL = 150; // pixels of a small map

// Frames of `count` equal images in a canvas of this width, `lines` of text below each.
function framesOf(width, count, columns, aspect, lines, gap) {
  const room = width - 2 * EDGE - (columns - 1) * gap;
  const wide = Math.min(room / columns, TALL * aspect);
  const tall = wide / aspect;
  const step = tall + lines * LINE + 6;
  const frames = Array.from({ length: count }, (_, i) => (
    { x: EDGE + (i % columns) * (wide + gap), y: EDGE + Math.floor(i / columns) * step, wide, tall }));
  return { frames, lines, height: EDGE + Math.ceil(count / columns) * step };
}

export const headFrames = (width, { heads, aspect }) =>
  framesOf(width, heads, gridOf(heads)[0], aspect, 1, GAP);

export const productFrames = (width, { aspect }) =>
  framesOf(width, KINDS.length, KINDS.length, aspect, 3, Math.max(20, Math.min(30, width / 14)));

// The frame under a pointer, its text included; -1: none.
export const frameAt = ({ x, y, drawn: { frames, lines } }) => frames.findIndex((frame) =>
  x >= frame.x && x <= frame.x + frame.wide && y >= frame.y && y <= frame.y + frame.tall + lines * LINE);

function drawHeat(context, heat, frame, { box, reference, chosen, theme }) {
  drawCells(context, heat, frame);
  clipped(context, frame, () => {
    markBox(context, box, frame, CHOSEN, 1.5);
    if (reference) markReference(context, reference, frame, 4);
  });
  if (!chosen) return;
  outline(context, theme.accent, 2.5, frame.x - 1, frame.y - 1, frame.wide + 2, frame.tall + 2);
}

export function drawHeads(context, { width, theme }, view) {
  const { shown, head, box, reference } = view;
  const drawn = headFrames(width, view);
  drawn.frames.forEach((frame, i) => {
    const { heat, peak, levels } = shown.heads[i];
    drawHeat(context, heat, frame, { box, reference, chosen: i === head, theme });
    const below = frame.y + frame.tall + LINE / 2 + 2;
    const style = emphasis(i === head, theme);
    write(context, frame.wide < 72 ? String(i) : `head ${i}`, frame.x, below, style);
    write(context, against(peak, levels.length), frame.x + frame.wide, below, { ...style, align: "right" });
  });
  return drawn;
}

// ---- product ------------------------------------------------------------------------------------------

export function drawProduct(context, { width, theme }, view) {
  const { shown, kind, box, reference, lit, layer, facts } = view;
  const drawn = productFrames(width, view);
  const terms = facts.terms.map((each) => each[layer]);
  const formulas = [...terms.map((term) => `softmax(${term})`), "content × spatial ÷ Σ"];
  drawn.frames.forEach((frame, k) => {
    const { heat, peak, levels } = shown.parts[k];
    const chosen = KINDS[k] === kind;
    drawHeat(context, heat, frame, { box, reference, chosen, theme });
    markCell(context, lit, view, frame);
    const line = (n) => frame.y + frame.tall + (n + 0.5) * LINE + 2;
    write(context, KINDS[k], frame.x, line(0), { size: 12, weight: chosen ? 700 : 600, colour: theme.ink });
    const most = frame.wide + (k < 2 ? 14 : 0);
    writeFitting(context, [formulas[k], terms[k] ?? formulas[k]], frame.x, line(1), most, theme.muted);
    const told = `peak ${short(peak)} = ${against(peak, levels.length)}`;
    writeFitting(context, [told], frame.x, line(2), most, theme.ink);
    if (!k) return;
    const [before, middle] = [drawn.frames[k - 1], frame.y + frame.tall / 2];
    const between = (before.x + before.wide + frame.x) / 2;
    write(context, k === 1 ? "×" : "→", between, middle, { size: 18, align: "center", colour: theme.ink });
  });
  return drawn;
}

// The first of the strings that fits in 9 to 11 pixels, else the last, smaller; c_q is c with a lowered q.
function writeFitting(context, strings, x, y, most, colour) {
  const sizeOf = (i, size) => (i % 2 ? size * 0.75 : size);
  const measure = (part, i) => {
    setFont(context, sizeOf(i, 11));
    return context.measureText(part).width;
  };
  const laid = (string) => {
    const parts = string.replaceAll(" . ", " · ").split(/_(\w)/); // every second one is lowered
    const wide = parts.map(measure);
    return { parts, wide, size: Math.min(11, (11 * most) / wide.reduce((a, b) => a + b, 0)) };
  };
  const choices = strings.map(laid);
  const { parts, wide, size } = choices.find((choice) => choice.size >= 9) ?? choices.at(-1);
  let at = x;
  parts.forEach((part, i) => {
    write(context, part, at, y + (i % 2) * 3, { size: sizeOf(i, size), colour });
    at += (wide[i] * size) / 11;
  });
}

// The colours of the small maps, from nothing to each map's own peak.
export function drawScale(context, { width, theme }) {
  drawColours(context, { x: EDGE, y: 8, most: width - EDGE, colourAt: sequential, low: "0",
    words: "own peak, told as a multiple of the uniform weight", theme });
}
