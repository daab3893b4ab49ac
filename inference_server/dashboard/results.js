// Results: what a case says at a glance. The report holds the rest.

import { casePath } from "./api.js";
import { bars, percent } from "./bars.js";
import { CLASS_LABELS, METHOD_LABELS, MODALITIES, PART_LABELS } from "./contract.js";
import { announce, h, icon } from "./element.js";
import { words } from "./words.js";

const PARTS = ["fusion", "radiology", "pathology", "clinical"];

export class Results {
  #api;
  #id;
  #fused;
  #body = Object.fromEntries(PARTS.map((part) => [part, h("div", {})]));
  #problem = h("p", { class: "problem", role: "alert", hidden: true });
  #fuse = h("button", { type: "button", on: { click: () => this.#fuseNow() } }, words.fuse);
  element = h(
    "div",
    { class: "results" },
    section("fusion", this.#body.fusion, this.#problem, h("div", { class: "row" }, this.#fuse)),
    section("radiology", this.#body.radiology),
    section("pathology", this.#body.pathology),
    section("clinical", this.#body.clinical),
  );

  /** @param {() => void} fused  called when the modalities were fused */
  constructor(api, id, fused) {
    this.#api = api;
    this.#id = id;
    this.#fused = fused;
  }

  /** Read what the case holds and show it. */
  async load(held) {
    const read = (part) => (held[part] ? this.#read(part) : null);
    const found = Object.fromEntries(await Promise.all(PARTS.map(async (part) => [part, await read(part)])));
    const shown = {
      fusion: fusion(found.fusion),
      radiology: ct(found.radiology, held),
      pathology: slide(found.pathology, held),
      clinical: clinical(found.clinical),
    };
    for (const part of PARTS) this.#body[part].replaceChildren(...shown[part].flat().filter(Boolean));
    this.#fuse.textContent = found.fusion ? words.fuseAgain : words.fuse;
    this.#fuse.disabled = !(found.radiology || found.pathology || found.clinical);
  }

  async #read(part) {
    try {
      return await this.#api.json("GET", casePath(this.#id, part));
    } catch (fault) {
      if (fault.status === 404) return null; // replaced a moment ago
      throw fault;
    }
  }

  async #fuseNow() {
    this.#fuse.setAttribute("aria-disabled", "true");
    this.#problem.hidden = true;
    try {
      await this.#api.json("POST", casePath(this.#id, "fusion"), {});
      announce(words.fused);
      this.#fused();
    } catch (fault) {
      this.#problem.replaceChildren(icon("failed"), ` ${fault.message} ${fault.remedy ?? ""}`);
      this.#problem.hidden = false;
    } finally {
      this.#fuse.removeAttribute("aria-disabled");
    }
  }
}

function section(part, ...children) {
  return h(
    "section",
    { class: `card ${part}`, "aria-labelledby": `results-${part}` },
    h("h2", { id: `results-${part}` }, words.parts[part]),
    children,
  );
}

function fusion(result) {
  if (!result) return [h("p", { class: "soft" }, words.notFused)];
  const assessed = Object.entries(result.probabilities).filter(([, value]) => value !== null);
  const [best, value] = assessed.reduce((most, entry) => (entry[1] > most[1] ? entry : most), ["", -1]);
  const unknown = Object.keys(result.probabilities).filter((name) => result.probabilities[name] === null);
  const names = (list, labels) => list.map((name) => labels[name]).join(", ");
  return [
    result.abstention
      ? abstention(result.abstention)
      : best && h("p", { class: "headline" }, `${CLASS_LABELS[best]}, ${percent(value)}`),
    h("p", {}, result.agreement),
    bars(result.probabilities, words.fusedBars),
    unknown.length &&
      h("p", { class: "soft" }, words.notAssessedBy(names(unknown, CLASS_LABELS), percent(result.not_assessed_mass))),
    result.missing.length &&
      h(
        "p",
        { class: "soft" },
        words.missing(
          names(
            MODALITIES.filter((name) => result.missing.includes(name)),
            PART_LABELS,
          ),
        ),
      ),
    models(result.provenance),
  ];
}

function ct(result, held) {
  if (!result) return [h("p", { class: "soft" }, words.noCt)];
  return [
    result.abstention && abstention(result.abstention),
    h("p", {}, words.nodules(result.nodules.length, percent(result.malignancy))),
    result.nodules.length && nodules(result.nodules),
    heatmaps(held.heatmaps?.radiology),
    notes(result.notes),
    models(result.provenance),
  ];
}

function nodules(found) {
  const columns = Object.keys(words.noduleColumns);
  const numeric = (column) => (["side", "found"].includes(column) ? null : "n");
  const cells = (nodule) => ({
    label: nodule.label,
    size: `${nodule.long_axis_mm.toFixed(1)} × ${nodule.short_axis_mm.toFixed(1)}`,
    volume: nodule.volume_mm3.toFixed(0),
    density: nodule.mean_hu.toFixed(0),
    malignancy: percent(nodule.malignancy),
    side: words.sides[nodule.side] ?? words.noSide,
    found: words.foundBy[nodule.found_by] ?? nodule.found_by,
  });
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": words.noduleTable },
    h(
      "table",
      { class: "grid" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map((name) => h("th", { scope: "col", class: numeric(name) }, words.noduleColumns[name])),
        ),
      ),
      h(
        "tbody",
        {},
        found.map(cells).map((row) =>
          h(
            "tr",
            {},
            columns.map((name) => h("td", { class: numeric(name) }, row[name])),
          ),
        ),
      ),
    ),
  );
}

function slide(result, held) {
  if (!result) return [h("p", { class: "soft" }, words.noSlide)];
  return [
    result.abstention && abstention(result.abstention),
    h("p", { class: "long" }, words.slide(result.slide_id, result.origin_px.length, result.mpp.toFixed(2))),
    bars(result.probabilities, words.slideBars),
    result.other_classes?.length && h("p", { class: "soft" }, words.otherClasses),
    heatmaps(held.heatmaps?.pathology),
    notes(result.notes),
    models(result.provenance),
  ];
}

function clinical(fields) {
  if (!fields) return [h("p", { class: "soft" }, words.noClinical)];
  const said = (name, value) => (value === null ? words.notKnown : words.clinicalValue(name, value));
  return [
    h(
      "dl",
      {},
      Object.entries(fields).map(([name, value]) =>
        h("div", {}, h("dt", {}, PART_LABELS[name] ?? name), h("dd", {}, said(name, value))),
      ),
    ),
  ];
}

function abstention({ reason, what_would_help: help }) {
  return h(
    "div",
    { class: "abstention" },
    h("p", {}, h("strong", {}, words.noAnswerYet), ` ${reason}`),
    h("p", {}, h("strong", {}, words.wouldHelp), ` ${help}`),
  );
}

function heatmaps(methods) {
  return (
    methods?.length &&
    h("p", { class: "soft" }, words.heatmaps(methods.map((name) => METHOD_LABELS[name] ?? name).join(", ")))
  );
}

function notes(texts) {
  return (
    texts?.length &&
    h(
      "ul",
      { class: "soft" },
      texts.map((text) => h("li", {}, text)),
    )
  );
}

function models(provenance) {
  if (!provenance?.length) return null;
  const line = (model) =>
    words.model(model.model_id, model.weights_sha256.slice(0, 12), model.device, model.calibrated);
  return h(
    "details",
    {},
    h("summary", {}, words.models),
    h(
      "ul",
      { class: "long" },
      provenance.map((model) => h("li", {}, line(model))),
    ),
  );
}
