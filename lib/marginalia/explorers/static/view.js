// What the views of all explorers do in the same way: traits that they set, a history, words, buttons.

import { History, STYLE, append, around, arrowOf, createStage, hearKeys, isNear, modified, readTheme,
  savePicture, setText, undoKey, watchTheme } from "./canvas.js";

const PATIENCE = 5000; // milliseconds that the kernel may take
const GONE = "The kernel does not answer: what is changed here stays in this view. If the kernel is gone, run "
  + "the cell again.";

// A view of a model. Its class builds elements and has `told()`, what the places made by `text` and `steppers`
// say; `steps(by)`, what the steppers change, by name; and `python`, an expression that makes the explorer
// again. Every trait that undo is about, and those of `shown`, is a field, unless the class has another one.
export class View {
  constructor(model, host, signal, { name, label, style = "", shown = [] }) {
    Object.assign(this, { model, signal, name, stages: [], toggles: [], places: {} });
    this.note = ""; // what a button did
    this.kept = Object.keys(model.get("given")); // traits that undo, redo and reset are about
    this.traits = [...this.kept, ...shown];
    for (const trait of this.traits.filter((each) => !(each in this))) {
      Object.defineProperty(this, trait, { get: () => model.get(trait) });
    }
    this.history = new History(this.state);
    this.root = append(host, "div", `marginalia m-${name}`, "", { role: "group", ariaLabel: label });
    append(this.root, "style", "", STYLE + style);
    this.above = append(this.root, "div");
    this.gone = append(this.above, "div", "m-gone", "", { role: "alert" });
    const row = append(this.root, "div", "m-row");
    [this.left, this.right] = ["m-left", "m-right"].map((side) => append(row, "div", side));
    // what keys do, wherever the focus is; they are told -1 with Shift, else 1
    this.keys = { r: () => this.reset(), c: () => this.copy(), s: () => this.save() };
  }

  // The end of a constructor: the view hears keys, the theme and the model from here on.
  start() {
    const { root, signal, model } = this;
    hearKeys(root, (event) => this.rootKey(event), signal);
    // a letter typed here must not cut or add a cell of the notebook; shortcuts with Control still work
    const keep = (event) => event.ctrlKey || event.metaKey || event.stopPropagation();
    root.addEventListener("keydown", keep, { signal });
    watchTheme(() => this.refresh(), signal);
    const alarm = (words) => () => {
      clearTimeout(this.waiting);
      setText(this.gone, words);
      this.refresh();
    };
    this.lost = alarm(GONE);
    const changed = () => this.changing || this.replaced();
    const heard = { ...Object.fromEntries(this.traits.map((trait) => [`change:${trait}`, changed])),
      "change:png": () => this.loadPicture(), comm_live_update: this.lost, "msg:custom": alarm("") };
    for (const [name, act] of Object.entries(heard)) {
      model.on(name, act);
      signal.addEventListener("abort", () => model.off(name, act));
    }
    signal.addEventListener("abort", () => clearTimeout(this.waiting));
    this.loadPicture();
    this.refresh();
    this.ask();
  }

  get state() { return Object.fromEntries(this.kept.map((name) => [name, this.model.get(name)])); }
  get said() { return this.places.status.textContent; }

  refresh() {
    const { style } = this.root;
    for (const [name, colour] of Object.entries(readTheme())) style.setProperty(`--m-${name}`, colour);
    for (const [name, string] of Object.entries(this.told())) setText(this.places[name], String(string));
    for (const press of this.toggles) press();
    this.undo.disabled = !this.history.can(-1);
    this.redo.disabled = !this.history.can(1);
    // a button that is disabled now would lose the keys
    if (this.root.contains(document.activeElement) && document.activeElement.disabled) this.focus();
    for (const stage of this.stages) stage.redraw();
  }

  // Set and sent in one go, or Python's echo of an older state could come between. A browser reports a moving
  // pointer once a frame, and the widget manager sends no faster than the kernel answers.
  change(values, { last = true } = {}) {
    this.changing = true;
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.changing = false;
    this.model.save_changes();
    this.replaced({ last });
    if (!last) return;
    this.speak();
    this.ask();
  }

