// What the relation explorer draws: the embedding of a pair, and each head's bias and attention in a row.

import { PALETTE, block, clamp, css, digits, diverging, emphasis, fixed, inkOn, outline, sequential, write,
  writeAlong } from "./canvas.js";

export const [QUERY, PARTNER] = [PALETTE[4], PALETTE[2]]; // of the boxes i and j, as in the still figure
export const FEATURES = ["log(|Δx| / w + 1)", "log(|Δy| / h + 1)", "log(w / w′)", "log(h / h′)"];

// ---- embedding ----------------------------------------------------------------------------------------

export const embeddingFrame = (width, { frequency }) =>
  ({ height: 106, left: 158, top: 18, tall: 18, columns: 2 * frequency.length, rows: 4,
    wide: (width - 158) / (2 * frequency.length) });

// One row a number: the number, then sin and cos of it times each frequency.
export function drawEmbedding(context, { left, top, wide, tall, columns, theme }, { known, frequency, wave }) {
  if (!known) return;
  const words = { colour: theme.muted };
  known.geometry[known.j].forEach((value, row) => {
    const middle = top + (row + 0.5) * tall;
    write(context, FEATURES[row], 0, middle, words);
    write(context, fixed(value, 2), left - 8, middle, { align: "right", colour: theme.ink });
    for (let column = 0; column < columns; column += 1) {
      const colour = css(diverging(known.embedding[known.j][row * columns + column], theme.dark));
      block(context, colour, left + column * wide, top + row * tall, wide - (column % 2 ? 2 : 0), tall - 1);
    }
  });
  frequency.forEach((times, m) => write(context, String(Number(times.toPrecision(times < 10 ? 1 : 2))),
    left + (2 * m + 1) * wide - 1, 8, { ...words, align: "center" }));
  write(context, "times", left - 8, 8, { ...words, align: "right" });
  write(context, "sin, cos: −1 blue, 0 as the page, 1 red", 0, top + 4 * tall + 9, words);
  if (wave) outline(context, theme.ink, 1.5, left + wave.column * wide, top + wave.row * tall, wide, tall - 1);
}

// ---- heads --------------------------------------------------------------------------------------------

const GAP = 8; // pixels between heads and what they are compared with

// Rows of heads and their mean, then rho and IoU; names, bars, cells.
export function headsFrame(width, { heads: { length: heads }, names: { length: columns } }) {
  const bars = { x: 48, wide: clamp(0.24 * width, 70, 120) };
  const left = bars.x + bars.wide + 8;
  const wide = Math.min((width - left - 6) / columns, 48);
  return { bars, left, top: 18, wide, tall: 19, columns, rows: heads + 3, heads,
    height: 18 + (heads + 3) * 19 + 2 * GAP };
}

// How far below the first row another one lies: the mean of heads, and what follows it, stand apart.
const offset = ({ heads, tall }, row) => row * tall + (row >= heads ? GAP : 0) + (row > heads ? GAP : 0);

// The cell under a place; `column` is -1 left of the cells. Null above, below and between the rows.
export function cellAt({ x, y, drawn }) {
  const tops = Array.from({ length: drawn.rows }, (_, k) => drawn.top + offset(drawn, k));
  const row = tops.findIndex((top) => y >= top && y < top + drawn.tall);
  const column = x < drawn.left ? -1 : Math.floor((x - drawn.left) / drawn.wide);
  return row < 0 || column >= drawn.columns ? null : { row, column };
}

export function drawHeads(context, frame, { known, names, head }) {
  if (!known) return;
  const { left, top, wide, height, heads: H, bars, theme } = frame;
  const { i, j, relation, attention, rho, overlap } = known;
  const most = Math.max(...attention.flat());
  const beside = (values) => values.map((value, k) => (k === i ? NaN : value)); // a box and itself: no pair
  const pale = (value) => diverging(value, theme.dark);
  const rows = [...attention.map((row, h) => ({ values: row, shade: (value) => sequential(value / most),
    say: (value) => String(Math.round(100 * value)), name: h < H ? `head ${h}` : "mean" })),
  { values: beside(rho), shade: pale, say: short, name: "ρ" },
  { values: beside(overlap), shade: pale, say: short, name: "IoU" }];
  rows.forEach(({ values, shade, say, name }, row) => {
    write(context, name, 0, top + offset(frame, row) + 9, emphasis(row === (head < 0 ? H : head), theme));
    values.forEach((value, column) => Number.isNaN(value)
      || drawCell(context, frame, { row, column, colour: shade(value), string: say(value) }));
  });
  drawBars(context, frame, relation.map((row) => row[j]));
  writeAlong(context, names, { x: left, y: 8, step: wide, line: Math.max(wide, 24), wanted: [i, j] }, (k) =>
    ({ ...emphasis(k === i || k === j, theme), most: Math.max(wide, 24), align: "center" }));
  block(context, QUERY, left + i * wide, top - 3, wide - 1, 3);
  outline(context, PARTNER, 2, left + j * wide, top - 1, wide - 1, height - top);
  write(context, "Rel", bars.x, 8, { colour: theme.muted });
}

// One digit after the point and none before it, but for 1.0; no −.0.
const short = (value) => fixed(Math.round(value * 10) / 10 || 0, 1).replace("0.", ".");

function drawCell(context, frame, { row, column, colour, string }) {
  const { left, top, wide, tall } = frame;
  const [x, y] = [left + column * wide, top + offset(frame, row)];
  block(context, css(colour), x, y, wide - (wide > 8), tall - 1);
  if (wide < 20) return;
  write(context, string, x + wide / 2, y + tall / 2, { align: "center", colour: inkOn(colour) });
}

// Rel(i, j) of each head, from 0 to the largest, with its number behind the bar.
function drawBars(context, frame, values) {
  const { bars: { x, wide }, top, tall, theme } = frame;
  const most = Math.max(...values, 1e-9);
  values.forEach((value, h) => {
    const [y, long] = [top + offset(frame, h), ((wide - 42) * value) / most];
    block(context, theme.mark, x, y + 2, long, tall - 5);
    write(context, digits(value), x + long + 4, y + 9, { colour: theme.ink });
  });
  block(context, theme.line, x - 1, top, 1, values.length * tall);
}
