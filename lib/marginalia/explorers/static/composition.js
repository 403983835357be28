// A map of all pairs of tokens; for the chosen pair C(i, j) - I in its terms, and what heads give each other.

import { append, around, arrowOf, clamp, createStage, digits, floatsOf, remember, renderWith,
  setText } from "./canvas.js";
import { View, press } from "./view.js";
import { BRANCHES, MAPS, TERMS, WHERE, asPython, cellOn, flowAt, flowsOf, headsAt, isAllowed, largestOf, mapOf,
  normOf, termsAt, through, unitOf, visible } from "./composition_maths.js";
import { drawFlows, drawMap, drawTerms, flowFrame, flowHeight, mapFrame, mapHeight, pictureOf, placeIn,
  termFrames, termsHeight } from "./composition_drawing.js";

// ---- words --------------------------------------------------------------------------------------------

const HELP = "Click or drag on the map to choose a pair; click a matrix to choose a term, a head or a flow to "
  + "hold it. A line at a bar: with all terms. Keys: ↑\u00a0↓ query, ←\u00a0→ key, L layer, P pre or post, "
  + "M map, H its head, T term, F flow (with Shift: backwards), +\u00a0− threshold of flows, Ctrl+Z, "
  + "Ctrl+Shift+Z, R reset, C copy, S save, Escape lets go.";
const KEYS = { p: "where", l: "layer", m: "map", h: "head", t: "term", f: "flow" };
const THINGS = { pre: "scores", post: "weights" };
const PLAIN = "Plain heads: C = I for every pair, heads give each other nothing.";

const quoted = (labels, at) => `${at} “${visible(labels[at])}”`;

function describePair({ choice: { layer, where, pair: [i, j] }, labels, allowed, before, full }) {
  const changes = full.map((value, m) => Math.abs(value - before[m]));
  const m = changes.indexOf(Math.max(...changes));
  const heads = changes[m] ? `head ${m} changes most, ${digits(before[m])} → ${digits(full[m])}` : "no change";
  const pair = `query ${quoted(labels, i)}, key ${quoted(labels, j)}${allowed ? "" : " (masked)"}`;
  return `Layer ${layer}, ${THINGS[where]}, ${pair}: ${heads}.`;
}

function describeTerms({ terms, plain }) {
  const norms = terms.map(normOf);
  const k = norms.indexOf(Math.max(...norms.slice(1)), 1);
  return plain ? PLAIN
    : `Norm of C − I: ${digits(norms[0])}; largest term: ${BRANCHES[k - 1]}, ${digits(norms[k])}.`;
}

// A head that gives, one that receives, or what goes from one to the other.
function describeLit({ n, m }, { name, matrix, before, after, full }) {
  if (m < 0) return `Head ${n}: ${digits(before[n])} before.`;
  if (n < 0 && after === full) return `Head ${m}: ${digits(before[m])} before, ${digits(after[m])} after.`;
  if (n < 0) return `Head ${m}: ${digits(after[m])} with ${name} alone, ${digits(full[m])} with all terms.`;
  const entry = matrix[n * before.length + m];
  const given = `${digits(entry)} × ${digits(before[n])} = ${digits(entry * before[n])}`;
  return `Head ${n} gives head ${m}, by ${name}: ${given}.`;
}

const COMPOSITION_STYLE = `
.m-composition .m-left, .m-composition .m-right { flex: 1 1 340px; }
.m-composition .m-line { gap: 4px 14px; margin: 4px 0; } .m-composition .m-detail { min-height: 1.45em; }
`;

// ---- view ---------------------------------------------------------------------------------------------

class CompositionView extends View {
  constructor(model, host, signal) {
    super(model, host, signal, { name: "composition", label: "Composition of attention heads",
      style: COMPOSITION_STYLE });
    this.facts = model.get("facts");
    [this.layers, this.heads, this.tokens] = this.facts.shape;
    this.data = { ...this.facts };
    for (const name of ["maps", "masks", "bases", "vectors"]) this.data[name] = floatsOf(model.get(name));
    this.over = null; // the pair under the pointer
    this.pointed = null; // the heads under the pointer, { n, m }; -1: any
    this.held = null; // those that were chosen
    [this.values, this.toggles] = [{}, {}];
    // map, terms and their pictures, each made again only when something that it depends on changed
    this.mapped = remember((layer, where, head, map) => mapOf(this.data, { layer, where, head, map }));
    this.split = remember((layer, where, i, j) => termsAt(this.data, { layer, where }, i, j));
    this.mapPicture = remember(({ values, limit }, dark) => pictureOf(values, this.tokens, limit, dark));
    this.termPictures = remember((terms, limit, dark) =>
      terms.map((term) => pictureOf(term, this.heads, limit, dark)));
    const row = append(this.root, "div", "m-row");
    this.buildMap(append(row, "div", "m-left"), signal);
    this.buildPair(append(row, "div", "m-right"), signal);
    this.buildActs(append(this.root, "div", "m-line"));
    this.buildHelp(this.root, HELP);
    this.start([this.mapStage, this.termStage, this.flowStage]);
  }

