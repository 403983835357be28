// What the Rips explorer draws: the cloud with its complex, the barcode, the diagram and the image.

import { block, clamp, clipped, digits, drawPixels, fill, pixelsOf, sequential, stroke,
  write } from "./canvas.js";

const RADIUS = 4.5; // of a point, pixels

// Dimension 0 and dimension 1, as in the figures.
const colourOf = (theme, dimension) => [theme.mark, theme.accent][dimension];

// ---- cloud --------------------------------------------------------------------------------------------

// One path of discs, or of polygons, on the screen: filled as one it is equally dark throughout.
function discs(context, places, radius) {
  context.beginPath();
  for (const [x, y] of places) {
    context.moveTo(x + radius, y);
    context.arc(x, y, radius, 0, 2 * Math.PI);
  }
}

function polygons(context, places, corners) {
  context.beginPath();
  for (const [first, ...rest] of corners) {
    context.moveTo(...places[first]);
    for (const i of rest) context.lineTo(...places[i]);
    if (rest.length > 1) context.closePath();
  }
}

// The window [left, right, low, high] of the plane: y upwards, one scale for both.
export function drawCloud(context, place, { window, known, complex, selected, pointed: [pointed], bar }) {
  const [{ scale, theme }, [left, , , high]] = [place, window];
  const onScreen = ([x, y]) => [place.x + (x - left) * scale, place.y + (high - y) * scale];
  const onPlane = (p) => [left + (p.x - place.x) / scale, high - (p.y - place.y) / scale];
  const places = known.points.map(onScreen);
  block(context, theme.panel, place.x, place.y, place.wide, place.tall);
  clipped(context, place, () => {
    discs(context, places, (complex.length / 2) * scale);
    fill(context, theme.mark, theme.dark ? 0.2 : 0.13);
    polygons(context, places, complex.drawn);
    fill(context, theme.muted, 0.42);
    polygons(context, places, known.edges.pairs.slice(0, complex.count).map(([i, j]) => [i, j]));
    context.globalAlpha = clamp(500 / complex.count, 0.25, 1); // thousands of them would hide the triangles
    stroke(context, theme.muted, 1);
    context.globalAlpha = 1;
    if (bar) drawBarIn(context, { places, bar, theme });
    discs(context, places, RADIUS);
    fill(context, theme.ink);
    stroke(context, theme.page, 1);
    for (const [i, width] of [[pointed, 1.5], [selected, 3]]) {
      if (!places[i]) continue;
      discs(context, [places[i]], RADIUS + 4);
      stroke(context, theme.page, width + 2);
      stroke(context, theme.ink, width);
    }
    const corners = new Set([...(bar?.from ?? []), ...(bar?.to ?? []), pointed, selected]);
    for (const i of corners) {
      if (places[i]) label(context, String(i), places[i][0] + 8, places[i][1] - 9, theme);
    }
  });
  drawLength(context, place, complex.length);
  return { ...place, onScreen, onPlane };
}

// The edge that begins a bar, and the edge or triangle that ends it.
function drawBarIn(context, { places, bar, theme }) {
  const colour = colourOf(theme, bar.dimension);
  const line = (edge, dash) => {
    polygons(context, places, [edge.slice(0, 2)]);
    stroke(context, theme.page, 7);
    stroke(context, colour, 4, dash);
  };
  if (bar.to?.length === 3) {
    polygons(context, places, [bar.to]);
    fill(context, colour, 0.4);
  }
  if (bar.from) line(bar.from);
  if (bar.to) line(bar.to, [7, 5]);
}

// A ruler as long as the longest edge that may be there.
function drawLength(context, place, length) {
  const { theme } = place;
  const [x, y] = [place.x + 12, place.y + place.tall - 12];
  const end = x + Math.min(length * place.scale, place.wide - 24);
  context.beginPath();
  for (const [across, down] of [[x, -4], [x, 4], [x, 0], [end, 0], [end, -4], [end, 4]]) {
    context.lineTo(across, y + down);
  }
  stroke(context, theme.panel, 4.5);
  stroke(context, theme.ink, 1.5);
  label(context, `length ${digits(length)}`, x, y - 12, theme);
}

const label = (context, string, x, y, theme) =>
  write(context, string, x, y, { weight: 600, colour: theme.ink, halo: theme.page });

// ---- axes ---------------------------------------------------------------------------------------------

const ENDLESS = 12; // pixels above the diagram: the line of bars that never die

// A frame whose axes run from 0 to `end`; `left` and `top`: pixels kept free beside and over it, `pad`: how far
// it goes beyond both ends.
function plotFrame(width, height, end, { left, top, pad = 0 }) {
  const [right, bottom] = [width - 10, height - 34];
  const part = (value) => (value + pad) / (end + 2 * pad);
  return { height, left, top, right, bottom, wide: right - left, tall: bottom - top, end,
    x: (value) => left + part(value) * (right - left), y: (value) => bottom - part(value) * (bottom - top) };
}

export const barcodeFrame = (width, { known: { end } }) => plotFrame(width, 210, end, { left: 8, top: 8 });

// With room at the left for the numbers and the name of the axis.
export function diagramFrame(width, { known: { end } }, pad) {
  const longest = Math.max(...[end / 2, end].map((value) => digits(value).length));
  const room = { left: 22 + 7 * longest, top: 8 + 2 * ENDLESS };
  return plotFrame(width, Math.min(width + 20, 270), end, { ...room, pad });
}

