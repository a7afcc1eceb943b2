// What a cycle used so far, day by day, where that goes, and its limit.

import { attributes, fill, h, onSize, svg } from "../dom.js";
import { byteAxis } from "./scale.js";

const [TOP, BOTTOM, LEFT, RIGHT] = [12, 22, 64, 8];

/**
 * `update({points, used, limit, start, end, now, projected, level})`: points are `{at, bytes}`, in milliseconds with the sum up to then,
 * `projected` null without a forecast, `limit` 0 without one. Test id: `chart-<name>`.
 */
export function createCumulativeChart({ name, title, format }) {
  const [grid, lines] = [svg("g", { class: "grid" }), svg("g", {})];
  const canvas = svg("svg", { class: "time-canvas", "aria-hidden": "true" }, grid, lines);
  const plot = h("div", { class: "cumulative" }, canvas);
  const numbers = h("div", { class: "visually-hidden" });
  const element = h("div", { class: "cumulative-box", dataset: { testid: `chart-${name}` } }, plot, numbers);
  let data = null;
  let [width, height] = [0, 0];
  const stopWatching = onSize(plot, (...size) => {
    [width, height] = size;
    draw();
  });

  function draw() {
    if (!data || width === 0) return;
    const { points, used, limit, start, end, now, projected } = data;
    // A limit far above everything would flatten the line.
    const most = Math.max(used, projected ?? 0);
    const limitShown = limit > 0 && limit <= most * 2.5;
    const scale = byteAxis(Math.max(most, limitShown ? limit : 0), 3);
    const [right, bottom] = [width - RIGHT, height - BOTTOM];
    const x = (at) =>
      round(LEFT + ((right - LEFT) * (Math.min(Math.max(at, start), end) - start)) / (end - start));
    const y = (bytes) => round(bottom - ((bottom - TOP) * Math.max(0, bytes)) / scale.top);
    attributes(canvas, { width, height, viewBox: `0 0 ${width} ${height}` });
    const steps = Array.from({ length: scale.steps + 1 }, (_, step) => step);
    fill(
      grid,
      steps
        .map((step) => {
          const at = Math.round(y(step * scale.step)) + 0.5;
          return [
            svg("line", { class: step === 0 ? "base" : "", x1: LEFT, x2: right, y1: at, y2: at }),
            svg("text", { x: LEFT - 8, y: at + 4, "text-anchor": "end" }, scale.label(step * scale.step)),
          ];
        })
        .flat(),
      svg("text", { x: LEFT, y: height - 5 }, format.day(start)),
      svg("text", { x: right, y: height - 5, "text-anchor": "end" }, format.day(end - 1)),
    );
    const path = points.map(({ at, bytes }, index) => `${index ? "L" : "M"}${x(at)} ${y(bytes)}`).join("");
    const today = [x(now), y(used)];
    fill(
      lines,
      svg("path", { class: "sum-area", d: `${path}L${today[0]} ${bottom}L${LEFT} ${bottom}Z` }),
      limitShown && svg("line", { class: "limit-line", x1: LEFT, x2: right, y1: y(limit), y2: y(limit) }),
      limitShown &&
        svg("text", { class: "limit-label", x: LEFT + 8, y: y(limit) - 5 }, `Limit ${format.bytes(limit)}`),
      projected !== null &&
        svg("line", { class: "sum-ahead", x1: today[0], y1: today[1], x2: right, y2: y(projected) }),
      svg("path", { class: "sum-line", d: path }),
      svg("circle", { class: "sum-now", cx: today[0], cy: today[1], r: 3.5 }),
    );
    element.dataset.limit = limitShown ? "shown" : "beyond";
  }

  return {
    element,
    update(next) {
      data = next;
      attributes(lines, { class: `sum-${next.level}` });
      draw();
      fill(
        numbers,
        h(
          "table",
          {},
          h("caption", {}, title),
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              ["Up to", "Used"].map((label) => h("th", { scope: "col" }, label)),
            ),
          ),
          h(
            "tbody",
            {},
            next.points.map(({ at, bytes }) =>
              h(
                "tr",
                {},
                h("th", { scope: "row" }, format.dateTime(at)),
                h("td", { dataset: { bytes } }, format.bytes(bytes)),
              ),
            ),
          ),
        ),
      );
    },
    dispose: stopWatching,
  };
}

function round(value) {
  return Math.round(value * 10) / 10;
}
