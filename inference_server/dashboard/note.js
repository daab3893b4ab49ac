// BoardNotes   the form for the board's note and decision, and the notes of a case before it
// draftOf()    what was written for a case and not saved; null where there is nothing
// anyDraft()   whether there is such text for any case
//
// What is written stays in sessionStorage until it is saved: it survives a reload and a new log-in, and ends with the
// tab.

import { casePath } from "./api.js";
import { NOTE_LIMITS } from "./contract.js";
import { announce, focusOn, h, icon, when } from "./element.js";
import { words } from "./words.js";

const DRAFT = "lungxai.note.";
const AUTHOR = "lungxai.author";
const FIELDS = Object.keys(NOTE_LIMITS);

export function draftOf(id) {
  const kept = sessionStorage.getItem(DRAFT + id);
  return kept === null ? null : JSON.parse(kept);
}

export function anyDraft() {
  return Object.keys(sessionStorage).some((key) => key.startsWith(DRAFT));
}

export function forgetDraft(id) {
  sessionStorage.removeItem(DRAFT + id);
}

export class BoardNotes {
  #api;
  #id;
  #notes = [];
  #results = "";
  #signature = "";
  #inputs;
  #save = h("button", { class: "first" }, words.saveNote);
  #state = h("p", { class: "soft", role: "status" });
  #problem = h("p", { class: "problem", role: "alert", hidden: true });
  #history = h("ol", { class: "plain notes" });
  #none = h("p", { class: "soft", hidden: true }, words.noNotes);
  element;

  constructor(api, id) {
    this.#api = api;
    this.#id = id;
    const on = { input: () => this.#keep() };
    const field = (name, tag, extra = {}) =>
      h(tag, { id: `note-${name}`, maxlength: NOTE_LIMITS[name], autocomplete: "off", on, ...extra });
    this.#inputs = {
      decision: field("decision", "input"),
      text: field("text", "textarea", { rows: 5, "aria-describedby": "note-help" }),
      author: field("author", "input"),
    };
    const kept = draftOf(id);
    for (const name of FIELDS) this.#inputs[name].value = kept?.[name] ?? "";
    this.#inputs.author.value ||= sessionStorage.getItem(AUTHOR) ?? "";
    // Enter in one of the lines goes on to the next field: it would send a note that cannot be taken back.
    this.#onEnter(this.#inputs.decision, this.#inputs.text);
    this.#onEnter(this.#inputs.author, this.#save);
    const labelled = (name) => [h("label", { for: `note-${name}` }, words.note[name]), this.#inputs[name]];
    const submit = (event) => {
      event.preventDefault();
      this.#send();
    };
    this.element = h(
      "section",
      { class: "card", "aria-labelledby": "notes" },
      h("h2", { id: "notes" }, words.boardNote),
      h(
        "form",
        { on: { submit }, novalidate: true },
        ["decision", "text", "author"].map(labelled),
        h("p", { id: "note-help", class: "soft" }, words.noteHelp),
        this.#problem,
        h("div", { class: "row" }, this.#save, this.#state),
      ),
      h("h3", {}, words.history),
      this.#none,
      this.#history,
    );
    this.#tellState();
  }

  async load() {
    const { notes } = await this.#api.json("GET", casePath(this.#id, "notes"));
    this.#notes = notes;
    this.#draw();
  }

  /** @param {string} results  names the results that the case holds now; "" where the server does not say */
  about(results) {
    this.#results = results;
    this.#draw();
  }

  #onEnter(input, next) {
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      next.focus();
    });
  }

  #written() {
    return Object.fromEntries(FIELDS.map((name) => [name, this.#inputs[name].value]));
  }

  get #unsaved() {
    const { text, decision } = this.#written();
    return Boolean(text.trim() || decision.trim());
  }

  #keep() {
    sessionStorage.setItem(AUTHOR, this.#inputs.author.value);
    if (this.#unsaved) sessionStorage.setItem(DRAFT + this.#id, JSON.stringify(this.#written()));
    else forgetDraft(this.#id);
    this.#tellState();
  }

  #tellState() {
    const text = this.#unsaved ? words.unsaved : "";
    if (this.#state.textContent !== text) this.#state.textContent = text;
  }

  async #send() {
    if (this.#save.getAttribute("aria-disabled")) return;
    this.#save.setAttribute("aria-disabled", "true");
    this.#problem.hidden = true;
    const sent = this.#written();
    try {
      if (!this.#unsaved) throw { message: words.emptyNote, remedy: "" };
      this.#notes = [...this.#notes, await this.#api.json("POST", casePath(this.#id, "notes"), sent)];
      // What was typed while it was being saved is not lost.
      for (const name of ["text", "decision"])
        if (this.#inputs[name].value === sent[name]) this.#inputs[name].value = "";
      this.#keep();
      this.#draw();
      announce(words.noteSaved);
      focusOn(this.#history.firstElementChild);
    } catch (fault) {
      this.#problem.replaceChildren(icon("failed"), ` ${fault.message} ${fault.remedy ?? ""}`);
      this.#problem.hidden = false;
      if (fault.status !== 401) this.#inputs.text.focus();
    } finally {
      this.#save.removeAttribute("aria-disabled");
    }
  }

  #draw() {
    const signature = JSON.stringify([this.#notes, this.#results]);
    if (signature === this.#signature) return;
    this.#signature = signature;
    this.#none.hidden = this.#notes.length > 0;
    this.#history.replaceChildren(...this.#notes.map((note) => this.#entry(note)).reverse());
  }

  #entry(note) {
    const earlier = this.#results && note.about && note.about !== this.#results;
    return h(
      "li",
      { class: "note" },
      note.decision && h("p", { class: "decision" }, note.decision),
      note.text && h("p", { class: "written" }, note.text),
      h("p", { class: "soft" }, note.author || words.noAuthor, ", ", when(note.created)),
      earlier && h("p", { class: "soft" }, icon("waiting"), ` ${words.aboutEarlier}`),
    );
  }
}
