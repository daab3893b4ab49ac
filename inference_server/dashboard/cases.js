// CaseList: every case, newest first, with the state of each modality, PAGE of them at a time; it stays current.

import { h, icon, when } from "./element.js";
import { draftOf } from "./note.js";
import { Poll } from "./poll.js";
import { ended, newest, stateMark, statesOf } from "./state.js";
import { words } from "./words.js";

const PAGE = 25;
const MANY = 1000; // so many cases are asked for less often
const COLUMNS = ["case", "made", "radiology", "pathology", "clinical", "fusion"];

export class CaseList {
  title = words.cases;
  heading = h("h1", {}, words.cases);
  #api;
  #cases = null;
  #jobs = new Map(); // case to its jobs by modality
  #active = false;
  #first = 0;
  #rows = new Map();
  #left = "";
  #poll = new Poll(
    () => this.#load(),
    () => this.#period(),
  );
  #filter = h("input", {
    id: "filter",
    type: "search",
    autocomplete: "off",
    spellcheck: "false",
    on: { input: () => this.#filtered() },
  });
  #count = h("p", { class: "soft", role: "status" }, words.loading);
  #body = h("tbody", { role: "rowgroup" });
  #table = h(
    "table",
    { class: "cases", role: "table", "aria-label": words.cases, hidden: true },
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        COLUMNS.map((name) => h("th", { role: "columnheader", scope: "col" }, words.columns[name])),
      ),
    ),
    this.#body,
  );
  #empty = h(
    "div",
    { class: "card", hidden: true },
    h("p", {}, words.noCases),
    h("p", { class: "soft" }, words.noCasesHelp),
  );
  #earlier = h("button", { type: "button", on: { click: () => this.#turn(-PAGE) } }, words.newer);
  #later = h("button", { type: "button", on: { click: () => this.#turn(PAGE) } }, words.older);
  #pager = h("nav", { class: "row pager", "aria-label": words.pages, hidden: true }, this.#earlier, this.#later);
  element = h(
    "main",
    { id: "main" },
    h(
      "div",
      { class: "row spread" },
      this.heading,
      h("div", { class: "row filter" }, h("label", { for: "filter" }, words.filter), this.#filter),
    ),
    this.#count,
    this.#empty,
    h("div", { class: "card flush" }, this.#table),
    this.#pager,
  );

  constructor(api) {
    this.#api = api;
  }

  start() {
    return this.#poll.start();
  }

  stop() {
    this.#poll.stop();
  }

  /** Ask again at once, after the token was given anew. */
  again() {
    return this.#poll.now();
  }

  /** Where the focus goes when this view comes: the case that was open, or the heading. */
  focus() {
    return this.#rows.get(this.#left)?.link ?? this.heading;
  }

  /** Remember the case that is being opened. */
  leftFor(id) {
    this.#left = id;
  }

  #period() {
    const many = this.#cases?.length > MANY;
    if (this.#active) return many ? 5_000 : 2_000;
    return many ? 15_000 : 5_000;
  }

  async #load() {
    const { cases, jobs = [] } = await this.#api.json("GET", "/v1/cases").catch((fault) => this.#failed(fault));
    this.#cases = cases;
    this.#active = jobs.some((job) => !ended(job));
    const byCase = Map.groupBy(jobs, (job) => job.case_id);
    this.#jobs = new Map([...byCase].map(([id, own]) => [id, newest(own)]));
    this.#draw();
  }

  /** What the page around does not tell of: the server answers, but not with the cases. */
  #failed(fault) {
    if (fault.status && fault.status !== 401) this.#count.textContent = `${fault.message} ${fault.remedy}`;
    throw fault;
  }

  #filtered() {
    this.#first = 0;
    this.#draw();
  }

  #turn(step) {
    this.#first += step;
    this.#draw();
    // A button that can no longer be pressed would take the focus with it.
    if (document.activeElement === document.body) (this.#earlier.disabled ? this.#later : this.#earlier).focus();
    this.#table.scrollIntoView({ block: "nearest" });
  }

  #draw() {
    if (this.#cases === null) return;
    const wanted = this.#filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const found = wanted.length ? this.#cases.filter((entry) => this.#matches(entry, wanted)) : this.#cases;
    this.#first = Math.max(0, Math.min(this.#first, PAGE * Math.floor((found.length - 1) / PAGE)));
    const shown = found.slice(this.#first, this.#first + PAGE);
    const rows = shown.map((entry) => this.#row(entry));
    const focused = document.activeElement;
    if (rows.length !== this.#body.children.length || rows.some((row, i) => row !== this.#body.children[i])) {
      this.#body.replaceChildren(...rows);
      if (focused !== document.activeElement && this.#body.contains(focused)) focused.focus();
    }
    const ids = new Set(shown.map((entry) => entry.case_id));
    for (const id of this.#rows.keys()) if (!ids.has(id)) this.#rows.delete(id);
    this.#table.hidden = !shown.length;
    this.#empty.hidden = this.#cases.length > 0;
    this.#pager.hidden = found.length <= PAGE;
    this.#earlier.disabled = this.#first === 0;
    this.#later.disabled = this.#first + PAGE >= found.length;
    const text = words.shown(this.#first + 1, this.#first + shown.length, found.length, this.#cases.length);
    if (this.#count.textContent !== text) this.#count.textContent = text;
  }

  #matches(entry, wanted) {
    const states = Object.entries(statesOf(entry, this.#jobs.get(entry.case_id) ?? {}));
    const said = states.map(([name, state]) => `${words.columns[name]} ${state.text}`);
    const text = [entry.case_id, entry.synthetic ? words.synthetic : "", ...said].join(" ").toLowerCase();
    return wanted.every((part) => text.includes(part));
  }

  /** The row of a case: the same element as long as it is shown, so that the focus stays where it is. */
  #row(entry) {
    const id = entry.case_id;
    if (!this.#rows.has(id)) this.#rows.set(id, newRow(entry));
    const row = this.#rows.get(id);
    const states = statesOf(entry, this.#jobs.get(id) ?? {});
    const unsaved = draftOf(id) !== null;
    const signature = JSON.stringify([states, unsaved]);
    if (row.signature !== signature) {
      row.signature = signature;
      row.unsaved.hidden = !unsaved;
      for (const [name, state] of Object.entries(states)) row.cells[name].replaceChildren(stateMark(state));
    }
    return row.element;
  }
}

function newRow(entry) {
  const link = h("a", { href: `#case=${encodeURIComponent(entry.case_id)}` }, entry.case_id);
  const unsaved = h("span", { class: "badge" }, icon("failed"), words.unsavedNote);
  const cell = (name) => h("td", { role: "cell", "data-label": words.columns[name] });
  const cells = Object.fromEntries(["radiology", "pathology", "clinical", "fusion"].map((name) => [name, cell(name)]));
  const made = cell("made");
  made.append(when(entry.created));
  const element = h(
    "tr",
    { role: "row" },
    h(
      "th",
      { role: "rowheader", scope: "row" },
      link,
      entry.synthetic && [" ", h("span", { class: "badge" }, words.synthetic)],
      " ",
      unsaved,
    ),
    made,
    Object.values(cells),
  );
  return { element, link, unsaved, cells, signature: "" };
}
