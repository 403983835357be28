// What the attention explorer draws: boxes and a map on their image, all heads, two maps on one scale, the
// product, and the queries that look at a cell.

import { block, clamp, clipped, drawColours, drawPixels, drawTag, emphasis, outline, pixelsOf, sequential,
  setFont, strokeRimmed, write, writeAlong } from "./canvas.js";
import { KINDS, against, gridOf, short, timesUniform } from "./attention_maths.js";

const CHOSEN = "#ff8c1a";
const OTHER = "#56b4e9";
const TINT = [255, 120, 0]; // of the chosen query's map, like its box

// ---- maps ---------------------------------------------------------------------------------------------

const MAGNITUDE = Array.from({ length: 256 }, (_, level) => [...sequential(level / 255), 255]);

// Colours from 0 to the map's own peak, or to `most`; and the tint of the image, full at the peak.
export const heatOf = ({ levels, peak }, w, most = peak) =>
  pixelsOf(levels, w, (level) => MAGNITUDE[Math.round((level * peak) / most)]);
export const tintOf = ({ levels }, w) => pixelsOf(levels, w, (level) => [...TINT, level]);

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

// The chosen query's map over the image; or, the other way round, each box filled by what it gives to a cell.
export function drawScene(context, frame, view) {
  const { facts, image, shown, row, reference, cells, lit, over, rows, opacity, looks } = view;
  const { wide, tall, theme } = frame;
  const places = facts.boxes.map((box) => corner(box, frame));
  const most = Math.max(...looks.map(({ weight }) => weight), 1 / shown.map.levels.length);
  const taken = []; // boxes on one thing would write over each other: the best keeps its tag
  const drawGround = () => {
    context.globalAlpha = 1;
    context.imageSmoothingEnabled = wide < 2 * facts.size[0];
    block(context, theme.panel, 0, 0, wide, tall);
    if (image) context.drawImage(image, 0, 0, wide, tall);
  };
  drawGround();
  context.globalAlpha = opacity;
  if (!cells) drawPixels(context, shown.tint, 0, 0, wide, tall);
  clipped(context, frame, () => { // boxes may reach beyond their image
    const areas = places.map((place) => place[2] * place[3]);
    for (const i of cells ? rows.toSorted((a, b) => areas[b] - areas[a]) : []) {
      const [x, y, w, h] = places[i];
      clipped(context, { x, y, wide: w, tall: h }, () => { // fills on each other would add up
        drawGround();
        context.globalAlpha = (opacity * looks[i].weight) / most;
        block(context, CHOSEN, x, y, w, h);
      });
    }
    context.globalAlpha = 1;
    for (const i of rows.filter((each) => each !== row)) markBox(context, facts.boxes[i], frame, OTHER, 1.75);
    markBox(context, facts.boxes[row], frame, CHOSEN, 2.75);
    const best = (i) => (cells ? looks[i].weight : facts.scores[i] + (i === row));
    for (const i of rows.toSorted((a, b) => best(b) - best(a))) {
      const number = cells ? timesUniform(looks[i], shown.map.levels.length) : facts.scores[i].toFixed(2);
      drawTag(context, facts.names[i], ` ${number}`, places[i], i === row ? CHOSEN : OTHER, frame, taken, i);
    }
    if (reference && !cells) markReference(context, reference, frame, 7);
    if (cells || over >= 0) markCell(context, lit, view, frame);
  });
  return { ...frame, places, tags: taken };
}

// ---- heads --------------------------------------------------------------------------------------------

const LINE = 16; // pixels of a line of text
const EDGE = 3; // room for the chosen frame's outline
const TALL = 150; // pixels of a small map

