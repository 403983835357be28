// What the composition explorer draws: the map of all pairs, the terms of C - I, and heads with their flows.

import { block, clamp, css, digits, diverging, drawColours, drawPixels, labelsThatFit, outline, pixelsOf, stroke,
  write } from "./canvas.js";
import { TERMS, cellOn, flowAt, largestOf, normOf, visible } from "./composition_maths.js";

export const THINGS = { pre: "scores", post: "weights" };
const nameOf = (term) => ({ all: "C − I", base: "base − I" }[term] ?? term);

// Numbers as colours from -limit to limit, nothing where there is none.
export const pictureOf = (values, columns, limit, dark) => pixelsOf(values, columns, (value) =>
  Number.isNaN(value) ? [] : [...diverging(value / (limit || 1), dark), 255]);

function drawPicture(context, picture, { x, y, side }, theme) {
  drawPixels(context, picture, x, y, side, side);
  outline(context, theme.line, 1, x, y, side, side);
}

// ---- map ----------------------------------------------------------------------------------------------

const TOKENS = 62; // pixels for tokens beside the map and above it

const mapFrame = (width) => ({ x: TOKENS, y: TOKENS, side: Math.min(width - TOKENS - 4, 480) });
export const mapHeight = (width) => mapFrame(width).side + TOKENS + 26;

// The cell of a square under a place, [row, column]; null beside it.
export function cellIn({ x, y, side }, p, count) {
  const cell = [cellOn(p.y, y, side, count), cellOn(p.x, x, side, count)];
  return cell.includes(-1) ? null : cell;
}

export function drawMap(context, { width, theme }, { map, mapPicture, over, data: { labels },
  state: { where, head, map: kind, pair } }) {
  const frame = mapFrame(width);
  const { x, y, side } = frame;
  const cell = side / labels.length;
  drawPicture(context, mapPicture(map, theme.dark), frame, theme);
  const [down, across] = pair.map((at) => (at + 0.5) * cell);
  context.beginPath();
  context.moveTo(x, y + down);
  context.lineTo(x + across, y + down);
  context.lineTo(x + across, y);
  stroke(context, theme.muted, 1);
  for (const [[i, j], colour, line] of [[over ?? pair, theme.muted, 1.5], [pair, theme.ink, 2]]) {
    const size = Math.max(cell, 6);
    const place = [x + (j + 0.5) * cell - size / 2, y + (i + 0.5) * cell - size / 2, size, size];
    outline(context, theme.page, line + 2, ...place);
    outline(context, colour, line, ...place);
  }
  [0, 1].forEach((axis) => drawTokens(context, { frame, labels, axis, chosen: pair[axis],
    over: over?.[axis] ?? -1, theme }));
  const of = head < 0 ? "mean of heads" : `head ${head}`;
  const told = kind === "change" ? `${head < 0 ? "size of " : ""}change` : `${THINGS[where]} ${kind}`;
  drawScale(context, { x, y: y + side + 16, ...map, words: `${told}, ${of}`, most: side, theme });
  return frame;
}

// Queries beside the map, keys above it; the chosen token, and the one under the pointer, whatever else fits.
function drawTokens(context, { frame: { x, y, side }, labels, axis, chosen, over, theme }) {
  const cell = side / labels.length;
  for (const i of labelsThatFit(labels.length, cell, 12, [chosen, over])) {
    const colour = i === chosen ? theme.ink : i === over ? theme.mark : theme.muted;
    const style = { weight: i === chosen ? 700 : 400, colour, most: TOKENS - 8 };
    const [token, middle] = [visible(labels[i]), (i + 0.5) * cell];
    if (axis) write(context, token, x + middle, y - 5, { ...style, turned: true });
    else write(context, token, x - 5, y + middle, { ...style, align: "right" });
  }
}

// The colours from -limit (0, where there is no sign) to limit, and what they are of.
function drawScale(context, { limit, signed, words, theme, ...place }) {
  const colourAt = (t) => diverging(signed ? 2 * t - 1 : t, theme.dark);
  drawColours(context, { ...place, colourAt, theme, low: signed ? digits(-limit) : "0",
    words: `${digits(limit)}   ${words}` });
}

// ---- terms --------------------------------------------------------------------------------------------

const EDGE = { left: 18, right: 16, head: 20, below: 18, gap: 20 };

// The places of the six matrices: C - I, the base and the query's low rank; below them the other three.
function termFrames(width) {
  const side = Math.min((width - EDGE.left - EDGE.right - 2 * EDGE.gap) / 3, 150);
  return TERMS.map((_, k) => ({ side, x: EDGE.left + (k % 3) * (side + EDGE.gap),
    y: EDGE.head + Math.floor(k / 3) * (side + EDGE.head + EDGE.below) }));
}

export const termsHeight = (width) => 2 * (termFrames(width)[0].side + EDGE.head + EDGE.below) + 16;

// The entry of a term's matrix under a place, and the number of the term; null beside all of them.
export function entryAt(p) {
  const { frames, heads } = p.drawn;
  const cells = frames.map((frame) => cellIn(frame, p, heads));
  const k = cells.findIndex(Boolean);
  return k < 0 ? null : { k, n: cells[k][0], m: cells[k][1] };
}

