// ReportLinks   open the report of a case, and take it along as PDF or HTML
// ReportView    the report in a frame of its own

import { casePath } from "./api.js";
import { PAPERS } from "./contract.js";
import { h, icon } from "./element.js";
import { words } from "./words.js";

const LETTER_LANDS = /-(US|CA|MX|PH|CL|CO|VE)$/i;

export class ReportLinks {
  #api;
  #id;
  #status = h("p", { role: "status", class: "soft" });
  #paper = h(
    "select",
    { id: "paper" },
    PAPERS.map((name) => h("option", { value: name }, words.papers[name])),
  );
  #row;
  element;

  /** @param {boolean} open  with a link that opens the report */
  constructor(api, id, open = true) {
    this.#api = api;
    this.#id = id;
    this.#paper.value = LETTER_LANDS.test(navigator.language) ? "letter" : "a4";
    const link = h(
      "a",
      { class: "button first", href: `#${new URLSearchParams({ case: id, view: "report" })}` },
      words.openReport,
    );
    const take = (format, text) => {
      const button = h("button", { type: "button", on: { click: () => this.#take(format, button) } }, text);
      return button;
    };
    this.#row = h(
      "div",
      { class: "row" },
      open && link,
      take("pdf", words.downloadPdf),
      h("span", { class: "pair" }, h("label", { class: "inline", for: "paper" }, words.paper), this.#paper),
      take("html", words.downloadHtml),
    );
    this.element = h("div", {}, this.#row, this.#status);
  }

  /** @param {Object} held  the case; one that holds nothing has no report */
  update(held) {
    const empty = !["radiology", "pathology", "clinical", "fusion"].some((part) => held[part]);
    if (empty === this.#row.hidden) return;
    this.#row.hidden = empty;
    this.#status.textContent = empty ? words.nothingToReport : "";
  }

  async #take(format, button) {
    if (button.getAttribute("aria-disabled")) return;
    button.setAttribute("aria-disabled", "true");
    this.#status.className = "soft";
    this.#status.textContent = words.making;
    try {
      const paper = this.#paper.value;
      const file = await this.#api.blob(`${casePath(this.#id, "report")}?${new URLSearchParams({ format, paper })}`);
      const url = URL.createObjectURL(file);
      h("a", { href: url, download: `${this.#id}.${format}` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      this.#status.textContent = words.downloaded(`${this.#id}.${format}`);
    } catch (fault) {
      this.#status.className = "problem";
      this.#status.replaceChildren(icon("failed"), ` ${fault.message} ${fault.remedy ?? ""}`);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }
}

export class ReportView {
  title;
  heading;
  element;
  #api;
  #id;
  #place = h("div", {}, h("p", { role: "status" }, words.making));
  #shown = false;

  constructor(api, id) {
    this.#api = api;
    this.#id = id;
    this.title = words.reportOf(id);
    this.heading = h("h1", {}, this.title);
    this.element = h(
      "main",
      { id: "main" },
      h("p", {}, h("a", { href: `#${new URLSearchParams({ case: id })}` }, words.backToCase)),
      this.heading,
      new ReportLinks(api, id, false).element,
      this.#place,
    );
  }

  focus() {
    return this.heading;
  }

  start() {
    return this.again();
  }

  stop() {}

  /** Ask for the report, unless it is there. */
  async again() {
    if (this.#shown) return;
    try {
      this.#show(await this.#api.text(casePath(this.#id, "report")));
    } catch (fault) {
      this.#place.replaceChildren(
        h(
          "div",
          { class: "problem", role: "alert" },
          h("p", {}, icon("failed"), ` ${fault.message}`),
          h("p", {}, fault.remedy ?? ""),
        ),
      );
    }
  }

  /** The frame is an origin of its own, which its address does not show: "*" reaches the frame that was made here. */
  #show(html) {
    const frame = h("iframe", {
      class: "report",
      title: this.title,
      sandbox: "allow-scripts",
      src: "/dashboard/report_frame.html",
      on: { load: () => frame.contentWindow.postMessage(html, "*") },
    });
    this.#place.replaceChildren(frame);
    this.#shown = true;
  }
}
