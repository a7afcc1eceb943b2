// One figure of operations: its value, a word for how it stands, and the last minutes of it.

import { createSpark } from "./charts/spark.js";
import { fill, h, style, text } from "./dom.js";
import { icon } from "./icons.js";

/** Five minutes of a figure that is asked for every five seconds. */
const KEPT = 60;
const LEVELS = {
  good: ["check", "Good"],
  warn: ["warning", "Watch"],
  bad: ["warning", "Bad"],
  idle: ["pause", "Idle"],
};

/** `update({value, shown, level, detail, share?})`; a value of `null` leaves the line as it is. Test id: `gauge-<name>`. */
export function createGauge({ name, title }) {
  const value = h("p", { class: "gauge-value" }, "\u2013");
  const level = h("span", { class: "level" });
  const detail = h("p", { class: "gauge-detail" }, "\u00a0");
  const meter = h("span", { class: "gauge-meter", hidden: true }, h("span", { class: "gauge-fill" }));
  const spark = createSpark();
  const element = h(
    "section",
    { class: "card gauge", "aria-label": title, dataset: { testid: `gauge-${name}` } },
    h("header", {}, h("h2", { class: "gauge-label" }, title), level),
    value,
    detail,
    meter,
    spark.element,
  );
  const values = [];
  return {
    element,
    update(next) {
      text(value, next.shown);
      if (next.value === null) delete element.dataset.value;
      else element.dataset.value = next.value;
      if (element.dataset.level !== next.level) {
        element.dataset.level = next.level;
        const [picture, word] = LEVELS[next.level];
        level.className = `level level-${next.level}`;
        fill(level, icon(picture, 13), word);
      }
      text(detail, next.detail);
      meter.hidden = next.share === undefined;
      if (next.share !== undefined) style(meter.firstChild, { width: `${Math.min(100, next.share * 100)}%` });
      values.push(next.value ?? 0);
      if (values.length > KEPT) values.shift();
      spark.update(values);
    },
  };
}
