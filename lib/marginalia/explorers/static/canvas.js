// What every explorer shares: a sharp canvas, pointer and keys, colours for both themes, text, frames.
// Python joins this file and one view into a single module, so nothing is imported when it runs.

// ---- numbers ------------------------------------------------------------------------------------------

export const clamp = (value, low, high) => Math.max(low, Math.min(value, high));
export const around = (value, count) => ((value % count) + count) % count;

// Three digits that count; a number of them after the point.
export const digits = (value) => String(Number(value.toPrecision(3))).replace("-", "−");
export const fixed = (value, places) => value.toFixed(places).replace("-", "−");

// A message's bytes as 32-bit floats; a copy, because they may not start at a multiple of four.
export function floatsOf(view) {
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// ---- work that is done once ---------------------------------------------------------------------------

// The function, but with the same arguments as the last time it gives the same result again; those are the same
// of which `keyOf` is.
export function remember(make, keyOf = (value) => value) {
  let [before, result] = [null, null];
  return (...values) => {
    const now = values.map((value) => keyOf(value));
    if (!before || now.some((key, i) => key !== before[i])) [before, result] = [now, make(...values)];
    return result;
  };
}

// ---- colour -------------------------------------------------------------------------------------------

const colours = (hexes) => hexes.split(" ").map((hex) => `#${hex}`);

// Categories: Okabe and Ito's colours in the order of the figures, told apart with any colour vision.
export const PALETTE = colours("0072b2 d55e00 009e73 cc79a7 e69f00 56b4e9 5f5f5f");

const CIVIDIS = colours("00224e 1b3b6f 434e6c 61656f 7d7c78 9c9576 bcae6c dec958 fee838");
const BLUE_RED = colours("053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f");
const BLUE_RED_DARK = colours("a6d4ff 62adf0 3a7cb8 2a537c 243a50 262a30 4f3230 7d4239 b95a48 ee8067 ffb9a3");

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

// The colour at t in [0, 1] between evenly spaced stops, as [red, green, blue] in 0..255.
function ramp(stops, t) {
  const at = clamp(t, 0, 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const [from, to] = [channels(stops[low]), channels(stops[low + 1])];
  return from.map((value, k) => Math.round(value + (at - low) * (to[k] - value)));
}

// Magnitude: t in [0, 1].
export const sequential = (t) => ramp(CIVIDIS, t);

// Signed values around a real zero: t in [-1, 1]; zero is the colour of the page.
export const diverging = (t, dark) => ramp(dark ? BLUE_RED_DARK : BLUE_RED, (t + 1) / 2);

export const css = ([red, green, blue]) => `rgb(${red}, ${green}, ${blue})`;

// Black or white, whichever can be read on the colour (relative luminance of WCAG 2).
export function inkOn(rgb) {
  const [red, green, blue] = rgb.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000000" : "#ffffff";
}

// ---- theme --------------------------------------------------------------------------------------------

const LIGHT = {
  dark: false, page: "#ffffff", panel: "#f1f3f5", line: "#c4cad2", muted: "#59636e", ink: "#1b1f24",
  mark: "#0072b2", accent: "#d55e00",
};
const DARK = {
  dark: true, page: "#15181c", panel: "#262a30", line: "#4a525c", muted: "#a3adb8", ink: "#e8eaed",
  mark: "#56b4e9", accent: "#ff9d4d",
};

const darkPreferred = () => matchMedia("(prefers-color-scheme: dark)");

// JupyterLab says which theme it shows; elsewhere the system decides.
export function readTheme() {
  const lab = document.body.dataset.jpThemeLight;
  const dark = lab === undefined ? darkPreferred().matches : lab === "false";
  return dark ? DARK : LIGHT;
}

export function watchTheme(changed, signal) {
  darkPreferred().addEventListener("change", changed, { signal });
  const observer = new MutationObserver(changed);
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  signal.addEventListener("abort", () => observer.disconnect());
}

export const STYLE = `
.marginalia { font: 13px/1.45 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--m-ink);
  padding: 4px; box-sizing: border-box; width: 100%; max-width: 1100px; }
.marginalia canvas { display: block; width: 100%; border-radius: 3px; touch-action: manipulation;
  outline: none; }
.marginalia canvas:focus-visible { box-shadow: 0 0 0 2px var(--m-mark); }
.marginalia .m-row { display: flex; flex-wrap: wrap; gap: 12px 20px; align-items: flex-start; }
.marginalia .m-row > * { min-width: 0; }
.marginalia .m-left { flex: 1.15 1 340px; } .marginalia .m-right { flex: 1 1 320px; }
.marginalia .m-muted { color: var(--m-muted); }
.marginalia .m-line { display: flex; flex-wrap: wrap; gap: 4px 6px; align-items: center; margin: 6px 0; }
.marginalia .m-choice { display: flex; gap: 3px; align-items: center; margin-right: 8px; }
.marginalia .m-value { min-width: 40px; margin-left: 3px; }
.marginalia .m-slider { flex: 1 1 190px; margin: 0; }
.marginalia .m-slider input { flex: 1 1 60px; min-width: 50px; accent-color: var(--m-mark); }
.marginalia .m-gone { border-left: 3px solid var(--m-accent); padding-left: 6px; }
.marginalia .m-gone:empty { display: none; }
.marginalia .m-code { width: 100%; box-sizing: border-box; font: 12px/1.4 monospace; }
.marginalia .m-status, .m-attention .m-cell, .m-rips .m-counts { min-height: 2.9em;
  font-variant-numeric: tabular-nums; }
.marginalia .m-help { font-size: 12px; margin-top: 4px; }
.marginalia .m-title { font-size: 12px; margin: 8px 0 2px; }
.marginalia button { font: inherit; color: inherit; background: none; min-width: 26px; padding: 2px 7px;
  border: 1px solid var(--m-muted); border-radius: 3px; cursor: pointer; }
.marginalia button[aria-pressed="true"] { box-shadow: inset 0 0 0 1.5px var(--m-mark);
  border-color: var(--m-mark); background: color-mix(in srgb, var(--m-mark) 16%, transparent); }
.marginalia button:focus-visible { outline: 2px solid var(--m-mark); outline-offset: 1px; }
.marginalia button:disabled { opacity: 0.45; cursor: default; }
.marginalia .m-unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
`;

// One element, its class, its text and more of its properties, put at the end of `parent`.
export function append(parent, tag, className = "", textContent = "", more = {}) {
  const element = Object.assign(document.createElement(tag), { className, textContent, ...more });
  parent.append(element);
  return element;
}

// An element is touched only where its text changes.
export function setText(element, string) {
  if (element.textContent !== string) element.textContent = string;
}

// What the widget manager asks for: draws a model into a page with this class; its listeners end with a signal.
export const renderWith = (View) => ({ model, el }) => {
  const ending = new AbortController();
  new View(model, el, ending.signal);
  return () => ending.abort();
};

// ---- keys ---------------------------------------------------------------------------------------------

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Where an arrow key points, right and down; undefined for another key.
export const arrowOf = (key) => ARROWS[key];

// With Control, Alt or Command a key means something else.
export const modified = (event) => event.ctrlKey || event.altKey || event.metaKey;

// Keys that `use(event)` says it used go no further, not even with Control.
export function hearKeys(element, use, signal) {
  element.addEventListener("keydown", (event) => {
    if (!use(event)) return;
    event.preventDefault();
    event.stopPropagation();
  }, { signal });
}

// ---- undo ---------------------------------------------------------------------------------------------

// The states that something was in, one after the other, and which of them it is in now.
export class History {
  constructor(first) {
    this.states = [first];
    this.at = 0;
  }

  // A new state after the present one; what was undone is gone. The same state again is none.
  record(state) {
    if (JSON.stringify(state) === JSON.stringify(this.states[this.at])) return;
    this.at += 1;
    this.states.splice(this.at, Infinity, state);
  }

  can(by) { return this.at + by in this.states; }

  step(by) { return this.states[(this.at += by)]; } // 0: the present one
}

// The key's step through a history: -1 undo, 1 redo, 0 another key.
export function undoKey(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return 0;
  const key = event.key.toLowerCase();
  return key === "y" || (key === "z" && event.shiftKey) ? 1 : key === "z" ? -1 : 0;
}

// ---- taking away --------------------------------------------------------------------------------------

// Saves the canvases of an explorer and its words, but not the help and the controls, as one PNG.
export async function savePicture(root, name) {
  const ratio = window.devicePixelRatio || 1;
  const frame = root.getBoundingClientRect();
  const whole = document.createElement("canvas");
  [whole.width, whole.height] = [frame.width * ratio, frame.height * ratio];
  const context = whole.getContext("2d");
  block(context, readTheme().page, 0, 0, whole.width, whole.height);
  const words = await wordsOf(root, frame);
  context.drawImage(words, 0, 0, whole.width, whole.height);
  for (const canvas of [...root.querySelectorAll("canvas")].filter(({ height }) => height)) {
    const { x, y } = canvas.getBoundingClientRect();
    context.drawImage(canvas, (x - frame.x) * ratio, (y - frame.y) * ratio);
  }
  const link = document.createElement("a");
  link.download = name;
  link.href = whole.toDataURL("image/png");
  link.click();
}

// What an element says, as an image that has a place left for each canvas.
async function wordsOf(root, { width, height }) {
  const page = document.createElement("div");
  page.innerHTML = `<svg width="${width}" height="${height}"><foreignObject width="100%" height="100%">`;
  const copy = root.cloneNode(true);
  const hidden = `button:not([aria-pressed="true"]), input, textarea, .m-help`;
  append(copy, "style", "", `.marginalia { width: ${width}px; } :is(${hidden}) { visibility: hidden; }`);
  copy.style.fontFamily = getComputedStyle(root).fontFamily; // it may come from a variable of the page
  page.querySelector("foreignObject").append(copy);
  const image = new Image();
  const words = new XMLSerializer().serializeToString(page.firstChild);
  image.src = `data:image/svg+xml,${encodeURIComponent(words)}`;
  await image.decode();
  return image;
}

// ---- canvas -------------------------------------------------------------------------------------------

const DOUBLE = 400; // milliseconds between two clicks that are one double-click
const JITTER = { mouse: 3, touch: 12 }; // pixels that a click may move
const AWAY = -1e6; // pixels: beside all that is drawn

// A canvas that stays sharp, follows the width of its parent and hears pointer and keys.
//   layout(width) -> { height, and where things are }, in CSS pixels
//   draw(context, { ...layout, width, theme }) -> what takes the place of the layout, if anything does
//   pointer: { down(p) -> true to start a drag, drag(p), drop(p), hover(p), twice(p),
//            tap(p): let go where it went down, and nothing was dragged }
//            with p = { x, y, touch, shift, still, drawn } in CSS pixels of the canvas, `drawn` being the
//            layout, `still` whether it is still where it went down; a drag begins when it is not. A pointer
//            that leaves hovers once far away, and a finger never does.
//   keys(event) -> true when the key was used
//   role "img": the canvas has no keys of its own, and Tab goes past it
// All listeners end with `signal`. Returns { canvas, redraw, cursor(name) }.
export function createStage(parent, { label, signal, layout, draw, pointer = {}, keys = () => false,
  role = "application" }) {
  const tabIndex = role === "img" ? -1 : 0;
  const canvas = append(parent, "canvas", "", "", { tabIndex, role, ariaLabel: label });
  const context = canvas.getContext("2d");

  let [width, family, drawn, frame] = [0, "sans-serif", null, 0];
  const paint = () => {
    frame = 0;
    if (!width) return; // not on the page, or folded away
    const place = { ...layout(width), width, theme: readTheme() };
    const [ratio, tall] = [window.devicePixelRatio || 1, Math.round(place.height)];
    const [across, down] = [width, tall].map((side) => Math.round(side * ratio));
    if (canvas.width !== across || canvas.height !== down) {
      canvas.style.height = `${tall}px`;
      [canvas.width, canvas.height] = [across, down];
    }
    canvas.style.visibility = tall ? "" : "hidden"; // nothing to see: no place for keys
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, tall);
    context.font = `12px ${family}`;
    drawn = draw(context, place) ?? place;
  };
  const redraw = () => {
    frame ||= requestAnimationFrame(paint); // once, however often it is asked for
  };

  // the width is kept: asking for it in every frame would make the browser lay the page out each time
  const observer = new ResizeObserver(() => {
    width = canvas.clientWidth;
    family = getComputedStyle(canvas).fontFamily;
    redraw();
  });
  observer.observe(canvas);
  signal.addEventListener("abort", () => {
    observer.disconnect();
    cancelAnimationFrame(frame);
  });
  hearPointer(canvas, (name, p) => drawn && pointer[name]?.({ ...p, drawn }), signal);
  hearKeys(canvas, keys, signal);
  return { canvas, redraw, cursor: (name) => (canvas.style.cursor = name) };
}

// A thing of W x H, in its own units, in the middle of a canvas of this width and at most `tallest` pixels
// high, with a margin around it.
export function fitted(width, [W, H], tallest, margin = 0) {
  const height = Math.round(Math.min(((width - 2 * margin) * H) / W, tallest) + 2 * margin);
  const scale = Math.min((width - 2 * margin) / W, (height - 2 * margin) / H);
  const [wide, tall] = [W * scale, H * scale];
  return { scale, x: (width - wide) / 2, y: (height - tall) / 2, wide, tall, height };
}

// Whether a place is where another one is, for a mouse or a finger; nowhere where the other is null.
export const isNear = (p, other) =>
  Boolean(other) && Math.hypot(p.x - other.x, p.y - other.y) < (p.touch ? 20 : 8);

// `tell(name, p)` calls a handler that there is.
function hearPointer(canvas, tell, signal) {
  let held = false;
  let down = null; // where the pointer went down, and whether it moved since or came down there before
  let before = { time: -Infinity, x: 0, y: 0 };
  const place = ({ clientX, clientY, pointerType, shiftKey: shift }) => {
    const frame = canvas.getBoundingClientRect();
    const p = { x: clientX - frame.left, y: clientY - frame.top, touch: pointerType === "touch", shift };
    if (down) down.moved ||= Math.hypot(p.x - down.x, p.y - down.y) > (p.touch ? JITTER.touch : JITTER.mouse);
    return { ...p, still: Boolean(down) && !down.moved };
  };
  const on = (name, act, options = {}) => canvas.addEventListener(name, act, { ...options, signal });

  on("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.focus({ preventScroll: true });
    const p = place(event);
    const twice = isNear(p, before) && event.timeStamp - before.time < DOUBLE;
    before = { time: twice ? -Infinity : event.timeStamp, x: p.x, y: p.y };
    down = { ...p, twice };
    held = Boolean(tell("down", p));
    if (held) canvas.setPointerCapture(event.pointerId);
  });
  on("pointermove", (event) => {
    const p = place(event);
    if (held ? !p.still : !p.touch) tell(held ? "drag" : "hover", p);
  });
  const release = (p) => {
    if (held) tell("drop", p);
    held = false;
    down = null;
  };
  on("pointerup", (event) => {
    const p = place(event);
    const twice = p.still && down.twice && tell("twice", p);
    if (p.still && !held && !twice) tell("tap", p);
    release(p);
  });
  on("pointercancel", () => release({})); // a finger that scrolls the page, say
  on("pointerleave", (event) => {
    const p = place(event);
    if (!held && !p.touch) tell("hover", { ...p, x: AWAY, y: AWAY });
  });
  // pointerdown comes first: a finger on something that can be dragged must not scroll the page as well
  on("touchstart", (event) => held && event.preventDefault(), { passive: false });
}

