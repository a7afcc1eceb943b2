// Where data is used: a map of bubbles, and the places by volume.

import { h } from "../dom.js";
import { createRegionMap } from "../charts/region.js";
import { createPanel } from "../panel.js";
import { createTable } from "../table.js";
import { dataColumn } from "../usage.js";

const NOTE = "SIMs whose place is in the inventory.";

export function createRegionsPanel({ api, format }, { state = {}, onState = () => {} } = {}) {
  const panel = createPanel({
    name: "regions",
    title: "Regional usage",
    note: NOTE,
    shape: "map",
    size: "map",
  });
  const map = createRegionMap({ name: "regions", title: "Data by place", format, onPoint: pointAt });
  const table = createTable({
    name: "regions",
    title: "Places",
    columns: [
      {
        key: "name",
        title: "Place",
        value: (row) => row.name,
        cell: (row) => h("span", { class: "clip", title: row.name }, row.name),
        grow: true,
      },
      dataColumn(format),
      {
        key: "sims",
        title: "SIMs",
        numeric: true,
        value: (row) => row.deviceCount,
        cell: (row) => format.number(row.deviceCount),
        data: (row) => ({ sims: row.deviceCount }),
      },
    ],
    pageSize: 7,
    state: { sort: "-data", ...state },
    onState,
    rowData: (row) => ({ place: row.id }),
    onPoint: (row) => map.point(row?.id ?? null),
  });
  const content = h("div", { class: "places" }, map.element, table.element);

  function pointAt(id) {
    map.point(id);
    table.point(id === null ? null : (row) => row.dataset.place === id);
  }

  function draw(answer) {
    if (answer.data.length === 0) {
      panel.note("");
      panel.empty(
        "No place is known",
        "SIMs with coordinates in the inventory are shown here once they use data.",
      );
      return;
    }
    panel.note(answer.truncated ? "The 1,000 largest places." : NOTE);
    panel.show(content);
    map.update(answer.data.map((row) => ({ ...row, devices: row.deviceCount })));
    table.update(answer.data);
  }

  return {
    panel,
    element: panel.element,
    load: (query) => panel.load((signal) => api.get("/api/consumption/regional", query, { signal }), draw),
    setState: table.setState,
    dispose() {
      panel.dispose();
      map.dispose();
    },
  };
}
