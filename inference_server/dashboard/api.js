// The API as this page needs it. Every request carries the token and the protocol, and goes to this server only.
//
// Fault   what the server said, or why it could not be reached: a message and a remedy, both for the reader
// Api     json(), text(), blob(), stream(); onFault is told of 401 and of a server that does not answer

import { PROTOCOL, PROTOCOL_HEADER } from "./contract.js";
import { words } from "./words.js";

const PATIENCE_MS = 30_000;
const PDF_PATIENCE_MS = 180_000; // it is laid out before its first byte comes

export class Fault extends Error {
  /** @param {number} status of HTTP; 0 where the server did not answer */
  constructor(status, message, remedy, code = "") {
    super(message);
    Object.assign(this, { status, remedy, code });
  }
}

export function casePath(id, part = "") {
  return `/v1/cases/${encodeURIComponent(id)}${part && "/" + part}`;
}

export class Api {
  token = "";
  /** Called with each Fault of status 401 or 0, and with null when the server answers. */
  onFault = () => {};

  async json(method, path, body) {
    return (await this.#answered(method, path, { body })).json();
  }

  async text(path) {
    return (await this.#answered("GET", path, { patience: PDF_PATIENCE_MS })).text();
  }

  async blob(path) {
    return (await this.#answered("GET", path, { patience: PDF_PATIENCE_MS })).blob();
  }

  /** An answer whose body comes piece by piece; `signal` ends it. */
  stream(path, signal) {
    return this.#answered("GET", path, { signal, patience: 0 });
  }

  async #answered(method, path, { body, signal, patience = PATIENCE_MS }) {
    const headers = { Authorization: `Bearer ${this.token}`, [PROTOCOL_HEADER]: PROTOCOL };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const signals = [signal, patience && AbortSignal.timeout(patience)].filter(Boolean);
    const asked = { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.any(signals) };
    let answer;
    try {
      answer = await fetch(path, { ...asked, redirect: "error", credentials: "omit", cache: "no-store" });
    } catch (fault) {
      if (signal?.aborted) throw fault;
      const late = fault.name === "TimeoutError";
      throw this.#told(new Fault(0, late ? words.tooSlow : words.noAnswer, words.noAnswerRemedy));
    }
    this.onFault(null);
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    throw this.#told(new Fault(answer.status, said.message ?? words.strange, said.remedy ?? "", said.code));
  }

  #told(fault) {
    if (fault.status === 401 || fault.status === 0) this.onFault(fault);
    return fault;
  }
}
