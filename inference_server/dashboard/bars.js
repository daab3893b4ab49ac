// bars()      the probability of each class as a table that is drawn as bars
// percent()   a probability in words

import { CLASS_COLOURS, CLASS_LABELS, CLASSES } from "./contract.js";
import { h } from "./element.js";
import { words } from "./words.js";

/** Never "0 %" for what is only unlikely, never a number for what was not assessed; as in the report. */
export function percent(value) {
  if (value === null || value === undefined) return words.notAssessed;
  if (value < 0.01) return words.under(1);
  return value > 0.99 ? words.over(99) : words.percent(Math.round(100 * value));
}

/**
 * @param {Object} probabilities  class to probability; null is "not assessed"
 * @param {string} caption
 */
export function bars(probabilities, caption) {
  // The roles keep it a table where a narrow screen lays it out otherwise.
  return h(
    "table",
    { class: "bars", role: "table" },
    h("caption", {}, caption),
    h(
      "tbody",
      { role: "rowgroup" },
      CLASSES.map((name) => row(name, probabilities[name])),
    ),
  );
}

function row(name, value) {
  const assessed = value !== null && value !== undefined;
  const track = h("div", { class: assessed ? "track" : "track unknown" });
  if (assessed) {
    const fill = h("div", { class: "fill" });
    fill.style.width = `${100 * value}%`;
    fill.style.backgroundColor = CLASS_COLOURS[name];
    track.append(fill);
  }
  return h(
    "tr",
    { role: "row" },
    h("th", { role: "rowheader", scope: "row" }, CLASS_LABELS[name]),
    h("td", { class: "bar", "aria-hidden": "true" }, track),
    h("td", { class: "value", role: "cell" }, percent(value)),
  );
}