export const imageFrame = (width, view) =>
  diagramFrame(width, view, view.known.end / (view.shown.nodes - 1) / 2);

function drawAxes(context, frame, across, up) {
  const { left, top, right, bottom, end, theme } = frame;
  const style = { colour: theme.muted };
  block(context, theme.muted, left, bottom, right - left, 1);
  if (up) context.fillRect(left - 1, top, 1, bottom - top + 1);
  for (const value of [0, end / 2, end]) {
    block(context, theme.muted, frame.x(value) - 0.5, bottom, 1, 4);
    const align = value === end ? "right" : "center";
    write(context, digits(value), frame.x(value) + (value === end ? 6 : 0), bottom + 12, { ...style, align });
    if (up && value) write(context, digits(value), left - 4, frame.y(value) + (value === end ? 2 : 0),
      { ...style, align: "right" });
  }
  write(context, across, (left + right) / 2, bottom + 26, { ...style, align: "center" });
  if (up) write(context, up, 8, (top + bottom) / 2, { ...style, align: "center", turned: true });
}

// ---- barcode ------------------------------------------------------------------------------------------

// Rows from the bottom: dimension 0, an empty one, dimension 1.
const rowOf = (bars, i) => i + bars[i].dimension;
const rowsOf = (bars) => Math.max(bars.length + 1, 8);

export function barAt({ x, y, drawn: { right, bottom, tall } }, bars) {
  const row = Math.floor(((bottom - y) / tall) * rowsOf(bars));
  return x < 0 || x > right + 10 ? -1 : bars.findIndex((_, i) => rowOf(bars, i) === row);
}

export function drawBarcode(context, frame, { known: { bars, end }, complex, lit }) {
  const { left, top, right, bottom, tall, theme } = frame;
  const each = tall / rowsOf(bars);
  const now = frame.x(Math.min(complex.length, end));
  block(context, theme.panel, left, top, now - left, tall);
  bars.forEach(({ dimension, birth, death }, i) => {
    const y = bottom - (rowOf(bars, i) + 0.5) * each;
    const thick = clamp(each * 0.6, 1, 6) + (i === lit ? 2.5 : 0);
    const [from, to] = [frame.x(birth), frame.x(Math.min(death, end))];
    context.globalAlpha = lit < 0 || i === lit ? 1 : 0.5;
    block(context, colourOf(theme, dimension), from, y - thick / 2, Math.max(to - from, 1.5), thick);
    if (death === Infinity) {
      context.beginPath();
      for (const [x, half] of [[right, 5], [right + 8, 0], [right, -5]]) context.lineTo(x, y + half);
      context.fill();
    }
  });
  context.globalAlpha = 1;
  block(context, theme.ink, now - 0.75, top - 4, 1.5, tall + 4);
  drawAxes(context, frame, "length (twice the radius of the balls)");
}

// ---- diagram ------------------------------------------------------------------------------------------

const spot = (frame, { birth, death }) =>
  [frame.x(birth), death === Infinity ? frame.top - ENDLESS : frame.y(death)];

export function dotAt({ x, y, touch, drawn }, bars) {
  const away = bars.map((bar) => spot(drawn, bar)).map(([left, top]) => Math.hypot(left - x, top - y));
  const best = away.indexOf(Math.min(...away));
  return away[best] < (touch ? 24 : 12) ? best : -1;
}

export function drawDiagram(context, frame, { known: { bars, end }, complex, lit }) {
  const { left, top, right, bottom, theme } = frame;
  const now = Math.min(complex.length, end); // what is alive then: born before, dying later
  block(context, theme.panel, left, top - 2 * ENDLESS, frame.x(now) - left, frame.y(now) - top + 2 * ENDLESS);
  const ends = [[left, bottom], [right, top], [left, top - ENDLESS], [right, top - ENDLESS]];
  polygons(context, ends, [[0, 1]]);
  stroke(context, theme.muted, 1);
  polygons(context, ends, [[2, 3]]);
  stroke(context, theme.muted, 1, [4, 3]);
  write(context, "never dies", right, top - 2 * ENDLESS + 3, { align: "right", colour: theme.muted });
  bars.forEach((bar, i) => {
    discs(context, [spot(frame, bar)], i === lit ? 6 : 3.5);
    fill(context, colourOf(theme, bar.dimension), i === lit ? 1 : 0.7);
    if (i === lit) stroke(context, theme.ink, 2);
  });
  drawAxes(context, frame, "birth", "death");
}

// ---- image --------------------------------------------------------------------------------------------

// Every node in the middle of its own pixel, the lowest row at the bottom, with a mark for the bar that is lit.
export function drawImage(context, frame, { shown: { dimension, rows, nodes, peak }, bar }) {
  const shade = (value) => [...sequential(peak ? value / peak : 0), 255];
  const picture = pixelsOf(rows.toReversed().flat(), nodes, shade);
  drawPixels(context, picture, frame.left, frame.top, frame.wide, frame.tall);
  if (bar?.dimension === dimension && bar.death < Infinity) {
    discs(context, [[frame.x(bar.birth), frame.y(bar.death - bar.birth)]], 6);
    stroke(context, "#000000", 4);
    stroke(context, "#ffffff", 2);
  }
  drawAxes(context, frame, "birth", "persistence");
}
