// A button that opens a small panel below it.

import { fill, h, style, uid } from "./dom.js";
import { icon } from "./icons.js";

/** `open(close)` fills the panel anew each time it is opened and returns its nodes. Test id: `filter-<name>`. */
export function createPopover({ name, label, picture, open }) {
  const id = uid("popover");
  const words = h("span", { class: "popover-words" });
  const count = h("span", { class: "count", hidden: true });
  const button = h(
    "button",
    {
      class: "button",
      type: "button",
      "aria-expanded": "false",
      "aria-controls": id,
      "aria-haspopup": "dialog",
      dataset: { testid: `filter-${name}` },
      onclick: () => (panel.hidden ? show() : hide()),
    },
    icon(picture, 16),
    words,
    count,
    icon("chevron", 14),
  );
  const panel = h("div", {
    id,
    class: "popover",
    role: "dialog",
    "aria-label": label,
    tabindex: -1,
    hidden: true,
  });
  const element = h("div", { class: "popover-anchor" }, button, panel);

  function show() {
    fill(panel, open(hide));
    panel.hidden = false;
    button.setAttribute("aria-expanded", "true");
    place();
    panel.querySelector("input, button")?.focus();
    document.addEventListener("pointerdown", outside, true);
  }

  /** Inside the window, wherever the button is. */
  function place() {
    style(panel, { left: "0px", right: "auto" });
    const { left, right } = panel.getBoundingClientRect();
    const over = right - (document.documentElement.clientWidth - 16);
    if (over > 0) style(panel, { left: `${-Math.min(over, left - 16)}px` });
  }

  function hide({ focus = true } = {}) {
    if (panel.hidden) return;
    panel.hidden = true;
    fill(panel);
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    if (focus) button.focus();
  }

  function outside(event) {
    if (!element.contains(event.target)) hide({ focus: false });
  }

  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  element.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !element.contains(event.relatedTarget)) hide({ focus: false });
  });

  return {
    element,
    /** What the button says, and how many are chosen. */
    tell(text, chosen = 0) {
      words.textContent = text;
      count.hidden = chosen === 0;
      count.textContent = String(chosen);
    },
    dispose: () => document.removeEventListener("pointerdown", outside, true),
  };
}