  buildMap(left, signal) {
    const line = () => append(left, "div", "m-line");
    const above = line();
    this.steppers(above, "layer");
    this.toggles.where = this.toggle(above, "where", WHERE, (where) => `${THINGS[where]} (${where})`);
    this.mapStage = createStage(left, { label: `Map of all pairs of tokens. ${HELP}`, signal,
      height: mapHeight, draw: (context, place) => this.drawMap(context, place), pointer: this.mapPointer() });
    this.mapStage.cursor("crosshair");
    const map = line();
    this.toggles.map = this.toggle(map, "map", MAPS);
    this.steppers(map, "head");
    this.steppers(line(), "query", "key");
    this.status = append(left, "div", "m-status");
    this.detail = append(left, "div", "m-detail");
  }

  buildPair(right, signal) {
    this.title = append(right, "div", "m-line");
    this.termStage = createStage(right, { label: "C − I and its five terms; a click chooses one", signal,
      role: "img", height: termsHeight, draw: (context, place) => this.drawTerms(context, place),
      pointer: { hover: (p) => this.point(this.cellAt(p)), leave: () => this.point(null),
        down: (p) => this.clickTerm(p) } });
    this.steppers(append(right, "div", "m-line"), "term", "flow", "threshold");
    this.flowStage = createStage(right, { label: "Heads before and after composition, and flows between them",
      signal, role: "img", height: (width) => flowHeight(width, this.heads),
      draw: (context, place) => this.drawFlows(context, place),
      pointer: { hover: (p) => this.point(this.flowUnder(p)), leave: () => this.point(null),
        down: (p) => this.hold(this.flowUnder(p)) } });
  }

  steppers(parent, ...names) {
    for (const name of names) this.values[name] = this.stepper(parent, name, (by) => this.step(name, by));
  }

  get choice() { return this.state; }
  get python() { return asPython(this.choice); }
  get said() { return `${this.status.textContent} ${this.detail.textContent}`; }

  get map() {
    const { layer, where, head, map } = this.choice;
    return this.mapped(layer, where, head, map);
  }

  // What is told and drawn of the chosen pair. Bars after composition are those with the chosen term alone.
  get known() {
    const { choice, data, heads } = this;
    const { layer, where, term, pair: [i, j], threshold } = choice;
    const terms = this.split(layer, where, i, j);
    const matrix = terms[TERMS.indexOf(term)];
    const before = headsAt(data, choice, i, j);
    const beside = (each) => through(before, each).map((value, m) => before[m] + value);
    const full = beside(terms[0]);
    return { choice, labels: data.labels, terms, matrix, before, full,
      after: term === "all" ? full : beside(matrix), name: term === "all" ? "all terms" : term,
      limit: Math.max(...terms.map(largestOf)),
      flows: flowsOf(matrix, heads, threshold), allowed: isAllowed(data, choice, i, j),
      plain: data.plain[unitOf(data, choice)] };
  }

  get lit() { return this.pointed ?? this.held; }

  show() {
    const { known, held, toggles } = this;
    const { choice: { layer, where, map, head, pair, threshold }, labels, name, flows } = known;
    const [query, key] = pair.map((at) => quoted(labels, at));
    setText(this.status, describePair(known));
    setText(this.detail, this.describe(known));
    setText(this.title, `C(${pair.join(", ")}) − I in its terms`);
    const told = { layer, query, key, head: head < 0 ? "mean" : head, term: name,
      flow: held?.n >= 0 && held.m >= 0 ? `${held.n} → ${held.m}` : "none",
      threshold: `${Math.round(100 * threshold)} %: ${flows.length} of ${this.heads ** 2}` };
    for (const [which, value] of Object.entries(told)) setText(this.values[which], String(value));
    press(toggles.where, WHERE.indexOf(where));
    press(toggles.map, MAPS.indexOf(map));
  }

  describe(known) {
    const { over, lit, note, map, tokens } = this;
    if (lit) return describeLit(lit, known);
    if (!over) return note || describeTerms(known);
    const value = map.values[over[0] * tokens + over[1]];
    const [query, key] = over.map((at) => quoted(known.labels, at));
    return `Query ${query}, key ${key}: ${Number.isNaN(value) ? "masked" : digits(value)}.`;
  }

  // ---- changes

  step(name, by) {
    const { tokens, layers, heads, choice: { layer, pair: [i, j], head, term, map, where, threshold } } = this;
    const next = (list, now) => list[around(list.indexOf(now) + by, list.length)];
    const within = (at) => clamp(at + by, 0, tokens - 1);
    const steps = {
      query: { pair: [within(i), j] },
      key: { pair: [i, within(j)] },
      layer: { layer: around(layer + by, layers) },
      where: { where: next(WHERE, where) },
      map: { map: next(MAPS, map) },
      head: { head: around(head + 1 + by, heads + 1) - 1 }, // after the last their mean, -1
      term: { term: next(TERMS, term) },
      threshold: { threshold: clamp(Math.round(20 * threshold + by) / 20, 0, 1) },
    };
    if (name === "flow") this.stepFlow(by);
    else this.change(steps[name]);
  }

