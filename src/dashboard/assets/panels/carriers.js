// Shares of the carriers: a ring, and a list that sorts.

import { h } from "../dom.js";
import { createDonut } from "../charts/donut.js";
import { colourClass } from "../charts/scale.js";
import { icon } from "../icons.js";
import { createPanel } from "../panel.js";
import { createTable } from "../table.js";
import { carrierColours, dataColumn } from "../usage.js";

/** With `narrow`, the list is below the ring and has fewer columns. */
export function createCarriersPanel(
  { api, format },
  { narrow = false, state = {}, onState = () => {} } = {},
) {
  const csv = h(
    "a",
    {
      class: "icon-button",
      download: "carriers.csv",
      "aria-label": "Carriers as CSV",
      title: "Carriers as CSV",
      dataset: { testid: "csv-carriers" },
    },
    icon("download"),
  );
  const panel = createPanel({
    name: "carriers",
    title: "Top carriers",
    shape: "donut",
    size: narrow ? "ring-above" : "ring",
    actions: narrow ? [] : [csv],
  });
  let colours = new Map();
  const donut = createDonut({ name: "carriers", title: "Data by carrier", onPoint: pointAt });
  const table = createTable({
    name: "carriers",
    title: "Carriers",
    columns: columns(format, narrow, (row) => colours.get(row.id) ?? -1),
    pageSize: narrow ? 5 : 8,
    state: { sort: "-data", ...state },
    onState,
    rowData: (row) => ({ carrier: row.id }),
    onPoint: (row) => donut.point(row ? ringId(row.id) : null),
  });
  const content = h(
    "div",
    { class: `shares${narrow ? " shares-narrow" : ""}` },
    donut.element,
    table.element,
  );

  function ringId(id) {
    return (colours.get(id) ?? -1) < 0 ? "rest" : id;
  }

  function pointAt(id) {
    donut.point(id);
    table.point(id === null ? null : (row) => String(ringId(Number(row.dataset.carrier))) === String(id));
  }

  function draw(answer) {
    const rows = answer.data;
    if (rows.length === 0)
      return panel.empty("No carrier was used", "Choose another range, or fewer filters.");
    colours = carrierColours(rows);
    const own = rows.filter((row) => colours.get(row.id) >= 0);
    const rest = rows.filter((row) => colours.get(row.id) < 0);
    const parts = own.map((row) => ({
      id: row.id,
      name: row.name,
      value: row.bytes,
      colour: colours.get(row.id),
    }));
    if (rest.length > 0) {
      parts.push({
        id: "rest",
        name: "Others",
        value: rest.reduce((sum, row) => sum + row.bytes, 0),
        colour: -1,
      });
    }
    const total = rows.reduce((sum, row) => sum + row.bytes, 0);
    panel.show(content);
    donut.update({
      parts,
      total: format.bytes(total),
      caption: rows.length === 1 ? "1 carrier" : `${rows.length} carriers`,
      summary: "The numbers are in the list beside it.",
    });
    table.update(rows);
  }

  return {
    panel,
    element: panel.element,
    load(query) {
      csv.href = api.href("/api/consumption/carriers.csv", query);
      return panel.load((signal) => api.get("/api/consumption/carriers", query, { signal }), draw);
    },
    setState: table.setState,
    dispose: panel.dispose,
  };
}

function columns(format, narrow, colour) {
  const name = (row) =>
    h(
      "span",
      { class: `swatch ${colourClass(colour(row))}` },
      h("span", { class: "legend-mark", "aria-hidden": "true" }),
      h("span", { class: "clip", title: row.name }, row.name),
    );
  const all = [
    { key: "name", title: "Carrier", value: (row) => row.name, cell: name, grow: true },
    dataColumn(format),
    {
      key: "share",
      title: "Share",
      numeric: true,
      hide: narrow ? null : "narrow",
      value: (row) => row.dataPercentage,
      cell: (row) => format.percent(row.dataPercentage),
    },
    {
      key: "cost",
      title: "Cost",
      numeric: true,
      value: (row) => row.cost,
      cell: (row) => format.money(row.cost),
      data: (row) => ({ cost: row.cost }),
    },
    {
      key: "sims",
      title: "SIMs",
      numeric: true,
      hide: "narrow",
      value: (row) => row.simCount,
      cell: (row) => format.number(row.simCount),
      data: (row) => ({ sims: row.simCount }),
    },
  ];
  return narrow ? all.filter(({ key }) => ["name", "data", "share"].includes(key)) : all;
}