// The cell of a grid that fills a frame, [row, column], under a place; null beside it.
export function cellUnder({ x, y, wide, tall }, p, rows, columns) {
  const [row, column] = [Math.floor(((p.y - y) / tall) * rows), Math.floor(((p.x - x) / wide) * columns)];
  return row >= 0 && column >= 0 && row < rows && column < columns ? [row, column] : null;
}

// Indices of the boxes x, y, w, h on the screen that are at a place, best first: those whose border is near, or
// whose tag is there, the nearest first; then those around the place, the smallest first.
export function boxesAt(boxes, { x, y, touch }, tags = []) {
  const reach = touch ? 12 : 5;
  const onTag = ({ left, top, width }) => x >= left && x <= left + width && y >= top && y <= top + TAG;
  const tagged = new Set(tags.filter(onTag).map(({ item }) => item));
  const found = boxes.map(([left, top, w, h], item) => {
    const [across, down] = [Math.max(left - x, x - left - w), Math.max(top - y, y - top - h)]; // below 0 inside
    const away = tagged.has(item) ? 0 : Math.abs(Math.max(across, down));
    const near = away <= reach || (across < 0 && down < 0);
    return { item, order: !near ? Infinity : away <= reach ? away : reach + w * h };
  });
  return found.filter(({ order }) => order < Infinity).sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

// ---- colours on a canvas ------------------------------------------------------------------------------

// A filled rectangle, and the outline of one: x, y, width, height.
export function block(context, colour, ...place) {
  context.fillStyle = colour;
  context.fillRect(...place);
}

export function outline(context, colour, lineWidth, ...place) {
  context.strokeStyle = colour;
  context.lineWidth = lineWidth;
  context.strokeRect(...place);
}

// The present path, filled, and as a line.
export function fill(context, colour, alpha = 1) {
  context.globalAlpha = alpha;
  context.fillStyle = colour;
  context.fill();
  context.globalAlpha = 1;
}

export function stroke(context, colour, lineWidth, dash = []) {
  context.strokeStyle = colour;
  context.lineWidth = lineWidth;
  context.setLineDash(dash);
  context.stroke();
  context.setLineDash([]);
}

// A line that is seen on any image: dark below, coloured above. `path` adds to a path that is begun.
export function strokeRimmed(context, colour, lineWidth, path, dash) {
  context.beginPath();
  path();
  stroke(context, "rgba(0, 0, 0, 0.75)", lineWidth + 1.75, dash);
  stroke(context, colour, lineWidth, dash);
}

// Calls `draw`; nothing that it draws is seen outside of a frame.
export function clipped(context, { x, y, wide, tall }, draw) {
  context.save();
  context.beginPath();
  context.rect(x, y, wide, tall);
  context.clip();
  draw();
  context.restore();
}

// A small canvas with one pixel a value: `shade` gives red, green, blue and opacity, or an empty list.
export function pixelsOf(values, columns, shade) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, values.length / columns];
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  values.forEach((value, at) => image.data.set(shade(value), 4 * at));
  context.putImageData(image, 0, 0);
  return canvas;
}