// Frames of `count` equal images in a canvas of this width, `lines` of text below each, from `left` on.
function framesOf(width, count, columns, aspect, lines, gap, left = EDGE) {
  const room = width - left - EDGE - (columns - 1) * gap;
  const wide = Math.min(room / columns, TALL * aspect);
  const slot = Math.max(wide, Math.min(room / columns, 100)); // words are wider than a narrow image
  const tall = wide / aspect;
  const step = tall + lines * LINE + 6;
  const frames = Array.from({ length: count }, (_, i) => (
    { x: left + (i % columns) * (slot + gap), y: EDGE + Math.floor(i / columns) * step, wide, tall, slot }));
  return { frames, lines, height: EDGE + Math.ceil(count / columns) * step };
}

// The heads of a layer and their mean in a grid, or all layers below each other.
export const headFrames = (width, { heads, layers, aspect, all }) =>
  (all ? framesOf(width, layers * (heads + 1), heads + 1, aspect, 1, 4, 20)
    : framesOf(width, heads + 1, gridOf(heads + 1)[0], aspect, 1, 10));

export const productFrames = (width, { aspect }) =>
  framesOf(width, KINDS.length, KINDS.length, aspect, 3, Math.max(20, Math.min(30, width / 14)));

// The frame under a pointer, its text included; -1: none.
export const frameAt = ({ x, y, drawn: { frames, lines } }) => frames.findIndex((frame) =>
  x >= frame.x && x <= frame.x + frame.slot && y >= frame.y && y <= frame.y + frame.tall + lines * LINE);

function drawHeat(context, heat, frame, { box, reference, chosen, theme }) {
  drawPixels(context, heat, frame.x, frame.y, frame.wide, frame.tall);
  clipped(context, frame, () => {
    markBox(context, box, frame, CHOSEN, 1.5);
    if (reference) markReference(context, reference, frame, 4);
  });
  if (!chosen) return;
  outline(context, theme.accent, 2.5, frame.x - 1, frame.y - 1, frame.wide + 2, frame.tall + 2);
}

export function drawHeads(context, { frames, theme }, { shown, layer, head, heads, box, all }) {
  frames.forEach((frame, i) => {
    const { heat, peak, levels, reference, ...at } = shown.small[i];
    const chosen = at.layer === layer && at.head === head;
    drawHeat(context, heat, frame, { box, reference, chosen, theme });
    const below = frame.y + frame.tall + LINE / 2 + 2;
    const style = emphasis(chosen, theme);
    const name = at.head < 0 ? "mean" : frame.wide < 72 ? String(at.head) : `head ${at.head}`;
    write(context, name, frame.x, below, { ...style, most: frame.slot });
    if (!all && frame.slot > 60) {
      write(context, against(peak, levels.length), frame.x + frame.slot, below, { ...style, align: "right" });
    } else if (all && i % (heads + 1) === 0) {
      write(context, frame.tall > 42 ? `layer ${at.layer}` : String(at.layer), 9, frame.y + frame.tall / 2,
        { ...emphasis(at.layer === layer, theme), align: "center", turned: true });
    }
  });
}

// ---- product, and the pinned map ----------------------------------------------------------------------

export function drawProduct(context, { frames, theme }, view) {
  const { shown, head, kind, box, reference, lit, layer, facts } = view;
  const terms = facts.terms.map((each) => each[layer]);
  const formulas = head < 0 ? ["mean of heads", "mean of heads", "mean of heads"]
    : [...terms.map((term) => `softmax(${term})`), "content × spatial ÷ Σ"];
  frames.forEach((frame, k) => {
    const { heat, peak, levels } = shown.parts[k];
    const chosen = KINDS[k] === kind;
    drawHeat(context, heat, frame, { box, reference, chosen, theme });
    markCell(context, lit, view, frame);
    const line = (n) => frame.y + frame.tall + (n + 0.5) * LINE + 2;
    write(context, KINDS[k], frame.x, line(0), { size: 12, weight: chosen ? 700 : 600, colour: theme.ink });
    const most = frame.slot + (k < 2 ? 14 : 0);
    writeFitting(context, [formulas[k], terms[k] ?? formulas[k]], frame.x, line(1), most, theme.muted);
    const peaks = `peak ${short(peak)} = ${against(peak, levels.length)}`;
    writeFitting(context, [peaks], frame.x, line(2), most, theme.ink);
    if (!k || head < 0) return;
    const [before, middle] = [frames[k - 1], frame.y + frame.tall / 2];
    const between = (before.x + before.slot + frame.x) / 2;
    write(context, k === 1 ? "×" : "→", between, middle, { size: 18, align: "center", colour: theme.ink });
  });
}