  // Asks whether the kernel is there, where there was one.
  ask() {
    if (!this.model.send) return;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(this.lost, PATIENCE);
    try {
      this.model.send({});
    } catch {
      this.lost(); // a kernel that was shut down
    }
  }

  // Something changed, by this view, by Python or in another view.
  replaced({ last = true } = {}) {
    this.note = "";
    if (last && !this.grip) this.history.record(this.state);
    this.code.hidden = true; // a call of what was there before
    this.refresh();
  }

  // Whether a click is where the last one was, so that it goes on to what lies beneath.
  again({ x, y, touch }) {
    const again = isNear({ x, y, touch }, this.clicked);
    this.clicked = { x, y };
    return again;
  }

  // What the pointer is over, fields of this view by name: drawn and told again where it is something else.
  point(values) {
    const same = (name) => JSON.stringify(values[name]) === JSON.stringify(this[name]);
    if (Object.keys(values).every(same)) return;
    Object.assign(this, values, { note: "" });
    this.refresh();
  }

  travel(by) {
    if (!this.history.can(by)) return;
    this.change(this.history.step(by));
  }

  focus() { this.stages[0].canvas.focus({ preventScroll: true }); }

  reset() { this.change(this.model.get("given")); }

  save() { savePicture(this.root, `${this.name}.png`); }

  async copy() {
    const copied = navigator.clipboard?.writeText(this.python).then(() => true, () => false);
    const done = Boolean(await copied); // a browser may not let us
    Object.assign(this.code, { hidden: done, value: this.python });
    if (!done) this.code.select();
    this.say(done ? "Copied: a call that makes this explorer."
      : "The browser does not let this page copy: the call stands below its buttons.");
  }

  speak(words = this.said) { this.spoken.textContent = words; }

  say(note) {
    this.note = note;
    this.refresh();
    this.speak();
  }

  // Arrow keys step through what these names stand for, across and down.
  arrows(across, down) {
    const keys = { left: [across, -1], right: [across, 1], up: [down, -1], down: [down, 1] };
    for (const [side, step] of Object.entries(keys)) this.keys[`arrow${side}`] = () => this.step(...step);
  }

  // Keys step to the next of what these names stand for, with Shift to the one before.
  letters(names) {
    for (const [key, name] of Object.entries(names)) this.keys[key] = (back) => this.step(name, back);
  }

  step(name, by) { this.change(this.steps(by)[name]); }

  rootKey(event) {
    const { type } = event.target;
    if (type === "textarea" || (type === "range" && arrowOf(event.key))) return false;
    const by = undoKey(event);
    const act = by ? () => this.travel(by) : !modified(event) && this.keys[event.key.toLowerCase()];
    if (!act) return false;
    act(event.shiftKey ? -1 : 1);
    return true;
  }

  async loadPicture() {
    const png = this.model.get("png");
    this.image = png?.byteLength ? await createImageBitmap(new Blob([png], { type: "image/png" })) : null;
    this.refresh();
  }

  // ---- elements

  // A canvas that shows this view: layout(width, view), draw(context, place, view), else as for `createStage`.
  stage(parent, label, layout, draw, options) {
    const stage = createStage(parent, { label, signal: this.signal, ...options,
      layout: (width) => layout(width, this), draw: (context, place) => draw(context, place, this) });
    this.stages.push(stage);
    return stage;
  }

  // One without keys of its own, that may be pointed at and clicked.
  figure(parent, label, layout, draw, hover, tap) {
    const stage = this.stage(parent, label, layout, draw, { role: "img", pointer: { hover, tap } });
    if (tap) stage.cursor("pointer");
  }

  line(parent) { return append(parent, "div", "m-line"); }

  // A place for words that change, by its name.
  text(parent, name, more = "") { this.places[name] = append(parent, "div", `m-${name} ${more}`); }

  // `label` is the button's name where the text is a sign, `title` says more on hover.
  button(parent, string, act, { label = null, title = "" } = {}) {
    const onclick = () => {
      element.focus({ preventScroll: true }); // JupyterLab gave it to the cell, and its keys to the notebook
      act();
    };
    const element = append(parent, "button", "", string, { type: "button", title, ariaLabel: label, onclick });
    return element;
  }

