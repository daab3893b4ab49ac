// Session: who may ask the server, and the form that lets them in.
//
// The token is kept in sessionStorage: it ends with this tab, other tabs and later users of the browser do not get it,
// and a reload does not ask again. A token in the address (#token=...) is taken out of it before anything else happens.

import { Fault } from "./api.js";
import { announce, focusOn, h, icon } from "./element.js";
import { words } from "./words.js";

const PREFIX = "lungxai.";
const TOKEN = `${PREFIX}token`;

export class Session {
  #api;
  #entered;
  #input = h("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    required: true,
    "aria-describedby": "token-help token-problem",
  });
  #problem = h("p", { id: "token-problem", class: "problem", role: "alert" });
  #submit = h("button", { class: "first" }, words.logIn);
  element = this.#form();

  /** @param {() => void} entered  called when the server has taken the token */
  constructor(api, entered) {
    this.#api = api;
    this.#entered = entered;
  }

  /** Log in with the token of the address or of this tab; the form where there is none, or it is refused. */
  async begin() {
    const token = tokenInAddress() || sessionStorage.getItem(TOKEN);
    if (token) await this.#try(token);
    else this.ask();
  }

  /** Show the form; `message` says why. */
  ask(message = "") {
    this.#api.token = "";
    sessionStorage.removeItem(TOKEN);
    this.#say(message);
    this.element.hidden = false;
    focusOn(this.#input);
  }

  /** Whether the server has taken the token. */
  get inside() {
    return this.element.hidden;
  }

  /** Forget the token and everything else that this tab kept. */
  leave() {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(PREFIX)) sessionStorage.removeItem(key);
    this.ask();
    announce(words.loggedOut);
  }

  async #try(token) {
    this.#submit.disabled = true;
    this.#api.token = token;
    try {
      // Characters that no header can carry are in no token either.
      if (!/^[\x21-\x7e]+$/.test(token)) throw new Fault(401, words.wrongToken, "");
      await this.#api.json("GET", "/v1/info");
      sessionStorage.setItem(TOKEN, token);
      this.#input.value = "";
      this.#say("");
      this.element.hidden = true;
      this.#entered();
    } catch (fault) {
      if (fault.status === 401) this.ask(words.wrongToken);
      else this.#again(`${fault.message} ${fault.remedy ?? ""}`, token);
    } finally {
      this.#submit.disabled = false;
    }
  }

  /** The token may be right: it stays in the form. */
  #again(message, token) {
    this.ask(message);
    this.#input.value = token;
  }

  #say(message) {
    this.#problem.replaceChildren(...(message ? [icon("failed"), ` ${message}`] : []));
    if (message) this.#input.setAttribute("aria-invalid", "true");
    else this.#input.removeAttribute("aria-invalid");
  }

  #form() {
    const show = h("button", { type: "button", "aria-pressed": "false", on: { click: () => this.#show(show) } });
    show.append(words.showToken);
    const paste = navigator.clipboard?.readText && h("button", { type: "button", on: { click: () => this.#paste() } });
    paste?.append(words.paste);
    const enter = (event) => {
      event.preventDefault();
      this.#try(this.#input.value.trim());
    };
    return h(
      "main",
      { id: "login", hidden: true },
      h(
        "form",
        { class: "card", on: { submit: enter }, novalidate: true },
        h("h1", {}, words.logInTitle),
        h("label", { for: "token" }, words.token),
        h("div", { class: "row" }, this.#input, show, paste || null),
        h("p", { id: "token-help", class: "soft" }, words.tokenHelp),
        this.#problem,
        this.#submit,
        h("p", { class: "soft" }, words.tokenKept),
      ),
    );
  }

  #show(button) {
    const shown = this.#input.type === "password";
    this.#input.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
  }

  async #paste() {
    try {
      this.#input.value = (await navigator.clipboard.readText()).trim();
    } catch {
      this.#say(words.pasteRefused);
    }
    focusOn(this.#input);
  }
}

/** The token of the address, which no longer holds it afterwards; "" where it has none. */
export function tokenInAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const token = parts.get("token") ?? "";
  if (!parts.has("token")) return "";
  parts.delete("token");
  const rest = parts.toString();
  history.replaceState(null, "", location.pathname + (rest && `#${rest}`));
  return token.trim();
}