// Such a canvas in a frame; its pixels stay as they are: smoothing them would move a peak.
export function drawPixels(context, image, x, y, wide, tall) {
  context.imageSmoothingEnabled = false;
  context.drawImage(image, x, y, wide, tall);
}

// ---- text ---------------------------------------------------------------------------------------------

// The font of what is measured or written next, in the page's family.
export function setFont(context, size, weight = 400) {
  const family = context.font.replace(/^.*?px(\/\S+)? /, "");
  context.font = `${weight} ${size}px ${family}`;
}

// One line of text, its middle at y; `size` in CSS pixels, cut where it is wider than `most`; `turned`:
// upwards; `halo`: the colour around it, where it stands on other things.
export function write(context, string, x, y, { size = 11, weight = 400, align = "left", colour, most = Infinity,
  turned = false, halo }) {
  setFont(context, size, weight);
  const shown = shorten(context, string, most);
  context.save();
  Object.assign(context, { textAlign: align, textBaseline: "middle", fillStyle: colour });
  context.translate(x, y);
  if (turned) context.rotate(-Math.PI / 2);
  Object.assign(context, { strokeStyle: halo, lineWidth: 4, lineJoin: "round" });
  if (halo) context.strokeText(shown, 0, 0);
  context.fillText(shown, 0, 0);
  context.restore();
}

