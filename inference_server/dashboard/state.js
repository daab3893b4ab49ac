// The state of a modality in a picture and words; the picture never says what the words do not.
//
// statesOf()   the four states of a case
// newest()     the job of each modality that says where it stands
// stateMark()  one state as an element

import { h, icon } from "./element.js";
import { words } from "./words.js";

/**
 * @param {Object} held  what the server says of a case: radiology, pathology, clinical, fusion as booleans
 * @param {Object} jobs  modality to its newest job; one that is done may be left out
 * @returns {Object} radiology, pathology, clinical, fusion to {name, text}; name is the icon's
 */
export function statesOf(held, jobs) {
  return {
    radiology: worked(held.radiology, jobs.radiology),
    pathology: worked(held.pathology, jobs.pathology),
    clinical: held.clinical ? { name: "done", text: words.given } : { name: "none", text: words.none },
    fusion: held.fusion ? { name: "done", text: words.done } : { name: "none", text: words.none },
  };
}

function worked(held, job) {
  switch (job?.state) {
    case "running":
      return { name: "running", text: words.running(percentOf(job.fraction)) };
    case "queued":
      return { name: "waiting", text: words.waiting };
    case "failed":
      return { name: "failed", text: held ? words.failedAgain : words.failed };
    case "cancelled":
      if (!held) return { name: "stopped", text: words.stopped };
  }
  return held ? { name: "done", text: words.done } : { name: "none", text: words.none };
}

/**
 * Modality to the job that runs, else to the newest.
 * @param {Object[]} jobs  in the order they came
 */
export function newest(jobs) {
  const order = [...jobs.filter((job) => job.state !== "running"), ...jobs.filter((job) => job.state === "running")];
  return Object.fromEntries(order.map((job) => [job.kind, job]));
}

export function ended(job) {
  return !["queued", "running"].includes(job.state);
}

/** Whole percent that have passed: 100 only where it is all. */
export function percentOf(fraction) {
  return Math.floor(100 * fraction);
}

export function stateMark({ name, text }) {
  return h("span", { class: `state ${name}` }, icon(name), h("span", {}, text));
}
