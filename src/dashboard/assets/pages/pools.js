// All pools: what the SIMs of each used of their shared limit.

import { h } from "../dom.js";
import { progressBar } from "../charts/progress.js";
import { createPanel } from "../panel.js";
import { createTable } from "../table.js";
import { exact } from "../usage.js";

const PATH = "/api/v1/pools";
const PAGE_ROWS = 25;
const USUAL_SORT = "-percentOfLimit";
/** Usage is asked for again when figures were pushed, not more often than this. */
const AGAIN_AFTER_MS = 30_000;

export async function show(root, context) {
  const { api, live, format, setQuery, onQuery } = context;
  const note = h("p", { class: "page-note" }, "SIMs that share a limit, and what they used of it in the current period.");
  const panel = createPanel({ name: "pools", title: "Pools", note: "\u00a0", shape: "table", size: "l" });
  const table = createTable({
    name: "pools",
    title: "Pools",
    remote: true,
    pageSize: PAGE_ROWS,
    columns: columns(format),
    rowData: (row) => ({ pool: row.id }),
    onState: ({ sort, page }) =>
      setQuery({ sort: sort === USUAL_SORT ? null : sort, page: page > 1 ? page : null }),
  });
  root.append(h("div", { class: "page-head" }, h("h1", {}, "Pools"), note), panel.element);
  let asked = 0;

  function load() {
    asked = Date.now();
    const sort = context.query.get("sort") ?? USUAL_SORT;
    const page = Math.max(1, Number.parseInt(context.query.get("page"), 10) || 1);
    table.setState({ sort, page });
    return panel.load((signal) => api.get(PATH, { sort, page, limit: PAGE_ROWS }, { signal }), draw);
  }

  function draw({ pools, pagination: { total, page, totalPages } }) {
    if (total === 0) {
      panel.note("");
      panel.empty(
        "There is no pool yet",
        "Make one with `simbridge pools create`, or over the API.",
        h("a", { class: "button", href: "/docs" }, "HTTP API"),
      );
      return;
    }
    if (page > totalPages) return setQuery({ page: totalPages }, { replace: true });
    panel.note(`${format.number(total)} ${total === 1 ? "pool" : "pools"}`);
    panel.show(table.element);
    table.update(pools, { total, page, pages: totalPages });
  }

  load();
  const stopQuery = onQuery(load);
  const stopLive = live.subscribe(() => {
    if (Date.now() - asked > AGAIN_AFTER_MS && !document.hidden) load();
  });
  return () => {
    stopQuery();
    stopLive();
    panel.dispose();
  };
}

function columns(format) {
  const members = ({ memberCount }) => `${format.number(memberCount)} ${memberCount === 1 ? "SIM" : "SIMs"}`;
  const days = ({ period }) => format.dayRange(period.firstDay, period.lastDay);
  const projected = ({ usage }) => (usage.projectedBytes === null ? "\u2013" : format.bytes(usage.projectedBytes));
  return [
    {
      key: "name",
      title: "Pool",
      sortable: true,
      value: (row) => row.name,
      cell: (row) => [
        h("a", { class: "pool-name", href: `/pools/${row.id}` }, row.name),
        h("span", { class: "cell-soft narrow-only" }, members(row)),
      ],
    },
    { key: "members", title: "Members", hide: "narrow", numeric: true, value: (row) => row.memberCount, cell: members },
    { key: "period", title: "Period", hide: "narrow", value: (row) => row.period.id, cell: days },
    {
      key: "usedBytes",
      title: "Used",
      hide: "narrow",
      sortable: true,
      numeric: true,
      value: (row) => row.usage.usedBytes,
      cell: (row) => [
        h("span", { class: "cell-main" }, format.bytes(row.usage.usedBytes)),
        h("span", { class: "cell-soft" }, `of ${format.bytes(row.limitBytes)}`),
      ],
      data: (row) => ({ bytes: exact(row.usage, "usedBytes") }),
    },
    {
      key: "percentOfLimit",
      title: "Of limit",
      sortable: true,
      numeric: true,
      value: (row) => row.usage.percentOfLimit,
      cell: (row) => [
        progressBar({
          used: exact(row.usage, "usedBytes"),
          limit: row.limitBytes,
          label: `Usage of ${row.name}`,
          testid: "pool-usage-bar",
        }),
        h(
          "span",
          { class: "cell-soft narrow-only" },
          `${format.bytes(row.usage.usedBytes)} of ${format.bytes(row.limitBytes)}`,
        ),
      ],
    },
    {
      key: "projected",
      title: "Projected",
      hide: "narrow",
      numeric: true,
      value: (row) => row.usage.projectedBytes,
      cell: projected,
    },
  ];
}