// The string, cut with an ellipsis when it is wider than `most` CSS pixels in the present font.
function shorten(context, string, most) {
  if (most === Infinity || context.measureText(string).width <= most) return string;
  let keep = string.length;
  while (keep > 1 && context.measureText(`${string.slice(0, keep)}…`).width > most) keep -= 1;
  return `${string.slice(0, keep)}…`;
}

// Which of `count` labels, `step` apart, fit in lines of `line`: first those of `wanted`, then every so many.
export function labelsThatFit(count, step, line, wanted) {
  const every = Array.from({ length: Math.ceil(count / Math.ceil(line / step)) },
    (_, k) => k * Math.ceil(line / step));
  const apart = (i, others) => others.every((other) => Math.abs(i - other) * step >= line);
  return [...wanted, ...every].reduce((kept, i) => (i >= 0 && apart(i, kept) ? [...kept, i] : kept), []);
}

// Names along a grid, `step` apart from x, y on, to the right or `down`, in lines of `line`: those of `wanted`,
// and as many others as do not touch. `styleOf(i)` says how each of them is written.
export function writeAlong(context, names, { x, y, step, line, wanted = [], down = false }, styleOf) {
  for (const i of labelsThatFit(names.length, step, line, wanted)) {
    const middle = (i + 0.5) * step;
    write(context, names[i], down ? x : x + middle, down ? y + middle : y, styleOf(i));
  }
}

