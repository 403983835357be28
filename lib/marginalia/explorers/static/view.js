// What the views of all explorers do in the same way: traits that they set, a history, words, buttons.

import { History, append, around, arrowOf, button, copyText, createRoot, listen, savePicture,
  undoKey } from "./canvas.js";

// A view of a model. Its class builds elements and has `show`, which brings them up to date; `status`, the
// element whose words are spoken too; `python`, an expression that makes the explorer again.
export class View {
  constructor(model, host, signal, { name, label, style }) {
    Object.assign(this, { model, signal, name, stages: [], note: "" }); // note: what a button did
    this.kept = Object.keys(model.get("given")); // traits that undo, redo and reset are about
    this.history = new History(this.state);
    this.root = createRoot(host, { label, signal, themed: () => this.refresh() });
    this.root.classList.add(`m-${name}`);
    append(this.root, "style", "", style);
  }

  // The end of a constructor: the view hears keys and the model from here on. `shown`: traits beside the kept.
  start(stages, shown = []) {
    this.stages = stages;
    const key = (event) => {
      if (!this.rootKey(event)) return;
      event.preventDefault();
      event.stopPropagation(); // also with Control
    };
    this.root.addEventListener("keydown", key, { signal: this.signal });
    const heard = () => this.changing || this.replaced();
    listen(this.model, Object.fromEntries([...this.kept, ...shown].map((name) => [name, heard])), this.signal);
    this.refresh();
  }

  get state() { return Object.fromEntries(this.kept.map((name) => [name, this.model.get(name)])); }
  get said() { return this.status.textContent; }

  refresh() {
    if (!this.stages.length) return;
    this.show();
    if (this.undo) this.undo.disabled = !this.history.can(-1);
    if (this.redo) this.redo.disabled = !this.history.can(1);
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
    if (last) this.speak();
    return true;
  }

  // Something changed, by this view, by Python or in another view.
  replaced({ last = true } = {}) {
    this.note = "";
    if (last && !this.grip) this.history.record(this.state);
    this.refresh();
  }

  travel(by) {
    if (!this.history.can(by)) return;
    this.change(this.history.step(by));
    // a button that is disabled now would keep the keys
    if (document.activeElement?.disabled) this.stages[0].canvas.focus({ preventScroll: true });
  }

  reset() { this.change(this.model.get("given")); }

  save() { savePicture(this.root, `${this.name}.png`); }

  async copy() {
    const done = await copyText(this.python);
    this.say(done ? "Copied: a call that makes this explorer." : "The browser does not let this page copy.");
  }

  speak(words = this.said) { this.spoken.textContent = words; }

  say(note) {
    this.note = note;
    this.refresh();
    this.speak();
  }

  rootKey(event) {
    const by = undoKey(event);
    const act = { r: "reset", c: "copy", s: "save" }[event.key.toLowerCase()];
    if (by) this.travel(by);
    else if (act && !(event.ctrlKey || event.altKey || event.metaKey)) this[act]();
    else return false;
    return true;
  }

  // ---- elements

  // The help, and what is read aloud.
  buildHelp(parent, help) {
    append(parent, "div", "m-help m-muted", help);
    this.spoken = append(parent, "div", "m-unseen");
    this.spoken.setAttribute("role", "status");
  }

  buildActs(line) {
    const act = (string, what, title) => button(line, string, what, { signal: this.signal, title });
    this.undo = act("Undo", () => this.travel(-1), "Ctrl+Z");
    this.redo = act("Redo", () => this.travel(1), "Ctrl+Shift+Z");
    act("Reset", () => this.reset(), "R: back to the beginning");
    act("Copy as Python", () => this.copy(), "C");
    act("Save PNG", () => this.save(), "S");
  }

  // Buttons for what is before and after, and what is chosen: last, so that they stay where they are.
  stepper(parent, name, step) {
    const group = append(parent, "div", "m-choice");
    append(group, "span", "m-muted", name);
    for (const [sign, by, word] of [["‹", -1, "previous"], ["›", 1, "next"]]) {
      button(group, sign, () => step(by), { signal: this.signal, label: `${word} ${name}` });
    }
    return append(group, "span", "m-value");
  }

  // A button for each choice of a trait.
  toggle(parent, name, choices, say = String) {
    return choices.map((choice) =>
      button(parent, say(choice), () => this.change({ [name]: choice }), { signal: this.signal }));
  }
}

// Which of some buttons is pressed.
export const press = (buttons, at) =>
  buttons.forEach((each, k) => each.setAttribute("aria-pressed", String(k === at)));

// A view of things in the plane, the trait `list`, of which one may be `selected`. Its class has `grip`, what
// the pointer holds, with `ours`, the list as this view put it; `add`, `remove`, `nudge(event, arrow)`.
export class ListView extends View {
  constructor(model, host, signal, { list, ...words }) {
    super(model, host, signal, words);
    this.list = list;
    this.grip = null;
    this.free = false; // Escape: the next Tab leaves the canvas
  }

  get items() { return this.model.get(this.list); }
  get selected() { return this.model.get("selected") < this.items.length ? this.model.get("selected") : -1; }

  refresh() {
    if (this.delete) this.delete.disabled = this.selected < 0;
    super.refresh();
  }

  // What is selected is one of the things that there are.
  change(values, options) {
    const last = (values[this.list] ?? this.items).length - 1;
    return super.change({ ...values, selected: Math.min(values.selected ?? this.selected, last) }, options);
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

  drop() {
    this.grip = null;
    this.change({});
  }

  select(i) {
    this.note = "";
    if (i === this.selected) this.refresh();
    else this.change({ selected: i });
  }

  key(event) {
    const { selected, items } = this;
    const arrow = arrowOf(event.key);
    if (event.key === "Tab") return this.tab(event.shiftKey ? -1 : 1);
    this.free = false;
    if (arrow && selected >= 0) return this.nudge(event, arrow);
    if (event.ctrlKey || event.altKey || event.metaKey) return false;
    if ("[]".includes(event.key) && items.length) {
      this.select(around(event.key === "]" ? selected + 1 : Math.max(selected, 0) - 1, items.length));
    } else if (event.key.toLowerCase() === "n") this.add();
    else if (["Delete", "Backspace"].includes(event.key) && selected >= 0) this.remove();
    else if (event.key === "Escape") {
      this.free = true;
      this.select(-1);
    } else return false;
    return true;
  }

  // Tab goes through the things and then on along the page: nobody is shut in.
  tab(step) {
    const next = this.selected + (this.selected < 0 && step < 0 ? 0 : step);
    if (this.free || next < 0 || next >= this.items.length) return false;
    this.select(next);
    return true;
  }

  // Below the canvas: buttons, the status, the help.
  buildWords(parent, thing, help) {
    const line = append(parent, "div", "m-line");
    button(line, `Add ${thing}`, () => this.add(), { signal: this.signal, title: "N" });
    this.delete = button(line, `Delete ${thing}`, () => this.remove(),
      { signal: this.signal, title: `the selected ${thing}; Delete` });
    this.buildActs(line);
    this.status = append(parent, "div", "m-status");
    this.buildHelp(parent, help);
  }
}
