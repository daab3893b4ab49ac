// ask(): a question that has to be answered before anything else; false unless it was confirmed.

import { h } from "./element.js";
import { words } from "./words.js";

/**
 * @param {string} title
 * @param {string[]} text  paragraphs: what will happen
 * @param {string} confirm  what the confirming button says
 * @param {string} keep  what the other one says
 * @param {string|null} typed  what has to be typed in before it can be confirmed
 * @returns {Promise<boolean>}
 */
export function ask({ title, text, confirm, keep = words.keep, typed = null }) {
  return new Promise((answered) => {
    const sure = h("button", { class: "danger", disabled: typed !== null }, confirm);
    const input = h("input", { id: "typed", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
    input.addEventListener("input", () => (sure.disabled = input.value.trim() !== typed));
    const leave = h("button", { type: "button", on: { click: () => dialog.close() } }, keep);
    const submit = (event) => {
      event.preventDefault();
      if (!sure.disabled) dialog.close("sure");
    };
    const dialog = h(
      "dialog",
      { "aria-labelledby": "question", "aria-describedby": "consequence" },
      h(
        "form",
        { on: { submit } },
        h("h2", { id: "question" }, title),
        h(
          "div",
          { id: "consequence" },
          text.map((line) => h("p", {}, line)),
        ),
        typed !== null && [h("label", { for: "typed" }, words.typeToConfirm(typed)), input],
        h("div", { class: "row end" }, leave, sure),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      answered(dialog.returnValue === "sure");
    });
    document.body.append(dialog);
    dialog.showModal();
    (typed === null ? leave : input).focus();
  });
}
