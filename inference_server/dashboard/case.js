// CaseView: one case, its jobs, its results, its report, the board's notes, and its end.

import { casePath } from "./api.js";
import { ask } from "./dialog.js";
import { announce, h, icon, when } from "./element.js";
import { JobList } from "./jobs.js";
import { BoardNotes, forgetDraft } from "./note.js";
import { Poll } from "./poll.js";
import { ReportLinks } from "./report.js";
import { Results } from "./results.js";
import { ended, newest, stateMark, statesOf } from "./state.js";
import { words } from "./words.js";

const ACTIVE_MS = 2_000;
const QUIET_MS = 5_000;
const NOTES_EVERY = 4; // others may write too, seldom

export class CaseView {
  title;
  heading;
  element;
  #api;
  #id;
  #active = false;
  #shown = "";
  #rounds = 0;
  #about = h("p", { class: "soft row", role: "status" }, words.loading);
  #states = h("dl", { class: "states" });
  #problem = h("div", { class: "problem", role: "alert", hidden: true });
  #body = h("div", { class: "columns", hidden: true });
  #jobs;
  #report;
  #results;
  #notes;
  #poll = new Poll(
    () => this.#load(),
    () => (this.#active ? ACTIVE_MS : QUIET_MS),
  );

  constructor(api, id) {
    this.#api = api;
    this.#id = id;
    this.title = words.caseTitle(id);
    this.heading = h("h1", {}, this.title);
    this.#jobs = new JobList(api, () => this.again());
    this.#report = new ReportLinks(api, id);
    this.#results = new Results(api, id, () => this.again());
    this.#notes = new BoardNotes(api, id);
    this.#body.append(
      h("div", {}, this.#jobs.element, this.#results.element),
      h(
        "div",
        {},
        h(
          "section",
          { class: "card", "aria-labelledby": "report" },
          h("h2", { id: "report" }, words.report),
          this.#report.element,
        ),
        this.#notes.element,
        h(
          "section",
          { class: "card", "aria-labelledby": "delete" },
          h("h2", { id: "delete" }, words.deleteTitle),
          h("p", { class: "soft" }, words.deleteHelp),
          h("button", { type: "button", class: "danger", on: { click: () => this.#delete() } }, words.deleteCase),
        ),
      ),
    );
    this.element = h(
      "main",
      { id: "main" },
      h("p", {}, h("a", { href: "#" }, words.backToCases)),
      this.heading,
      this.#about,
      this.#problem,
      this.#states,
      this.#body,
    );
  }

  focus() {
    return this.heading;
  }

  start() {
    return this.#poll.start();
  }

  stop() {
    this.#poll.stop();
    this.#jobs.stop();
  }

  again() {
    return this.#poll.now();
  }

  async #load() {
    let found;
    try {
      found = await this.#api.json("GET", casePath(this.#id));
    } catch (fault) {
      if (fault.status !== 401 && fault.status !== 0) this.#gone(fault);
      throw fault;
    }
    const jobs = found.jobs ?? [];
    this.#active = jobs.some((job) => !ended(job));
    this.#head(found, newest(jobs));
    this.#jobs.update(jobs);
    this.#report.update(found);
    // Also where the server does not name its results: what there is, and which jobs have made it.
    const made = jobs.filter((job) => job.state === "done").map((job) => job.job_id);
    const signature = JSON.stringify([found.about, found.fusion, found.clinical, found.heatmaps, made]);
    if (signature !== this.#shown) {
      await this.#results.load(found);
      this.#shown = signature;
    }
    this.#notes.about(found.about ?? "");
    if (this.#rounds++ % NOTES_EVERY === 0) await this.#notes.load();
    this.#body.hidden = false;
    this.#problem.hidden = true;
  }

  #head(found, jobs) {
    this.#about.replaceChildren(h("span", {}, words.made, " ", when(found.created)));
    if (found.synthetic) this.#about.append(h("span", { class: "badge" }, words.syntheticCase));
    const states = statesOf(found, jobs);
    const text = JSON.stringify(states);
    if (this.#states.dataset.shown === text) return;
    this.#states.dataset.shown = text;
    this.#states.replaceChildren(
      ...Object.entries(states).map(([name, state]) =>
        h("div", {}, h("dt", {}, words.columns[name]), h("dd", {}, stateMark(state))),
      ),
    );
  }

  /** The case cannot be shown: it was deleted, or its name is none. */
  #gone(fault) {
    this.#about.textContent = "";
    this.#problem.replaceChildren(h("p", {}, icon("failed"), ` ${fault.message}`), h("p", {}, fault.remedy ?? ""));
    this.#problem.hidden = false;
    if (fault.status === 404) this.stop();
  }

  async #delete() {
    const sure = await ask({
      title: words.deleteQuestion(this.#id),
      text: words.deleteText,
      confirm: words.deleteSure,
      typed: this.#id,
    });
    if (!sure) return;
    try {
      await this.#api.json("DELETE", casePath(this.#id));
    } catch (fault) {
      this.#gone(fault);
      return;
    }
    forgetDraft(this.#id);
    location.hash = "";
    announce(words.deleted(this.#id));
  }
}
