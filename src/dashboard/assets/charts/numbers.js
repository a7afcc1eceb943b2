// The numbers of a chart as a table: for screen readers, and exact to the byte.

import { h } from "../dom.js";

export function dataTable({ title, data, format, costs }) {
  const split = data.series.length > 1 ? data.series : [];
  const head = [data.labels.column, "Data", ...split.map((series) => series.name), ...(costs ? [`Cost (${format.currency})`, "SIMs"] : [])];
  return h(
    "table",
    {},
    h("caption", {}, title),
    h("thead", {}, h("tr", {}, head.map((label) => h("th", { scope: "col" }, label)))),
    h(
      "tbody",
      {},
      data.points.map((point) =>
        h(
          "tr",
          { dataset: { start: point.start } },
          h("th", { scope: "row" }, data.labels.long(point)),
          h("td", { dataset: { bytes: point.exact } }, format.bytes(point.bytes)),
          split.map((series) => h("td", { dataset: { part: series.id, bytes: point.exactParts?.[series.id] ?? point.parts[series.id] ?? 0 } }, format.bytes(point.parts[series.id] ?? 0))),
          costs && h("td", { dataset: { cost: point.cost } }, format.money(point.cost)),
          costs && h("td", { dataset: { sims: point.sims } }, format.number(point.sims)),
        ),
      ),
    ),
  );
}