  buildActs(line) {
    this.undo = this.button(line, "Undo", () => this.travel(-1), { title: "Ctrl+Z" });
    this.redo = this.button(line, "Redo", () => this.travel(1), { title: "Ctrl+Shift+Z" });
    this.button(line, "Reset", () => this.reset(), { title: "R: back to the beginning" });
    this.button(line, "Copy as Python", () => this.copy(), { title: "a call that makes this explorer" });
    this.button(line, "Save PNG", () => this.save(), { title: "all drawings as one image" });
    this.code = append(line, "textarea", "m-code", "", // where the browser does not let us copy
      { readOnly: true, hidden: true, ariaLabel: "a call that makes this explorer" });
  }

  // The help, and what is read aloud.
  buildHelp(parent, help) {
    append(parent, "div", "m-help m-muted", help);
    this.spoken = append(parent, "div", "m-unseen", "", { role: "status" });
  }

  // Buttons for what is before and after, and what is chosen: last, so that they stay where they are.
  steppers(parent, ...names) {
    for (const name of names) {
      const group = append(parent, "div", "m-choice");
      append(group, "span", "m-muted", name);
      this.button(group, "‹", () => this.step(name, -1), { label: `previous ${name}` });
      this.button(group, "›", () => this.step(name, 1), { label: `next ${name}` });
      this.places[name] = append(group, "span", "m-value");
    }
  }

  // A slider of a trait from 0 to 1, in steps of a hundredth; `range()` may say otherwise. Undo takes back what
  // was there before it was held.
  slider(parent, name, range = () => ({ max: 1, step: 0.01 })) {
    const label = append(parent, "label", "m-choice m-slider");
    append(label, "span", "m-muted", name);
    const input = append(label, "input", "", "", { type: "range", ariaLabel: name,
      onchange: () => this.change({}), oninput: () => this.change({ [name]: Number(input.value) }, { last: false }) });
    this.places[name] = append(label, "span", "m-value");
    this.toggles.push(() => Object.assign(input, { min: 0, ...range(), value: this.model.get(name) },
      { ariaValueText: this.places[name].textContent }));
  }

  // A button that is pressed while `on()` says so.
  press(parent, string, on, act, words) {
    const element = this.button(parent, string, act, words);
    this.toggles.push(() => (element.ariaPressed = String(on())));
  }

  // A button for each choice of a trait.
  toggle(parent, name, choices, say = String) {
    const group = append(parent, "div", "m-choice", "", { role: "group", ariaLabel: name });
    // numbers do not say what they are of
    if (typeof choices[0] === "number") append(group, "span", "m-muted", name);
    for (const choice of choices) {
      const on = () => choice === this.model.get(name);
      this.press(group, say(choice), on, () => this.change({ [name]: choice }));
    }
  }
}

// An expression that makes an explorer again of what it was given, with choices by name.
export function pythonCall(explorer, given, choices) {
  const told = Object.entries(choices).map(([name, value]) =>
    `${name}=${Array.isArray(value) ? `(${value.join(", ")})` : JSON.stringify(value)}`);
  return `${explorer}(${[given, ...told].join(", ")})`;
}

// The choice after the present one, or before it, and round.
export const next = (choices, now, by) => choices[around(choices.indexOf(now) + by, choices.length)];

// A view of things in the plane, the trait `list`, of which one may be `selected`; they are drawn on the stage
// `ground`. Its class has `under(p)`, the things at a place as { item, cursor }, best first; `dragged(grip,
// p)`, what a held thing becomes, `grip` being what was under the place `p` where it was taken, and `start`,
// the thing then; `add()`, and `nudge(event, arrow)`.
export class ListView extends View {
  constructor(model, host, signal, { list, ...words }) {
    super(model, host, signal, words);
    const remove = () => this.selected >= 0 && this.remove();
    Object.assign(this.keys, { n: () => this.add(), delete: remove, backspace: remove,
      "[": () => this.beside(-1), "]": () => this.beside(1), escape: () => this.letGo() });
    this.list = list;
    this.grip = null; // what the pointer holds, with `ours`: the list as this view put it
    this.free = false; // Escape: the next Tab leaves the canvas
    this.pointed = []; // things under the pointer
  }

  get items() { return this.model.get(this.list); }
  get selected() {
    const selected = this.model.get("selected");
    return selected < this.items.length ? selected : -1;
  }

