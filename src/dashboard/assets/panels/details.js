// Usage by SIM, network and period: a table that sorts and searches, and the same as a file.

import { h } from "../dom.js";
import { days } from "../format.js";
import { icon } from "../icons.js";
import { networkNames } from "../networks.js";
import { pageOf } from "../pages.js";
import { createPanel } from "../panel.js";
import { createTable } from "../table.js";
import { dataColumn } from "../usage.js";

const PERIODS = { daily: "Day", weekly: "Week of", monthly: "Month" };

export function createDetailsPanel({ api, format, may }, { state = {}, onState = () => {} } = {}) {
  const panel = createPanel({
    name: "details",
    title: "Usage details",
    note: "\u00a0",
    shape: "table",
    size: "table",
  });
  const csv = h(
    "a",
    { class: "button", download: "usage-details.csv", dataset: { testid: "csv-details" } },
    icon("download", 16),
    "CSV",
  );
  const linked = may("sims:read") && pageOf("/sims/1") !== null;
  let names = new Map();

  const periodOf = (row) => row.day ?? row.month ?? row.year;
  const periodText = (row) =>
    row.day ? days(row.day) : row.month ? format.month(`${row.month}-15T12:00:00Z`) : row.year;
  const network = (row) => (row.mccmnc ? (names.get(row.mccmnc) ?? row.mccmnc) : "Unknown");
  const columns = [
    {
      key: "sim",
      title: "SIM (ICCID)",
      search: true,
      value: (row) => row.imsi,
      cell: (row) =>
        linked
          ? h("a", { class: "code", href: `/sims/${encodeURIComponent(row.imsi)}` }, row.imsi)
          : h("span", { class: "code" }, row.imsi),
    },
    { key: "period", title: "Day", search: true, value: periodOf, cell: periodText },
    { key: "network", title: "Network", search: true, hide: "narrow", value: network },
    dataColumn(format),
    {
      key: "latest",
      title: "Latest record",
      hide: "narrow",
      numeric: true,
      value: (row) => row.latestEventAt ?? "",
      cell: (row) => (row.latestEventAt ? format.dateTime(row.latestEventAt) : "\u2013"),
    },
  ];
  const table = createTable({
    name: "details",
    title: "Usage by SIM, network and period",
    columns,
    pageSize: 12,
    searchLabel: "Search SIM, network or day",
    csv,
    state: { sort: "-period", ...state },
    onState,
    nothing: ["Nothing was used in this range", "Choose another range, or fewer filters."],
    rowData: (row) => ({ iccid: row.imsi, network: row.mccmnc, period: periodOf(row) }),
  });

  function draw([answer, found], by) {
    names = found;

    table.retitle("period", PERIODS[by]);
    const rows = format.number(answer.data.length);
    panel.note(
      answer.truncated
        ? `The first ${rows} rows, by period, network and SIM. The CSV file has all of them.`
        : `${rows} ${answer.data.length === 1 ? "row" : "rows"}, by SIM, network and ${by === "daily" ? "day" : by === "weekly" ? "week" : "month"}.`,
    );
    panel.show(table.element);
    table.update(answer.data);
  }

  return {
    panel,
    element: panel.element,
    /** `query` without a granularity, `by` as for the chart: hours are shown as days. */
    load(query, by) {
      const granularity = by === "hourly" ? "daily" : by;
      const asked = { ...query, granularity };
      csv.href = api.href("/api/consumption/usage-details.csv", asked);
      return panel.load(
        async (signal) => {
          const answer = await api.get("/api/consumption/usage-details", asked, { signal });
          return [
            answer,
            await networkNames(
              api,
              answer.data.map((row) => row.mccmnc),
              signal,
            ),
          ];
        },
        (answers) => draw(answers, granularity),
      );
    },
    setState: table.setState,
    dispose: panel.dispose,
  };
}
