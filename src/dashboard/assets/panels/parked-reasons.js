// How many records are parked for each reason; to choose one.

import { h, text } from "../dom.js";
import { number } from "../format.js";
import { reasonTitle } from "./reasons.js";

/** `onChosen(reason)`, which is empty for all. A reason keeps its place and its focus while counts change. */
export function createParkedReasons({ onChosen }) {
  const element = h("div", { class: "chips", role: "group", "aria-label": "Reason", dataset: { testid: "filter-reason" } });
  const chips = new Map();

  function chip(reason, title) {
    const count = h("span", { class: "count" });
    const button = h("button", { class: "chip", type: "button", dataset: { reason }, onclick: () => onChosen(reason) }, title, count);
    chips.set(reason, { button, count });
    element.append(button);
    return chips.get(reason);
  }

  function tell(reason, title, parked, more, chosen) {
    const { button, count } = chips.get(reason) ?? chip(reason, title);
    button.setAttribute("aria-pressed", String((chosen ?? "") === reason));
    button.dataset.count = parked;
    text(count, `${number(parked)}${more ? "+" : ""}`);
  }

  return {
    element,
    /** `counts` as the API tells them; nothing while another state than parked is shown. */
    show(counts, { state, reason: chosen }) {
      const shown = state === "parked" ? counts : [];
      const told = new Set(["", ...shown.map(({ reason }) => reason)]);
      const total = shown.reduce((sum, { parked }) => sum + parked, 0);
      // Its place stays, so that nothing moves when the first one comes.
      element.classList.toggle("chips-none", total === 0 && !chosen);
      for (const [reason, { button }] of chips) {
        if (told.has(reason)) continue;
        button.remove();
        chips.delete(reason);
      }
      tell("", "All", total, shown.some(({ orMore }) => orMore), chosen);
      for (const { reason, parked, orMore } of shown) tell(reason, reasonTitle(reason), parked, orMore, chosen);
    },
  };
}
