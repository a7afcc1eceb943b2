// Usage over time, with what is around the chart.

import { fill, h } from "../dom.js";
import { createTimeChart } from "../charts/time.js";
import { createPanel } from "../panel.js";
import { chartOf, labelsOf, rollingUp } from "../usage.js";

/** Legend, line below and padding. */
const AROUND_PX = 86;
const NOTHING = ["Nothing was used in this range", "Choose another range, or fewer filters."];

/** `nothing` is a title and an advice for when there is no usage. */
export function createTrendsPanel(
  { api, format },
  { name = "trends", title, onZoom = null, actions = [], height = 280, nothing = NOTHING },
) {
  const panel = createPanel({ name, title, shape: "chart", size: height + AROUND_PX, actions });
  const chart = createTimeChart({ name, title, format, onZoom, height });
  const foot = h("p", { class: "chart-foot" });
  const content = h("div", { class: "trend-content" }, chart.element, foot);
  let points = [];

  function draw([answer, rolling], keep) {
    const { points: all, series } = chartOf(answer);
    points = keep ? all.filter(keep) : all;
    if (points.every((point) => point.bytes === 0 && point.cost === 0)) {
      panel.empty(...nothing);
      return;
    }
    const granularity = answer.granularity === "24h" ? "hourly" : answer.granularity;
    panel.show(content);
    const newest = Date.parse(points.at(-1).end);
    const marked = rolling && rolling.from < newest ? rolling : null;
    chart.update({ points, series, labels: labelsOf(granularity, format), rolling: marked });
    const hours = granularity === "hourly" && format.zoneOffset() !== "UTC";
    fill(
      foot,
      marked && h("span", { class: "rolling-key" }, marked.text),
      h("span", {}, hours ? `Hours in ${format.timeZone}.` : `Days begin at midnight in ${format.timeZone}.`),
    );
  }

  return {
    panel,
    element: panel.element,
    /** What is shown, for whoever zooms. */
    points: () => points,
    focus: chart.focus,
    /** The query of `/api/consumption/trends`; `keep(point)` leaves points out, for a zoom into hours. */
    load(query, { keep = null } = {}) {
      return panel.load(
        (signal) =>
          Promise.all([
            api.get("/api/consumption/trends", query, { signal }),
            rollingUp(api, format, signal),
          ]),
        (answers) => draw(answers, keep),
      );
    },
    dispose() {
      panel.dispose();
      chart.dispose();
    },
  };
}