export function drawTerms(context, { width, theme }, { heads, lit, termPictures, known }) {
  const { terms, limit, choice } = known;
  const [frames, pictures] = [termFrames(width), termPictures(terms, limit, theme.dark)];
  const small = { size: 10, colour: theme.muted };
  frames.forEach((frame, k) => {
    const { x, y, side } = frame;
    const [cell, chosen] = [side / heads, TERMS[k] === choice.term];
    drawPicture(context, pictures[k], frame, theme);
    write(context, nameOf(TERMS[k]), x, y - 9, { weight: chosen ? 700 : 400, colour: theme.ink });
    if (side > 110) write(context, digits(normOf(terms[k])), x + side, y - 9, { ...small, align: "right" });
    const sign = k === 0 ? "=" : k < 5 ? "+" : "";
    write(context, sign, x + side + EDGE.gap / 2, y + side / 2, { ...small, size: 14, align: "center" });
    for (const n of labelsThatFit(heads, cell, heads > 10 ? 16 : 11, [])) {
      write(context, String(n), x + (n + 0.5) * cell, y + side + 8, { ...small, align: "center" });
      if (k % 3 === 0) write(context, String(n), x - 4, y + (n + 0.5) * cell, { ...small, align: "right" });
    }
    if (chosen) outline(context, theme.accent, 2.5, x - 1, y - 1, side + 2, side + 2);
    if (!lit) return;
    const [wide, tall] = [lit.m < 0 ? side : cell, lit.n < 0 ? side : cell];
    outline(context, theme.ink, 1.5, x + Math.max(lit.m, 0) * cell, y + Math.max(lit.n, 0) * cell, wide, tall);
  });
  const { x, y, side } = frames[3];
  drawScale(context, { x, y: y + side + 26, limit, signed: true, words: "rows give, columns receive",
    most: 3 * side + 2 * EDGE.gap, theme });
  return { frames, heads };
}

// ---- flows --------------------------------------------------------------------------------------------

const NUMBER = 50; // pixels for a number beside its bar

// Where bars, heads and flows lie: numbers, bars and heads that give, flows, heads that receive, bars, numbers.
function flowFrame(width, heads) {
  const [row, bar] = [clamp(280 / heads, 11, 28), clamp(width * 0.18, 40, 110)];
  const inner = NUMBER + bar + 20;
  return { row, bar, heads, top: 22, left: inner, right: width - inner, width };
}

export const flowHeight = (width, heads) => flowFrame(width, heads).row * heads + 26;

// The flow under a place between the heads, else the head in whose row the place is; null: nothing.
export function headsUnder(p, flows) {
  const { left, right, top, row, heads } = p.drawn;
  const [x, y] = [(p.x - left) / (right - left), (p.y - top) / row - 0.5]; // 0 in the middle of head 0
  const head = Math.round(y);
  if (head < 0 || head >= heads) return null;
  return x < 0 ? { n: head, m: -1 } : x > 1 ? { n: -1, m: head } : flowAt(flows, x, y, 0.4);
}

export function drawFlows(context, { width, theme }, { known, heads, lit }) {
  const { flows, before, after, full, matrix, name, choice: { where, term } } = known;
  const frame = flowFrame(width, heads);
  const { row, top, left, right } = frame;
  const yOf = (head) => top + (head + 0.5) * row;
  const curve = (n, m, ...line) => {
    const third = (right - left) / 3;
    context.beginPath();
    context.moveTo(left, yOf(n));
    context.bezierCurveTo(left + third, yOf(n), right - third, yOf(m), right, yOf(m));
    stroke(context, ...line);
  };
  before.forEach((_, n) => curve(n, n, theme.line, 1, [2, 3])); // the identity: what each head keeps
  const largest = largestOf(flows.map(({ value }) => value));
  const isLit = ({ n, m }) => !lit || ((lit.n < 0 || lit.n === n) && (lit.m < 0 || lit.m === m));
  for (const flow of flows) {
    const wide = Math.max(1, (Math.abs(flow.value) / largest) * Math.min(9, row * 0.6));
    context.globalAlpha = isLit(flow) ? 0.85 : 0.12;
    curve(flow.n, flow.m, css(diverging(Math.sign(flow.value) * 0.75, theme.dark)), wide);
  }
  context.globalAlpha = 1;
  const all = [...before, ...after, ...full, 0];
  const scale = { low: Math.min(...all), high: Math.max(...all) };
  const bars = { frame, scale, yOf, theme };
  drawBars(context, { ...bars, x: NUMBER, values: before, full: before, number: NUMBER - 4, head: left - 9,
    lit: lit?.n });
  drawBars(context, { ...bars, x: right + 20, values: after, full, number: width, head: right + 9, lit: lit?.m });
  const title = { weight: 600, colour: theme.ink };
  write(context, `${THINGS[where]} before`, 0, 9, title);
  write(context, `flows: largest ${digits(largestOf(matrix))}`, (left + right) / 2, 9,
    { colour: theme.ink, align: "center" });
  write(context, term === "all" ? "after" : `with ${name}`, width, 9, { ...title, align: "right" });
  return frame;
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
    const style = { colour: theme.ink, weight: n === lit ? 700 : 400 };
    write(context, digits(value), number, y, { ...style, align: "right" });
    write(context, String(n), head, y, { ...style, align: "center" });
  });
  block(context, theme.muted, xOf(0) - 0.5, top, 1, row * values.length);
}
