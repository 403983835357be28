// What the composition explorer draws: the map of all pairs, the terms of C - I, and heads with their flows.

import { block, clamp, css, digits, diverging, fillRamp, outline, pixelsOf, shorten,
  write } from "./canvas.js";
import { TERMS, labelsThatFit, largestOf, normOf, visible } from "./composition_maths.js";

const nameOf = (term) => ({ all: "C − I", base: "base − I" }[term] ?? term);

// Numbers as colours from -limit to limit, nothing where there is none.
export const pictureOf = (values, columns, limit, dark) => pixelsOf(values, columns, (value) =>
  Number.isNaN(value) ? [] : [...diverging(value / (limit || 1), dark), 255]);

function drawPicture(context, picture, { x, y, side }, theme) {
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, x, y, side, side);
  outline(context, theme.line, 1, x, y, side, side);
}

// ---- map ----------------------------------------------------------------------------------------------

const TOKENS = 62; // pixels for tokens beside the map and above it

export const mapFrame = (width) => ({ x: TOKENS, y: TOKENS, side: Math.min(width - TOKENS - 4, 480) });
export const mapHeight = (width) => mapFrame(width).side + TOKENS + 26;

export function drawMap(context, { frame, picture, labels, pair, over, limit, signed, told, theme }) {
  const { x, y, side } = frame;
  const cell = side / labels.length;
  drawPicture(context, picture, frame, theme);
  const [down, across] = pair.map((at) => (at + 0.5) * cell);
  context.strokeStyle = theme.muted;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x, y + down);
  context.lineTo(x + across, y + down);
  context.lineTo(x + across, y);
  context.stroke();
  for (const [[i, j], colour, line] of [[over ?? pair, theme.muted, 1.5], [pair, theme.ink, 2]]) {
    const size = Math.max(cell, 6);
    const place = [x + (j + 0.5) * cell - size / 2, y + (i + 0.5) * cell - size / 2, size, size];
    outline(context, theme.page, line + 2, ...place);
    outline(context, colour, line, ...place);
  }
  [0, 1].forEach((axis) => drawTokens(context, { frame, labels, axis, chosen: pair[axis],
    over: over?.[axis] ?? -1, theme }));
  drawScale(context, { x, y: y + side + 16, limit, signed, told, most: side, theme });
}

// Queries beside the map, keys above it; the chosen token, and the one under the pointer, whatever else fits.
function drawTokens(context, { frame: { x, y, side }, labels, axis, chosen, over, theme }) {
  const cell = side / labels.length;
  for (const i of labelsThatFit(labels.length, cell, 12, [chosen, over])) {
    const colour = i === chosen ? theme.ink : i === over ? theme.mark : theme.muted;
    context.save();
    context.translate(axis ? x + (i + 0.5) * cell : x - 5, axis ? y - 5 : y + (i + 0.5) * cell);
    if (axis) context.rotate(-Math.PI / 2);
    const style = { size: 11, weight: i === chosen ? 700 : 400, colour, align: axis ? "left" : "right" };
    write(context, "", 0, 0, style); // sets the font
    write(context, shorten(context, visible(labels[i]), TOKENS - 8), 0, 0, style);
    context.restore();
  }
}

// The colours from -limit (0, where there is no sign) to limit, and what they are of.
function drawScale(context, { x, y, limit, signed, told, most, theme }) {
  const words = { size: 11, colour: theme.muted };
  const low = signed ? digits(-limit) : "0";
  write(context, low, x, y, words);
  const start = x + context.measureText(low).width + 5;
  fillRamp(context, (t) => diverging(signed ? 2 * t - 1 : t, theme.dark), start, y - 5, 70, 10);
  const high = `${digits(limit)}   ${told}`;
  write(context, shorten(context, high, x + most - start - 75), start + 75, y, words);
}

// ---- terms --------------------------------------------------------------------------------------------

const EDGE = { left: 18, right: 16, head: 20, below: 18, gap: 20 };

// The places of the six matrices: C - I, the base and the query's low rank; below them the other three.
export function termFrames(width) {
  const side = Math.min((width - EDGE.left - EDGE.right - 2 * EDGE.gap) / 3, 150);
  return TERMS.map((_, k) => ({ side, x: EDGE.left + (k % 3) * (side + EDGE.gap),
    y: EDGE.head + Math.floor(k / 3) * (side + EDGE.head + EDGE.below) }));
}

export const termsHeight = (width) => 2 * (termFrames(width)[0].side + EDGE.head + EDGE.below) + 16;

