// A map of all pairs of tokens; for the chosen pair C(i, j) - I in its terms, and what heads give each other.

import { around, cellUnder, clamp, digits, floatsOf, remember, renderWith } from "./canvas.js";
import { View, next, pythonCall } from "./view.js";
import { MAPS, TERMS, WHERE, flowsOf, headsAt, isAllowed, largestOf, mapOf, normOf, termsAt, through, unitOf,
  visible } from "./composition_maths.js";
import { THINGS, drawFlows, drawMap, drawTerms, entryAt, flowFrame, headsUnder, mapFrame, pictureOf,
  termFrames } from "./composition_drawing.js";

// ---- words --------------------------------------------------------------------------------------------

const HELP = "Click or drag on the map to choose a pair; click a matrix to choose a term, a head or a flow to "
  + "hold it. A line at a bar: with all terms. Keys: ↑\u00a0↓ query, ←\u00a0→ key, L layer, P pre or post, "
  + "M map, H its head, T term, F flow (with Shift: backwards), +\u00a0− threshold of flows, Ctrl+Z, "
  + "Ctrl+Shift+Z, R reset, C copy, S save, Escape lets go.";
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
    : `Norm of C − I: ${digits(norms[0])}; largest term: ${TERMS[k]}, ${digits(norms[k])}.`;
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

// ---- view ---------------------------------------------------------------------------------------------

class CompositionView extends View {
  constructor(model, host, signal) {
    super(model, host, signal, { name: "composition", label: "Composition of attention heads" });
    this.data = { ...model.get("facts") };
    [this.layers, this.heads, this.tokens] = this.data.shape;
    for (const name of ["maps", "masks", "bases", "vectors"]) this.data[name] = floatsOf(model.get(name));
    this.over = null; // the pair under the pointer
    this.pointed = null; // the heads under the pointer, { n, m }; -1: any
    this.held = null; // those that were chosen
    // map, terms and their pictures, each made again only when something that it depends on changed
    this.mapped = remember((layer, where, head, map) => mapOf(this.data, { layer, where, head, map }));
    this.split = remember((layer, where, i, j) => termsAt(this.data, { layer, where }, i, j));
    this.mapPicture = remember(({ values, limit }, dark) => pictureOf(values, this.tokens, limit, dark));
    this.termPictures = remember((terms, limit, dark) =>
      terms.map((term) => pictureOf(term, this.heads, limit, dark)));
    this.buildMap(this.left);
    this.buildPair(this.right);
    this.buildActs(this.line(this.root));
    this.buildHelp(this.root, HELP);
    this.arrows("key", "query");
    this.letters({ p: "where", l: "layer", m: "map", h: "head", t: "term", f: "flow" });
    Object.assign(this.keys, { "+": () => this.step("threshold", 1), "-": () => this.step("threshold", -1),
      escape: () => this.letGo() });
    this.start();
  }

  buildMap(left) {
    const above = this.line(left);
    this.steppers(above, "layer");
    this.toggle(above, "where", WHERE, (where) => `${THINGS[where]} (${where})`);
    this.stage(left, `Map of all pairs of tokens. ${HELP}`, mapFrame, drawMap, { pointer: this.mapPointer() })
      .cursor("crosshair");
    const below = this.line(left);
    this.toggle(below, "map", MAPS);
    this.steppers(below, "head");
    this.steppers(this.line(left), "query", "key");
    this.text(left, "status");
    this.text(left, "detail");
  }

  buildPair(right) {
    this.text(right, "title", "m-line");
    this.figure(right, "C − I and its five terms; a click chooses one", termFrames, drawTerms,
      (p) => this.point({ pointed: entryAt(p) }), (p) => this.clickTerm(entryAt(p)));
    this.steppers(this.line(right), "term", "flow", "threshold");
    const lit = (p) => headsUnder(p, this.known.flows);
    this.figure(right, "Heads before and after composition, and flows between them", flowFrame, drawFlows,
      (p) => this.point({ pointed: lit(p) }), (p) => this.hold(lit(p)));
  }