  refresh() {
    this.delete.disabled = this.selected < 0;
    super.refresh();
  }

  // What is selected is one of the things that there are.
  change(values, options) {
    const last = (values[this.list] ?? this.items).length - 1;
    super.change({ ...values, selected: Math.min(values.selected ?? this.selected, last) }, options);
  }

  // Python, or another view, put other things there: a drag that still holds an old one ends.
  replaced(options) {
    if (this.grip && this.grip.ours !== this.items) this.grip = null;
    super.replaced(options);
  }

  reset() { this.change({ ...this.model.get("given"), selected: -1 }); }

  // The selected thing becomes `item`.
  put(item, options) {
    const items = this.items.map((old, i) => (i === this.selected ? item : old));
    if (this.grip) this.grip.ours = items;
    this.change({ [this.list]: items }, options);
  }

  others(list) { return list.filter((_, i) => i !== this.selected); }

  remove(more = {}) {
    this.pointed = [];
    this.change({ [this.list]: this.others(this.items), ...more });
  }

  select(i) {
    this.note = "";
    if (i === this.selected) this.refresh();
    else this.change({ selected: i });
  }

  // The pointer on the ground: points at things, selects and drags them. A click takes the best of those under
  // it, and one more click at the same place what lies beneath; what is dragged is the one selected then.
  pointer(empty) {
    return {
      hover: (p) => {
        const found = this.under(p);
        const at = found[Math.max(this.chosen(found, isNear(p, this.clicked)), 0)];
        this.ground.cursor(at?.cursor ?? empty);
        this.point({ pointed: at ? [at.item] : [] });
      },
      down: (p) => {
        const found = this.under(p);
        const now = this.chosen(found, this.again(p));
        const at = found[Math.max(now, 0)];
        this.free = false;
        this.pointed = [];
        this.select(at ? at.item : -1);
        const beneath = now < 0 ? at : found[around(now + 1, found.length)];
        this.grip = at ? { ...at, p, start: this.items[at.item], ours: this.items, beneath } : null;
        return Boolean(at);
      },
      drag: (p) => this.grip && this.put(this.dragged(this.grip, p), { last: false }),
      drop: ({ still }) => {
        const beneath = still && this.grip?.beneath;
        this.grip = null;
        this.pointed = [];
        this.change(beneath ? { selected: beneath.item } : {});
      },
    };
  }

  // Where the selected thing is among those of a click at the same place as the last one; -1: nowhere.
  chosen(found, again) { return again ? found.findIndex(({ item }) => item === this.selected) : -1; }

  // What a key does on the ground alone.
  key(event) {
    if (this.grip && event.key !== "Escape") return true; // nothing else happens during a drag
    const arrow = arrowOf(event.key);
    this.pointed = []; // until the pointer moves again
    if (event.key === "Tab") return this.tab(event.shiftKey ? -1 : 1);
    this.free = false;
    return Boolean(arrow) && this.selected >= 0 && this.nudge(event, arrow);
  }

  // Selects the thing after the selected one, or before it, and round.
  beside(by) {
    const { selected, items } = this;
    if (items.length) this.select(around(by > 0 ? selected + 1 : Math.max(selected, 0) - 1, items.length));
  }

  // Ends a drag as if it had not begun; without one, nothing is selected any more.
  letGo() {
    const { grip } = this;
    [this.grip, this.free] = [null, true];
    if (grip) this.change(this.history.step(0));
    else this.select(-1);
  }

  // Tab goes through the things and then on along the page: nobody is shut in.
  tab(step) {
    const to = this.selected + (this.selected < 0 && step < 0 ? 0 : step);
    if (this.free || to < 0 || to >= this.items.length) return false;
    this.select(to);
    return true;
  }

  // Below the canvas: buttons, the status, the help.
  buildWords(thing, help) {
    const line = this.line(this.left);
    this.button(line, `Add ${thing}`, () => this.add(), { title: "N" });
    this.delete = this.button(line, `Delete ${thing}`, () => this.remove(),
      { title: `the selected ${thing}; Delete` });
    this.buildActs(line);
    this.text(this.left, "status");
    this.buildHelp(this.left, help);
  }
}
