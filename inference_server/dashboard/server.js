// ServerStatus: whether the server answers and its models are ready, in one line, and what is wrong in a box.

import { h, icon } from "./element.js";
import { Poll } from "./poll.js";
import { words } from "./words.js";

const QUIET_MS = 30_000;
const LOADING_MS = 2_000;

export class ServerStatus {
  /** For the page's foot. */
  line = h("p", { class: "soft" });
  /** For the top of every view. */
  box = h("div", { class: "problem", role: "status", hidden: true });
  #api;
  #ready = false;
  #away = null;
  #info = null;
  #said = "";
  #poll = new Poll(
    () => this.#load(),
    () => (this.#ready ? QUIET_MS : LOADING_MS),
  );

  constructor(api) {
    this.#api = api;
  }

  start() {
    this.#poll.start();
  }

  stop() {
    this.#poll.stop();
  }

  /** @param {Fault|null} fault  the server does not answer; null where it does */
  away(fault) {
    this.#away = fault;
    this.#draw();
  }

  async #load() {
    this.#info = await this.#api.json("GET", "/v1/info");
    this.#ready = this.#info.ready;
    this.#draw();
  }

  #draw() {
    const { ready, device, version, problems = {} } = this.#info ?? {};
    const wrong = this.#away ? [this.#away] : Object.values(problems);
    if (!wrong.length && this.#info && !ready)
      wrong.push({ message: words.loadingModels, remedy: words.loadingRemedy });
    const said = JSON.stringify(wrong.map((fault) => [fault.message, fault.remedy]));
    if (said !== this.#said) {
      this.#said = said;
      this.box.hidden = !wrong.length;
      this.box.replaceChildren(
        ...wrong.map((fault) => h("p", {}, icon("failed"), ` ${fault.message} ${fault.remedy ?? ""}`)),
      );
    }
    if (this.#info) this.line.textContent = words.server(version, device);
  }
}
