// Poll: a task again and again, the next one a while after the last has ended; not while the tab is out of sight.

export class Poll {
  #task;
  #period;
  #timer = null;
  #running = null;
  #stopped = true;
  #failures = 0;
  #seen = () => document.hidden || this.#stopped || this.now();

  /**
   * @param {() => Promise<void>} task  what it throws makes the next one come later, up to half a minute
   * @param {() => number} period  milliseconds until the next
   */
  constructor(task, period) {
    this.#task = task;
    this.#period = period;
  }

  start() {
    this.#stopped = false;
    document.addEventListener("visibilitychange", this.#seen);
    return this.now();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#seen);
  }

  /** The task at once; with one that runs already, after it. */
  async now() {
    clearTimeout(this.#timer);
    while (this.#running) await this.#running;
    if (this.#stopped) return;
    this.#running = this.#once();
    await this.#running;
  }

  async #once() {
    try {
      await this.#task();
      this.#failures = 0;
    } catch {
      this.#failures += 1; // the API has told the page of it
    } finally {
      this.#running = null;
    }
    if (this.#stopped) return;
    const pause = Math.min(this.#period() * 2 ** this.#failures, Math.max(this.#period(), 30_000));
    this.#timer = setTimeout(() => document.hidden || this.now(), pause);
  }
}