export const pinFrames = (width, { pair, aspect }) =>
  (pair.length ? framesOf(width, 2, 2, aspect, 3, 20) : { frames: [], height: 0 });

// The pinned map and the present one, in colours from 0 to the larger of their peaks.
export function drawPinned(context, { frames, theme }, { pair }) {
  pair.forEach(({ heat, peak, levels, box, reference, words }, k) => {
    const frame = frames[k];
    drawHeat(context, heat, frame, { box, reference, theme });
    [...words, `peak ${short(peak)} = ${against(peak, levels.length)}`].forEach((string, n) => {
      const style = { colour: theme.ink, weight: n ? 400 : 600, most: frame.slot + 16 };
      write(context, string, frame.x, frame.y + frame.tall + (n + 0.5) * LINE + 2, style);
    });
  });
}

// The first of the strings that fits in 9 to 11 pixels, else the last, smaller; c_q is c with a lowered q.
function writeFitting(context, strings, x, y, most, colour) {
  setFont(context, 11);
  const sizeOf = (string) => clamp((11 * most) / context.measureText(string).width, 7, 11);
  const sizes = strings.map(sizeOf);
  const k = sizes.findIndex((size) => size >= 9);
  let at = x;
  strings.at(k).replaceAll(" . ", " · ").split(/_(\w)/).forEach((part, i) => { // every second one is lowered
    write(context, part, at, y + (i % 2) * 3, { size: sizes.at(k) * (i % 2 ? 0.75 : 1), colour });
    at += context.measureText(part).width;
  });
}

// The colours of the small maps, from nothing to each map's own peak.
export function drawScale(context, { width, theme }, { all }) {
  drawColours(context, { x: EDGE, y: 8, most: width - EDGE, colourAt: sequential, low: "0",
    words: `own peak${all ? "" : ", × uniform weight"}`, theme });
}

// ---- queries ------------------------------------------------------------------------------------------

export const queryBars = (width, { count }) =>
  ({ left: 40, top: 8, tall: 64, step: (width - 40) / count, count, height: 92 });

// A bar for each query, by score: its weight on the cell as a multiple of the uniform weight, whose line is
// dashed. Bars of queries that the threshold hides are pale.
export function drawQueries(context, place, { facts, shown, looks, row, rows }) {
  const { width, left, top, tall, step, theme } = place;
  const cells = shown.map.levels.length;
  const most = Math.max(...looks.map(({ weight }) => weight), 1 / cells);
  const yOf = (weight) => top + tall * (1 - weight / most);
  const muted = { colour: theme.muted, align: "right" };
  looks.forEach(({ weight }, i) => {
    const colour = i === row ? CHOSEN : rows.includes(i) ? theme.mark : `${theme.mark}66`;
    block(context, colour, left + (i + 0.15) * step, yOf(weight), 0.7 * step,
      Math.max(top + tall - yOf(weight), 1));
  });
  for (let x = left; x < width; x += 6) block(context, theme.ink, x, yOf(1 / cells) - 0.5, 3, 1);
  block(context, theme.muted, left, top + tall, width - left, 1);
  for (const value of [most, 0]) write(context, against(value, cells), left - 5, yOf(value), muted);
  writeAlong(context, facts.queries.map(String), { x: left, y: top + tall + 10, step, line: 22, wanted: [row] },
    (i) => ({ ...emphasis(i === row, theme), align: "center" }));
}

// The row whose bar is under a place; -1: none.
export const barAt = ({ x, drawn: { left, step, count } }) => {
  const row = Math.floor((x - left) / step);
  return row < count ? Math.max(row, -1) : -1;
};
