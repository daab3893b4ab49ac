// follow(): a job's progress as the server tells of it, until it ends.
//
// The server's events are read through fetch, since EventSource sends no token. Where the stream breaks off or a proxy
// holds it back, the job is asked for instead.

import { ended } from "./state.js";

const SILENCE_MS = 10_000; // the server says something twice a second
const PAUSE_MS = 1_000;

/**
 * @param {Api} api
 * @param {string} jobId
 * @param {(job: Object) => void} moved  called with each progress
 * @param {AbortSignal} signal  ends it
 */
export async function follow(api, jobId, moved, signal) {
  const path = `/v1/jobs/${encodeURIComponent(jobId)}`;
  while (!signal.aborted) {
    try {
      const answer = await api.stream(`${path}/events`, signal);
      for await (const job of events(answer.body)) {
        if (signal.aborted) return;
        moved(job);
        if (ended(job)) return;
      }
    } catch {
      // asked for below
    }
    try {
      if (signal.aborted) return;
      const job = await api.json("GET", path);
      if (signal.aborted) return;
      moved(job);
      if (ended(job)) return;
    } catch (fault) {
      if (fault.status === 401 || fault.status === 404) return;
    }
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
}

/** The objects of a stream of server-sent events; its comments only say that it is alive. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await inTime(reader.read());
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const data = block
          .split("\n")
          .filter((line) => line.startsWith("data:"))
          .map((line) => line.slice(5));
        if (data.length) yield JSON.parse(data.join("\n"));
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function inTime(reading) {
  let timer;
  const late = new Promise((_, refuse) => {
    timer = setTimeout(() => refuse(new Error("silence")), SILENCE_MS);
  });
  return Promise.race([reading, late]).finally(() => clearTimeout(timer));
}
