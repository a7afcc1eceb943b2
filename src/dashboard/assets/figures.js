// Cards with one number each, its change and its trend.

import { h, reducedMotion, text } from "./dom.js";
import { createSpark } from "./charts/spark.js";
import { icon } from "./icons.js";

const TWEEN_MS = 420;

/** Lets a number run to its new value; at once where motion is unwelcome, and the first time. */
export function tween(element, value, shown) {
  const from = element.tweenValue;
  element.tweenValue = value;
  cancelAnimationFrame(element.tweenFrame);
  if (from === undefined || from === value || reducedMotion() || document.hidden) {
    text(element, shown(value));
    return;
  }
  const began = performance.now();
  const step = (now) => {
    const passed = Math.min(1, (now - began) / TWEEN_MS);
    const eased = 1 - (1 - passed) ** 3;
    text(element, shown(passed === 1 ? value : from + (value - from) * eased));
    if (passed < 1) element.tweenFrame = requestAnimationFrame(step);
  };
  element.tweenFrame = requestAnimationFrame(step);
}

/** `update({value, shown(value), exact?, trend, against, extra?, series})`. Test id: `kpi-<name>`. */
export function createFigure({ name, title, format }) {
  const value = h("p", { class: "figure-value" }, "\u2013");
  const arrow = h("span", {});
  const change = h("span", {});
  const pill = h("span", { class: "trend", hidden: true }, arrow, change);
  const against = h("span", {});
  const extra = h("p", { class: "figure-change figure-extra" });
  const spark = createSpark();
  const element = h(
    "section",
    { class: "card figure", "aria-label": title, dataset: { testid: `kpi-${name}` } },
    h("h2", { class: "figure-label" }, title),
    value,
    h("p", { class: "figure-change" }, pill, against),
    extra,
    spark.element,
  );
  return {
    element,
    update(next) {
      tween(value, next.value, next.shown);
      value.dataset.value = next.value;
      if (next.exact !== undefined) value.dataset.bytes = next.exact;
      pill.hidden = false;
      pill.dataset.trend = next.trend;
      const direction = next.trend > 0 ? "up" : next.trend < 0 ? "down" : null;
      arrow.replaceChildren(...(direction ? [icon(direction, 12)] : []));
      text(change, next.trend === 0 ? "no change" : format.percent(next.trend, { sign: true }));
      text(against, next.against);
      if (next.extra) extra.replaceChildren(...next.extra);
      extra.hidden = !next.extra;
      spark.update(next.series);
    },
  };
}
