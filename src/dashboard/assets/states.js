// What is shown while there is nothing to show: not yet, not any, or not possible.

import { h } from "./dom.js";
import { icon } from "./icons.js";

/** Grey shapes in the size of what comes. `shape` is `chart`, `list`, `table`, `donut` or `map`. */
export function skeleton(shape) {
  const block = (name, count) => Array.from({ length: count }, () => h("span", { class: `bone ${name}` }));
  const shapes = {
    chart: () => block("bone-bar", 14),
    list: () => block("bone-line", 5),
    table: () => block("bone-row", 8),
    donut: () => [
      h("span", { class: "bone bone-ring" }),
      h("span", { class: "bone-lines" }, block("bone-line", 4)),
    ],
    map: () => block("bone-field", 1),
  };
  return h("div", { class: `skeleton skeleton-${shape}`, "aria-hidden": "true" }, shapes[shape]());
}

export function pageSkeleton() {
  return h(
    "div",
    { class: "page", "aria-busy": "true" },
    h("div", { class: "page-head" }, h("span", { class: "bone bone-title" })),
    h("div", { class: "card card-pending" }, skeleton("chart")),
  );
}

/** Nothing matches, and nothing is wrong. */
export function emptyState(title, advice, action = null) {
  return state("empty", "empty", title, advice, action);
}

/** Something is wrong: what, and what to do. `retry` asks again. */
export function failedState({ title, advice }, retry = null) {
  const again =
    retry &&
    h("button", { class: "button", type: "button", onclick: () => retry() }, icon("retry", 16), "Try again");
  const shown = state("failed", "warning", title, advice, again);
  shown.setAttribute("role", "alert");
  return shown;
}

function state(kind, picture, title, advice, action) {
  return h(
    "div",
    { class: `state state-${kind}`, dataset: { testid: `state-${kind}` } },
    h("span", { class: "state-icon" }, icon(picture, 24)),
    h("p", { class: "state-title" }, title),
    advice && h("p", { class: "state-advice" }, advice),
    action,
  );
}
