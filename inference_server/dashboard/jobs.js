// JobList: the jobs of one case with progress, time left, what went wrong, and a way to stop them.

import { follow } from "./job_events.js";
import { ask } from "./dialog.js";
import { announce, focusOn, h, icon } from "./element.js";
import { ended, newest, percentOf } from "./state.js";
import { words } from "./words.js";

const FOLLOWED = 2; // a browser opens six connections to a server; the rest is for everything else
const EARLIER = 20;
const MARKS = { queued: "waiting", running: "running", done: "done", failed: "failed", cancelled: "stopped" };

export class JobList {
  #api;
  #ended;
  #cards = new Map();
  #following = new Map();
  #current = h("ul", { class: "plain jobs" });
  #earlier = h("ul", { class: "plain" });
  #details = h("details", { hidden: true }, h("summary", {}, words.earlierJobs), this.#earlier);
  #none = h("p", { class: "soft" }, words.noJobs);
  element = h(
    "section",
    { class: "card", "aria-labelledby": "jobs" },
    h("h2", { id: "jobs" }, words.jobs),
    this.#none,
    this.#current,
    this.#details,
  );

  /** @param {() => void} over  called when a job has ended */
  constructor(api, over) {
    this.#api = api;
    this.#ended = over;
  }

  stop() {
    for (const following of this.#following.values()) following.abort();
    this.#following.clear();
  }

  /** @param {Object[]} jobs  of the case, in the order they came */
  update(jobs) {
    const last = Object.values(newest(jobs));
    const current = jobs.filter((job) => !ended(job) || (job.state !== "done" && last.includes(job)));
    for (const job of jobs) if (current.includes(job) || this.#cards.has(job.job_id)) this.#move(job);
    for (const [id, card] of this.#cards) {
      if (current.some((job) => job.job_id === id)) continue;
      this.#remove(id, card);
    }
    this.#none.hidden = current.length > 0;
    this.#none.textContent = jobs.length ? words.noneRunning : words.noJobs;
    const earlier = jobs
      .filter((job) => !current.includes(job))
      .slice(-EARLIER)
      .reverse();
    this.#details.hidden = !earlier.length;
    this.#earlier.replaceChildren(...earlier.map(line));
    for (const job of current.filter((one) => !ended(one)).slice(0, FOLLOWED)) this.#follow(job.job_id);
  }

  #follow(id) {
    if (this.#following.has(id)) return;
    const abort = new AbortController();
    this.#following.set(id, abort);
    follow(this.#api, id, (job) => this.#move(job), abort.signal).finally(() => this.#following.delete(id));
  }

  #move(job) {
    let card = this.#cards.get(job.job_id);
    if (!card) {
      card = new JobCard(job, () => this.#cancel(job));
      this.#cards.set(job.job_id, card);
      this.#current.append(card.element);
      this.#none.hidden = true;
    }
    if (card.move(job)) this.#ended();
  }

  #remove(id, card) {
    const focused = card.element.contains(document.activeElement);
    card.element.remove();
    this.#cards.delete(id);
    if (focused) focusOn(this.element.querySelector("h2"));
  }

  async #cancel(job) {
    const kind = words.kinds[job.kind];
    const sure = await ask({
      title: words.cancelTitle(kind),
      text: words.cancelText,
      confirm: words.cancelSure,
      keep: words.cancelKeep,
    });
    if (!sure) return;
    try {
      this.#move(await this.#api.json("DELETE", `/v1/jobs/${encodeURIComponent(job.job_id)}`));
    } catch (fault) {
      this.#cards.get(job.job_id)?.say(`${fault.message} ${fault.remedy ?? ""}`);
    }
  }
}

class JobCard {
  #job = null;
  #begun = null; // when, and with which fraction, it was first seen running
  #spoken = -1;
  #title = h("h3", {});
  #stage = h("p", { class: "soft" });
  #bar = h("progress", { max: 1 });
  #problem = h("div", { class: "problem", hidden: true });
  #button;
  element;

  constructor(job, cancel) {
    const kind = words.kinds[job.kind] ?? job.kind;
    this.#bar.setAttribute("aria-label", words.progressOf(kind));
    this.#button = h(
      "button",
      { type: "button", "aria-label": words.cancelJob(kind), on: { click: cancel } },
      words.cancel,
    );
    this.element = h(
      "li",
      { class: "job" },
      h("div", { class: "row spread" }, this.#title, this.#button),
      this.#bar,
      this.#stage,
      this.#problem,
    );
  }

  /** Show a progress; true where the job has just ended. */
  move(job) {
    const before = this.#job;
    if (before && ended(before) && !ended(job)) return false; // an answer that was overtaken
    this.#job = job;
    const kind = words.kinds[job.kind] ?? job.kind;
    const over = ended(job);
    if (job.state === "running") this.#begun ??= { at: performance.now(), fraction: job.fraction };
    else this.#begun = null;
    this.#title.replaceChildren(icon(MARKS[job.state]), ` ${kind}: ${words.jobStates[job.state]}`);
    this.#stage.textContent = over ? "" : [this.#where(job), this.#left(job)].filter(Boolean).join(", ");
    this.#bar.hidden = over;
    if (over && this.#button === document.activeElement) focusOn(this.#title);
    this.#button.hidden = over;
    if (job.state === "running") this.#bar.value = job.fraction;
    else this.#bar.removeAttribute("value");
    if (job.error) this.say(job.error.message, job.error.remedy);
    this.#speak(before, job, kind);
    return over && before !== null && !ended(before);
  }

  say(message, remedy = "") {
    this.#problem.replaceChildren(h("p", {}, icon("failed"), ` ${message}`), remedy && h("p", {}, remedy));
    this.#problem.hidden = false;
  }

  #where(job) {
    if (job.state === "queued") return words.queued(job.queue_position);
    return `${words.percent(percentOf(job.fraction))}, ${job.stage}`;
  }

  /** From what was seen of it: the server does not say when it began. */
  #left(job) {
    if (!this.#begun) return "";
    const spent = (performance.now() - this.#begun.at) / 1000;
    const share = job.fraction - this.#begun.fraction;
    return share < 0.03 || spent < 1 ? "" : words.timeLeft((spent * (1 - job.fraction)) / share);
  }

  /** Each change of state, and each quarter: a screen reader would not keep up with more. */
  #speak(before, job, kind) {
    const quarter = job.state === "running" ? Math.floor(4 * job.fraction) : -1;
    const changed = before !== null && before.state !== job.state;
    if (changed && ended(job))
      announce([words.said(kind, words.jobStates[job.state]), job.error?.message].filter(Boolean).join(" "));
    else if (changed) announce(words.said(kind, words.jobStates[job.state]));
    else if (before && quarter > this.#spoken) announce(words.said(kind, words.percent(25 * quarter)));
    this.#spoken = quarter;
  }
}

/** A job that is over, in one line. */
function line(job) {
  const kind = words.kinds[job.kind] ?? job.kind;
  return h(
    "li",
    {},
    icon(MARKS[job.state]),
    ` ${kind}: ${words.jobStates[job.state]}`,
    job.error && `. ${job.error.message}`,
  );
}
