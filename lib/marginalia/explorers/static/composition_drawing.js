// What the composition explorer draws: the map of all pairs, the terms of C - I, and heads with their flows.

import { block, cellUnder, clamp, css, digits, diverging, drawColours, drawPixels, outline, pixelsOf, stroke,
  write, writeAlong } from "./canvas.js";
import { TERMS, flowAt, largestOf, normOf, visible } from "./composition_maths.js";

export const THINGS = { pre: "scores", post: "weights" };
const nameOf = (term) => ({ all: "C − I", base: "base − I" }[term] ?? term);

// Numbers as colours from -limit to limit, nothing where there is none.
export const pictureOf = (values, columns, limit, dark) => pixelsOf(values, columns, (value) =>
  Number.isNaN(value) ? [] : [...diverging(value / (limit || 1), dark), 255]);

function drawPicture(context, picture, { x, y, wide, tall }, theme) {
  drawPixels(context, picture, x, y, wide, tall);
  outline(context, theme.line, 1, x, y, wide, tall);
}

// ---- map ----------------------------------------------------------------------------------------------

const TOKENS = 62; // pixels for tokens beside the map and above it

export function mapFrame(width) {
  const side = Math.min(width - TOKENS - 4, 480);
  return { x: TOKENS, y: TOKENS, wide: side, tall: side, height: side + TOKENS + 26 };
}

export function drawMap(context, frame, { map, mapPicture, over, data: { labels },
  state: { where, head, map: kind, pair } }) {
  const { x, y, wide: side, theme } = frame;
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
  // queries beside the map, keys above it; the chosen token, and the one under the pointer, whatever else fits
  [0, 1].forEach((axis) => {
    const along = { step: cell, line: 12, wanted: [pair[axis], over?.[axis] ?? -1], down: !axis };
    writeAlong(context, labels.map(visible), { ...along, x: axis ? x : x - 5, y: axis ? y - 5 : y }, (i) => ({
      weight: i === pair[axis] ? 700 : 400, most: TOKENS - 8, turned: axis > 0, align: axis ? "left" : "right",
      colour: i === pair[axis] ? theme.ink : i === over?.[axis] ? theme.mark : theme.muted }));
  });
  const of = head < 0 ? "mean of heads" : `head ${head}`;
  const told = kind === "change" ? `${head < 0 ? "size of " : ""}change` : `${THINGS[where]} ${kind}`;
  drawScale(context, { x, y: y + side + 16, ...map, words: `${told}, ${of}`, most: side, theme });
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
export function termFrames(width, { heads }) {
  const side = Math.min((width - EDGE.left - EDGE.right - 2 * EDGE.gap) / 3, 150);
  const down = side + EDGE.head + EDGE.below;
  const frames = TERMS.map((_, k) => ({ x: EDGE.left + (k % 3) * (side + EDGE.gap),
    y: EDGE.head + Math.floor(k / 3) * down, wide: side, tall: side }));
  return { frames, heads, side, height: 2 * down + 16 };
}

// The entry of a term's matrix under a place, and the number of the term; null beside all of them.
export function entryAt(p) {
  const { frames, heads } = p.drawn;
  const cells = frames.map((frame) => cellUnder(frame, p, heads, heads));
  const k = cells.findIndex(Boolean);
  return k < 0 ? null : { k, n: cells[k][0], m: cells[k][1] };
}

export function drawTerms(context, { frames, side, theme }, { heads, lit, termPictures, known }) {
  const { terms, limit, choice } = known;
  const pictures = termPictures(terms, limit, theme.dark);
  const numbers = Array.from({ length: heads }, (_, n) => String(n));
  const small = { size: 10, colour: theme.muted };
  frames.forEach((frame, k) => {
    const { x, y } = frame;
    const [cell, chosen] = [side / heads, TERMS[k] === choice.term];
    drawPicture(context, pictures[k], frame, theme);
    write(context, nameOf(TERMS[k]), x, y - 9, { weight: chosen ? 700 : 400, colour: theme.ink });
    if (side > 110) write(context, digits(normOf(terms[k])), x + side, y - 9, { ...small, align: "right" });
    const sign = k === 0 ? "=" : k < 5 ? "+" : "";
    write(context, sign, x + side + EDGE.gap / 2, y + side / 2, { ...small, size: 14, align: "center" });
    const along = { step: cell, line: heads > 10 ? 16 : 11 };
    writeAlong(context, numbers, { ...along, x, y: y + side + 8 }, () => ({ ...small, align: "center" }));
    if (k % 3 === 0) {
      writeAlong(context, numbers, { ...along, x: x - 4, y, down: true }, () => ({ ...small, align: "right" }));
    }
    if (chosen) outline(context, theme.accent, 2.5, x - 1, y - 1, side + 2, side + 2);
    if (!lit) return;
    const [wide, tall] = [lit.m < 0 ? side : cell, lit.n < 0 ? side : cell];
    outline(context, theme.ink, 1.5, x + Math.max(lit.m, 0) * cell, y + Math.max(lit.n, 0) * cell, wide, tall);
  });
  const { x, y } = frames[3];
  drawScale(context, { x, y: y + side + 26, limit, signed: true, words: "rows give, columns receive",
    most: 3 * side + 2 * EDGE.gap, theme });
}

// ---- flows --------------------------------------------------------------------------------------------

const NUMBER = 50; // pixels for a number beside its bar

// Where bars, heads and flows lie: numbers, bars and heads that give, flows, heads that receive, bars, numbers.
export function flowFrame(width, { heads }) {
  const [row, bar] = [clamp(280 / heads, 11, 28), clamp(width * 0.18, 40, 110)];
  const inner = NUMBER + bar + 20;
  return { row, bar, heads, top: 22, left: inner, right: width - inner, height: row * heads + 26 };
}

// The flow under a place between the heads, else the head in whose row the place is; null: nothing.
export function headsUnder(p, flows) {
  const { left, right, top, row, heads } = p.drawn;
  const [x, y] = [(p.x - left) / (right - left), (p.y - top) / row - 0.5]; // 0 in the middle of head 0
  const head = Math.round(y);
  if (head < 0 || head >= heads) return null;
  return x < 0 ? { n: head, m: -1 } : x > 1 ? { n: -1, m: head } : flowAt(flows, x, y, 0.4);
}

export function drawFlows(context, frame, { known, lit }) {
  const { flows, before, after, full, matrix, name, choice: { where, term } } = known;
  const { row, top, left, right, width, theme } = frame;
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
  drawBars(context, frame, { x: NUMBER, values: before, full: before, scale, number: NUMBER - 4, head: left - 9,
    yOf, lit: lit?.n });
  drawBars(context, frame, { x: right + 20, values: after, full, scale, number: width, head: right + 9,
    yOf, lit: lit?.m });
  const title = { weight: 600, colour: theme.ink };
  write(context, `${THINGS[where]} before`, 0, 9, title);
  write(context, `flows: largest ${digits(largestOf(matrix))}`, (left + right) / 2, 9,
    { colour: theme.ink, align: "center" });
  write(context, term === "all" ? "after" : `with ${name}`, width, 9, { ...title, align: "right" });
}

// A bar for each head from zero, with its number; a tick where all terms together end.
function drawBars(context, { row, bar, top, theme }, { x, values, full, scale, number, head, yOf, lit }) {
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