  // From the largest flow to the smallest that is drawn, and round.
  stepFlow(by) {
    const flows = this.known.flows.toReversed();
    const now = flows.findIndex(({ n, m }) => n === this.held?.n && m === this.held.m);
    if (flows.length) this.hold(flows[around(now < 0 && by < 0 ? -1 : now + by, flows.length)]);
  }

  // Holds heads or a flow, or lets them go when they are held already.
  hold(lit) {
    const again = lit?.n === this.held?.n && lit?.m === this.held?.m;
    this.held = again ? null : lit;
    this.pointed = this.over = null;
    this.refresh();
    this.speak();
  }

  say(note) {
    this.held = null;
    super.say(note);
  }

  rootKey(event) {
    const [back, arrow, name] = [event.shiftKey ? -1 : 1, arrowOf(event.key), event.key.toLowerCase()];
    const by = { "+": 1, "-": -1 }[name];
    if (super.rootKey(event)) return true;
    if (event.ctrlKey || event.altKey || event.metaKey) return false;
    if (arrow) this.step(arrow[0] ? "key" : "query", arrow[0] + arrow[1]);
    else if (KEYS[name]) this.step(KEYS[name], back);
    else if (by) this.step("threshold", by);
    else if (name === "escape") this.hold(null);
    else return false;
    return true;
  }

  // ---- pointer

  // The cell of a square under a place, [row, column]; null beside it.
  cellIn({ x, y, side }, p, count) {
    const cell = [cellOn(p.y, y, side, count), cellOn(p.x, x, side, count)];
    return cell.includes(-1) ? null : cell;
  }

  mapPointer() {
    const pairAt = (p) => this.frame && this.cellIn(this.frame, p, this.tokens);
    const choose = (p, last) => {
      const pair = pairAt(p);
      this.over = this.held = null;
      if (pair) this.change({ pair }, { last });
      return Boolean(pair);
    };
    const over = (pair) => {
      if (String(pair) === String(this.over)) return;
      this.over = pair;
      this.refresh();
    };
    return {
      hover: (p) => over(pairAt(p)),
      leave: () => over(null),
      down: (p) => !p.touch && choose(p, false), // a finger that moves scrolls the page
      drag: (p) => choose(p, false),
      drop: () => this.change({}),
      tap: (p) => choose(p, true),
    };
  }

  point(lit) {
    if (JSON.stringify(lit) === JSON.stringify(this.pointed)) return;
    this.pointed = lit;
    this.refresh();
  }

  // The entry of a term's matrix under a place, and the number of the term.
  cellAt(p) {
    const cells = (this.termPlaces ?? []).map((frame) => this.cellIn(frame, p, this.heads));
    const k = cells.findIndex(Boolean);
    return k < 0 ? null : { k, n: cells[k][0], m: cells[k][1] };
  }

  clickTerm(p) {
    const found = this.cellAt(p);
    if (!found) return;
    this.held = found;
    this.change({ term: TERMS[found.k] });
  }

  // A flow between the heads, else the head in whose row the place is.
  flowUnder(p) {
    if (!this.flowPlace) return null;
    const { x, y } = placeIn(this.flowPlace, p);
    const row = Math.round(y);
    if (row < 0 || row >= this.heads) return null;
    return x < 0 ? { n: row, m: -1 } : x > 1 ? { n: -1, m: row } : flowAt(this.known.flows, x, y, 0.4);
  }

  // ---- drawing

  drawMap(context, { width, theme }) {
    const { map, over, data: { labels }, choice: { where, head, map: kind, pair } } = this;
    const of = head < 0 ? "mean of heads" : `head ${head}`;
    const told = kind === "change" ? `${head < 0 ? "size of " : ""}change` : `${THINGS[where]} ${kind}`;
    this.frame = mapFrame(width);
    drawMap(context, { frame: this.frame, picture: this.mapPicture(map, theme.dark), labels, pair, over,
      ...map, told: `${told}, ${of}`, theme });
  }

  drawTerms(context, { width, theme }) {
    const { heads, lit, known: { terms, limit, choice: { term } } } = this;
    this.termPlaces = termFrames(width);
    drawTerms(context, { frames: this.termPlaces, pictures: this.termPictures(terms, limit, theme.dark), terms,
      heads, limit, chosen: term, lit, theme });
  }

  drawFlows(context, { width, theme }) {
    const { known, heads, lit } = this;
    const { matrix, name, choice: { where, term } } = known;
    this.flowPlace = flowFrame(width, heads);
    const titles = [`${THINGS[where]} before`, `flows: largest ${digits(largestOf(matrix))}`,
      term === "all" ? "after" : `with ${name}`];
    drawFlows(context, { frame: this.flowPlace, ...known, titles, lit, theme });
  }
}

export const render = renderWith(CompositionView);

export default { render };