export function drawTerms(context, { frames, pictures, terms, heads, limit, chosen, lit, theme }) {
  const small = { size: 10, colour: theme.muted };
  frames.forEach((frame, k) => {
    const { x, y, side } = frame;
    const cell = side / heads;
    drawPicture(context, pictures[k], frame, theme);
    const name = { size: 11, weight: TERMS[k] === chosen ? 700 : 400, colour: theme.ink };
    write(context, nameOf(TERMS[k]), x, y - 9, name);
    if (side > 110) write(context, digits(normOf(terms[k])), x + side, y - 9, { ...small, align: "right" });
    const sign = k === 0 ? "=" : k < 5 ? "+" : "";
    write(context, sign, x + side + EDGE.gap / 2, y + side / 2, { ...small, size: 14, align: "center" });
    for (const n of labelsThatFit(heads, cell, heads > 10 ? 16 : 11, [])) {
      write(context, String(n), x + (n + 0.5) * cell, y + side + 8, { ...small, align: "center" });
      if (k % 3 === 0) write(context, String(n), x - 4, y + (n + 0.5) * cell, { ...small, align: "right" });
    }
    if (TERMS[k] === chosen) outline(context, theme.accent, 2.5, x - 1, y - 1, side + 2, side + 2);
    if (!lit) return;
    const [wide, tall] = [lit.m < 0 ? side : cell, lit.n < 0 ? side : cell];
    outline(context, theme.ink, 1.5, x + Math.max(lit.m, 0) * cell, y + Math.max(lit.n, 0) * cell, wide, tall);
  });
  const { x, y, side } = frames[3];
  drawScale(context, { x, y: y + side + 26, limit, signed: true, told: "rows give, columns receive",
    most: 3 * side + 2 * EDGE.gap, theme });
}

// ---- flows --------------------------------------------------------------------------------------------

const NUMBER = 50; // pixels for a number beside its bar

// Where bars, heads and flows lie: numbers, bars and heads that give, flows, heads that receive, bars, numbers.
export function flowFrame(width, heads) {
  const [row, bar] = [clamp(280 / heads, 11, 28), clamp(width * 0.18, 40, 110)];
  const inner = NUMBER + bar + 20;
  return { row, bar, top: 22, left: inner, right: width - inner, width };
}

export const flowHeight = (width, heads) => flowFrame(width, heads).row * heads + 26;

// The place in a frame: x from 0 to 1 between the heads, y in rows, 0 in the middle of head 0.
export const placeIn = ({ left, right, top, row }, p) =>
  ({ x: (p.x - left) / (right - left), y: (p.y - top) / row - 0.5 });

export function drawFlows(context, { frame, flows, before, after, full, titles, lit, theme }) {
  const { row, top, left, right, width } = frame;
  const yOf = (head) => top + (head + 0.5) * row;
  const curve = (n, m) => {
    const third = (right - left) / 3;
    context.beginPath();
    context.moveTo(left, yOf(n));
    context.bezierCurveTo(left + third, yOf(n), right - third, yOf(m), right, yOf(m));
    context.stroke();
  };
  context.strokeStyle = theme.line;
  context.lineWidth = 1;
  context.setLineDash([2, 3]);
  before.forEach((_, n) => curve(n, n)); // the identity: what each head keeps
  context.setLineDash([]);
  const largest = largestOf(flows.map(({ value }) => value));
  const isLit = ({ n, m }) => !lit || ((lit.n < 0 || lit.n === n) && (lit.m < 0 || lit.m === m));
  for (const flow of flows) {
    context.strokeStyle = css(diverging(Math.sign(flow.value) * 0.75, theme.dark));
    context.lineWidth = Math.max(1, (Math.abs(flow.value) / largest) * Math.min(9, row * 0.6));
    context.globalAlpha = isLit(flow) ? 0.85 : 0.12;
    curve(flow.n, flow.m);
  }
  context.globalAlpha = 1;
  const all = [...before, ...after, ...full, 0];
  const scale = { low: Math.min(...all), high: Math.max(...all) };
  const bars = { frame, scale, yOf, theme };
  drawBars(context, { ...bars, x: NUMBER, values: before, full: before, number: NUMBER - 4, head: left - 9,
    lit: lit?.n });
  drawBars(context, { ...bars, x: right + 20, values: after, full, number: width, head: right + 9, lit: lit?.m });
  const title = { size: 11, weight: 600, colour: theme.ink };
  write(context, titles[0], 0, 9, title);
  write(context, titles[1], (left + right) / 2, 9, { ...title, weight: 400, align: "center" });
  write(context, titles[2], width, 9, { ...title, align: "right" });
}

// A bar for each head from zero, with its number; a tick where all terms together end.
function drawBars(context, { frame, x, values, full, scale, number, head, yOf, lit, theme }) {
  const { row, bar, top } = frame;
  const xOf = (value) => x + ((value - scale.low) / (scale.high - scale.low || 1)) * bar;
  const tall = Math.min(row * 0.6, 14);
  values.forEach((value, n) => {
    const y = yOf(n);
    const [from, to] = [xOf(0), xOf(value)].sort((a, b) => a - b);
    block(context, theme.mark, from, y - tall / 2, Math.max(to - from, 1), tall);
    context.fillStyle = theme.ink;
    if (full !== values) context.fillRect(xOf(full[n]) - 1, y - tall / 2 - 1, 2, tall + 2);
    const style = { size: 11, colour: theme.ink, weight: n === lit ? 700 : 400 };
    write(context, digits(value), number, y, { ...style, align: "right" });
    write(context, String(n), head, y, { ...style, align: "center" });
  });
  block(context, theme.muted, xOf(0) - 0.5, top, 1, row * values.length);
}
