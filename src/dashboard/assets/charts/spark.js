// A trend without axes, as wide as its card. Decoration: the numbers are elsewhere on the page.

import { attributes, svg } from "../dom.js";

const [WIDTH, HEIGHT] = [120, 32];

export function createSpark() {
  const area = svg("path", { class: "spark-area" });
  const line = svg("path", { class: "spark-line" });
  const element = svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    area,
    line,
  );
  return {
    element,
    update(values) {
      if (values.length < 2) return attributes(line, { d: "M0 0" });
      const top = Math.max(...values, 0) || 1;
      const x = (index) => ((index / (values.length - 1)) * WIDTH).toFixed(1);
      const y = (value) => (HEIGHT - 3 - (Math.max(0, value) / top) * (HEIGHT - 6)).toFixed(1);
      const path = values.map((value, index) => `${index ? "L" : "M"}${x(index)} ${y(value)}`).join("");
      attributes(line, { d: path });
      attributes(area, { d: `${path}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z` });
    },
  };
}
