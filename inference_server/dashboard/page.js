// The page: which view the address asks for, and what stands around every view.
//
//   #                        the cases
//   #case=ID                 one case
//   #case=ID&view=report     its report
//   #token=...               logs in, and is taken out of the address at once; may stand beside the others

import { Api } from "./api.js";
import { CaseList } from "./cases.js";
import { CaseView } from "./case.js";
import { ask } from "./dialog.js";
import { focusOn, h, icon } from "./element.js";
import { anyDraft } from "./note.js";
import { ReportView } from "./report.js";
import { ServerStatus } from "./server.js";
import { Session } from "./session.js";
import { LANGUAGE, words } from "./words.js";

class Page {
  #api = new Api();
  #session = new Session(this.#api, () => this.#entered());
  #server = new ServerStatus(this.#api);
  #cases = new CaseList(this.#api);
  #view = null;
  #writing = null; // what had the focus when the server asked for its token again
  #place = h("div", { id: "view" });
  #skip = h(
    "a",
    { class: "skip", href: "#main", hidden: true, on: { click: (event) => this.#skipTo(event) } },
    words.skip,
  );
  #leave = h("button", { type: "button", hidden: true, on: { click: () => this.#logOut() } }, words.logOut);

  begin() {
    document.documentElement.lang = LANGUAGE;
    document
      .getElementById("page")
      .replaceChildren(
        this.#skip,
        h(
          "header",
          {},
          h(
            "div",
            { class: "row spread" },
            h("a", { class: "brand", href: "#" }, icon("mark"), words.name),
            this.#leave,
          ),
          h("p", { class: "notice" }, words.notice),
        ),
        this.#server.box,
        this.#session.element,
        this.#place,
        h("footer", {}, this.#server.line),
        h("div", { id: "spoken", class: "spoken", "aria-live": "polite" }),
      );
    this.#api.onFault = (fault) => this.#heard(fault);
    addEventListener("hashchange", () => this.#moved());
    addEventListener("beforeunload", (event) => anyDraft() && event.preventDefault());
    document.title = words.name;
    return this.#session.begin();
  }

  /** The address belongs to the views, so the link moves the focus itself. */
  #skipTo(event) {
    event.preventDefault();
    focusOn(this.#view.heading);
  }

  /** Asked to log in again: what is on the page stays, out of sight, with every text that is being written. */
  #heard(fault) {
    if (fault?.status === 401) {
      if (!this.#session.inside || !this.#view) return; // the form says it itself
      this.#server.stop();
      this.#view.stop();
      this.#writing = document.activeElement;
      for (const question of document.querySelectorAll("dialog")) question.close();
      this.#hide(true);
      this.#session.ask(words.loggedOutByServer);
    } else {
      this.#server.away(fault);
    }
  }

  #entered() {
    this.#hide(false);
    this.#server.start();
    if (this.#view && this.#view.address === address()) {
      this.#view.start();
      focusOn(this.#place.contains(this.#writing) ? this.#writing : this.#view.heading);
    } else this.#route();
  }

  #hide(hidden) {
    this.#place.hidden = hidden;
    this.#leave.hidden = hidden;
    this.#skip.hidden = hidden;
  }

  #moved() {
    if (new URLSearchParams(location.hash.slice(1)).has("token")) this.#session.begin();
    else if (this.#session.inside) this.#route();
  }

  #route() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const id = asked.get("case");
    this.#view?.stop();
    if (id) this.#cases.leftFor(id);
    if (!id) this.#view = this.#cases;
    else this.#view = asked.get("view") === "report" ? new ReportView(this.#api, id) : new CaseView(this.#api, id);
    this.#view.address = address();
    this.#place.replaceChildren(this.#view.element);
    document.title = `${this.#view.title} - ${words.name}`;
    scrollTo(0, 0);
    this.#view.start();
    focusOn(this.#view.focus());
  }

  async #logOut() {
    if (anyDraft()) {
      const sure = await ask({ title: words.logOutTitle, text: words.logOutText, confirm: words.logOutSure });
      if (!sure) return;
    }
    this.#view?.stop();
    this.#server.stop();
    this.#view = null;
    this.#cases = new CaseList(this.#api);
    this.#place.replaceChildren();
    document.getElementById("spoken").replaceChildren();
    this.#hide(true);
    document.title = words.name;
    history.replaceState(null, "", location.pathname);
    this.#session.leave();
  }
}

function address() {
  return location.hash;
}

new Page().begin();