// Of a thing among others that is chosen, or not: how its name is written.
export const emphasis = (chosen, theme) =>
  ({ weight: chosen ? 700 : 400, colour: chosen ? theme.ink : theme.muted });

const TAG = 15; // pixels: height of a tag

// A box's name on its top left corner, in the frame of the image: above it where there is room, else inside.
// Over one of the tags in `taken` it is not drawn, else it is one of them, the tag of box `item`.
export function drawTag(context, words, more, [x, y], colour, frame, taken, item) {
  setFont(context, 11, 600);
  const string = `${shorten(context, words, 90)}${more}`;
  const width = context.measureText(string).width + 8;
  const left = Math.max(frame.x, Math.min(x - 1, frame.x + frame.wide - width));
  const top = clamp(y - TAG - 1 < frame.y ? y + 1 : y - TAG - 1, frame.y, frame.y + frame.tall - TAG);
  const met = (tag) => Math.abs(tag.top - top) < TAG && left < tag.left + tag.width && tag.left < left + width;
  if (taken.some(met)) return;
  taken.push({ left, top, width, item });
  block(context, colour, left, top, width, TAG);
  write(context, string, left + 4, top + 8, { weight: 600, colour: "#000000" });
}

// Colours from what is `low` to the words behind them, in `most` pixels.
export function drawColours(context, { x, y, most, colourAt, low, words, theme }) {
  const style = { colour: theme.muted };
  write(context, low, x, y, style);
  const start = x + context.measureText(low).width + 5;
  const gradient = context.createLinearGradient(start, 0, start + 70, 0);
  for (let stop = 0; stop <= 40; stop += 1) gradient.addColorStop(stop / 40, css(colourAt(stop / 40)));
  block(context, gradient, start, y - 5, 70, 10);
  write(context, words, start + 75, y, { ...style, most: x + most - start - 75 });
}