  get python() { return pythonCall("CompositionExplorer", "model, tokens, labels", this.state); }
  get said() { return `${super.said} ${this.places.detail.textContent}`; }
  get lit() { return this.pointed ?? this.held; }

  get map() { return this.mapped(this.layer, this.where, this.head, this.model.get("map")); }

  // What is told and drawn of the chosen pair. Bars after composition are those with the chosen term alone.
  get known() {
    const { state: choice, data, heads } = this;
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

  told() {
    const { known, held } = this;
    const { choice: { layer, head, pair, threshold }, labels, name, flows } = known;
    const [query, key] = pair.map((at) => quoted(labels, at));
    return { layer, query, key, head: head < 0 ? "mean" : head, term: name,
      flow: held?.n >= 0 && held.m >= 0 ? `${held.n} → ${held.m}` : "none",
      threshold: `${Math.round(100 * threshold)} %: ${flows.length} of ${this.heads ** 2}`,
      status: describePair(known), detail: this.describe(known),
      title: `C(${pair.join(", ")}) − I in its terms` };
  }

  describe(known) {
    const { over, lit, note, map, tokens } = this;
    if (note) return note;
    if (lit) return describeLit(lit, known);
    if (!over) return describeTerms(known);
    const value = map.values[over[0] * tokens + over[1]];
    const [query, key] = over.map((at) => quoted(known.labels, at));
    return `Query ${query}, key ${key}: ${Number.isNaN(value) ? "masked" : digits(value)}.`;
  }

  // ---- changes

  steps(by) {
    const { tokens, layers, heads, state: { layer, pair: [i, j], head, term, map, where, threshold } } = this;
    const beside = (at) => clamp(at + by, 0, tokens - 1);
    return {
      query: { pair: [beside(i), j] },
      key: { pair: [i, beside(j)] },
      layer: { layer: around(layer + by, layers) },
      where: { where: next(WHERE, where, by) },
      map: { map: next(MAPS, map, by) },
      head: { head: around(head + 1 + by, heads + 1) - 1 }, // after the last their mean, -1
      term: { term: next(TERMS, term, by) },
      threshold: { threshold: clamp(Math.round(20 * threshold + by) / 20, 0, 1) },
    };
  }

  // Flows go from the largest to the smallest that is drawn, and round.
  step(name, by) {
    this.over = null; // a mouse that rests on a cell no longer points at it
    if (name !== "flow") return super.step(name, by);
    const flows = this.known.flows.toReversed();
    const now = flows.findIndex(({ n, m }) => n === this.held?.n && m === this.held.m);
    if (flows.length) this.hold(flows[around(now < 0 && by < 0 ? -1 : now + by, flows.length)]);
  }

  // Holds heads or a flow, or lets them go when they are held already.
  hold(lit) {
    const again = lit?.n === this.held?.n && lit?.m === this.held?.m;
    this.held = again ? null : lit;
    this.pointed = this.over = null;
    this.say("");
  }

  reset() {
    this.held = null;
    super.reset();
  }

  // Ends a drag as if it had not begun; without one, lets go what is held.
  letGo() {
    if (this.drags) this.change(this.history.step(0));
    else this.hold(null);
    this.drags = false;
  }

  // ---- pointer

  mapPointer() {
    const cell = (p) => cellUnder(p.drawn, p, this.tokens, this.tokens);
    const choose = (p, last) => {
      const pair = cell(p);
      this.over = this.held = null;
      if (pair) this.change({ pair }, { last });
      return Boolean(pair);
    };
    return {
      hover: (p) => this.point({ over: cell(p) }),
      down: (p) => (this.drags = !p.touch && choose(p, false)), // a finger that moves scrolls the page
      drag: (p) => this.drags && choose(p, false),
      drop: () => {
        this.drags = false;
        this.change({});
      },
      tap: (p) => choose(p, true),
    };
  }

  clickTerm(entry) {
    if (!entry) return;
    this.held = entry;
    this.change({ term: TERMS[entry.k] });
  }
}

const render = renderWith(CompositionView);

export default { render };
