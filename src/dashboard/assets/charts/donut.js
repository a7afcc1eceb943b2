// Shares of a whole as a ring, with its total in the middle.

import { fill, h, svg, text } from "../dom.js";
import { colourClass } from "./scale.js";

const RADIUS = 42;
/** Of 100 around; a gap between neighbours. */
const GAP = 0.8;

/**
 * `update({parts, total, caption})`: parts are `{id, name, value, colour}`. `point(id)` brings one out and hides the others a bit; null for
 * none. `onPoint(id)` hears which one the pointer is over. Test id: `chart-<name>`.
 */
export function createDonut({ name, title, onPoint = () => {} }) {
  const ring = svg("g", { transform: "rotate(-90 50 50)" });
  const amount = h("span", { class: "donut-amount" });
  const caption = h("span", { class: "donut-caption" });
  const element = h(
    "div",
    { class: "donut", role: "img", "aria-label": title, dataset: { testid: `chart-${name}` } },
    svg("svg", { viewBox: "0 0 100 100", "aria-hidden": "true" }, ring),
    h("div", { class: "donut-middle", "aria-hidden": "true" }, amount, caption),
  );
  let shown = [];

  return {
    element,
    update({ parts, total, caption: words, summary }) {
      const whole = parts.reduce((sum, part) => sum + Math.max(0, part.value), 0);
      let at = 0;
      shown = whole > 0 ? parts.filter((part) => part.value > 0) : [];
      const arcs = shown.map((part) => {
        const share = (part.value / whole) * 100;
        const gap = shown.length > 1 ? Math.min(GAP, share / 3) : 0;
        const arc = svg("circle", {
          class: `donut-arc ${colourClass(part.colour)}`,
          cx: 50,
          cy: 50,
          r: RADIUS,
          pathLength: 100,
          "stroke-dasharray": `${share - gap} ${100 - share + gap}`,
          "stroke-dashoffset": -at - gap / 2,
          onpointerenter: () => onPoint(part.id),
          onpointerleave: () => onPoint(null),
        });
        at += share;
        return arc;
      });
      fill(ring, svg("circle", { class: "donut-track", cx: 50, cy: 50, r: RADIUS }), arcs);
      text(amount, total);
      text(caption, words);
      element.setAttribute("aria-label", `${title}. ${summary}`);
    },
    point(id) {
      shown.forEach((part, index) => {
        ring.children[index + 1].classList.toggle("faded", id !== null && part.id !== id);
      });
    },
  };
}
