// All SIMs: searched, filtered, sorted and paged by the server, so that a hundred thousand of them are one page each.

import { h } from "../dom.js";
import { createChoicePicker } from "../filters.js";
import { icon } from "../icons.js";
import { progressBar } from "../charts/progress.js";
import { createPanel } from "../panel.js";
import { simStatus } from "../panels/sim-facts.js";
import { createTable } from "../table.js";

const PATH = "/api/v1/sims";
const PAGE_ROWS = 25;
const USUAL_SORT = "iccid";
const NAMES_AT_MOST = 100;
/** Usage is asked for again when figures were pushed, not more often than this. */
const AGAIN_AFTER_MS = 30_000;

export async function show(root, context) {
  const { api, live, format, setQuery, onQuery } = context;
  const note = h("p", { class: "page-note" }, "What each used of its limit in the current billing cycle.");
  const panel = createPanel({ name: "sims", title: "Inventory", note: "\u00a0", shape: "table", size: "l" });
  const filters = createFilters(context);
  const csv = h(
    "a",
    {
      class: "button",
      download: "sims.csv",
      title: "All SIMs that match, as CSV",
      dataset: { testid: "csv-sims" },
    },
    icon("download", 16),
    "CSV",
  );
  const table = createTable({
    name: "sims",
    title: "SIMs",
    remote: true,
    pageSize: PAGE_ROWS,
    searchLabel: "Search ICCID, IMSI, MSISDN, device",
    searchTestid: "filter-search",
    csv,
    columns: columns(format),
    rowData: (row) => ({ iccid: row.iccid, status: row.status }),
    nothing: ["No SIM matches", "Choose fewer filters."],
    onState: ({ q, sort, page }) =>
      setQuery(
        { q, sort: sort === USUAL_SORT ? null : sort, page: page > 1 ? page : null },
        { replace: q !== (context.query.get("q") ?? "") },
      ),
  });
  root.append(
    h(
      "div",
      { class: "page-head" },
      h("h1", {}, "SIMs"),
      note,
      h("div", { class: "page-tools" }, filters.elements),
    ),
    panel.element,
  );
  let asked = 0;

  function read() {
    const { query } = context;
    return {
      q: query.get("q")?.trim() ?? "",
      statuses: query.getAll("status"),
      carriers: query.getAll("carrier"),
      sort: query.get("sort") ?? USUAL_SORT,
      page: Math.max(1, Number.parseInt(query.get("page"), 10) || 1),
    };
  }

  function load() {
    const chosen = read();
    asked = Date.now();
    filters.show(chosen);
    table.setState({ q: chosen.q, sort: chosen.sort, page: chosen.page });
    const filter = { search: chosen.q, status: chosen.statuses, carrier: chosen.carriers };
    csv.href = api.href("/api/v1/sims.csv", filter);
    const query = { ...filter, sort: chosen.sort, page: chosen.page, limit: PAGE_ROWS };
    return panel.load(
      (signal) => api.get(PATH, query, { signal }),
      (answer) => draw(answer, chosen),
    );
  }

  function draw({ sims, pagination: { total, page, totalPages } }, { q, statuses, carriers }) {
    const filtered = q || statuses.length > 0 || carriers.length > 0;
    if (total === 0 && !filtered) {
      panel.note("");
      panel.empty(
        "There is no SIM yet",
        "Add them with `simbridge sims import`, or over the API.",
        h("a", { class: "button", href: "/docs" }, "HTTP API"),
      );
      return;
    }
    if (total > 0 && page > totalPages) return setQuery({ page: totalPages }, { replace: true });
    panel.note(
      `${format.number(total)} ${total === 1 ? "SIM" : "SIMs"}${filtered ? " match" : ""}`.replace(
        "SIM match",
        "SIM matches",
      ),
    );
    panel.show(table.element);
    table.update(sims, { total, page, pages: totalPages });
  }

  load();
  const stopQuery = onQuery(load);
  const stopLive = live.subscribe(() => {
    if (Date.now() - asked > AGAIN_AFTER_MS && !document.hidden) load();
  });
  return () => {
    stopQuery();
    stopLive();
    filters.dispose();
    panel.dispose();
  };
}

function createFilters({ api, format, setQuery }) {
  let known = null;
  const choices = () =>
    (known ??= api.get(`${PATH}/filters`).catch((failure) => {
      known = null;
      throw failure;
    }));
  const ask = (kind) => async () =>
    (await choices())[kind].map(({ name, simCount }) => ({ id: name, name, note: format.number(simCount) }));
  const picker = (name, title, one, many, kind) =>
    createChoicePicker({
      name,
      title,
      one,
      many,
      atMost: NAMES_AT_MOST,
      ask: ask(kind),
      onChosen: (chosen) => setQuery({ [name]: chosen, page: null }),
    });
  const status = picker("status", "Status", "status", "statuses", "statuses");
  const carrier = picker("carrier", "Carriers", "carrier", "carriers", "carriers");
  const clear = h(
    "button",
    {
      class: "button",
      type: "button",
      dataset: { testid: "filter-clear" },
      onclick: () => setQuery({ status: null, carrier: null, page: null }),
    },
    icon("close", 14),
    h("span", { class: "tool-words" }, "Clear filters"),
  );
  return {
    elements: [clear, status.element, carrier.element],
    show({ statuses, carriers }) {
      status.show(statuses);
      carrier.show(carriers);
      clear.hidden = statuses.length + carriers.length === 0;
    },
    dispose() {
      status.dispose();
      carrier.dispose();
    },
  };
}

function columns(format) {
  const of = (row) => (row.dataLimitBytes > 0 ? `of ${format.bytes(row.dataLimitBytes)}` : "");
  const two = (first, second) => [
    h("span", { class: "cell-main" }, first ?? "\u2013"),
    h("span", { class: "cell-soft" }, second ?? ""),
  ];
  const plain = (key, title, cell) => ({ key, title, sortable: true, hide: "narrow", value: (row) => row[key], cell });
  return [
    {
      key: "iccid",
      title: "SIM (ICCID)",
      sortable: true,
      value: (row) => row.iccid,
      cell: (row) => [
        h("a", { class: "code", href: `/sims/${encodeURIComponent(row.iccid)}` }, row.iccid),
        h(
          "span",
          { class: "cell-soft narrow-only" },
          [row.deviceName, row.status === "Active" ? null : row.status].filter(Boolean).join(" · "),
        ),
        h("span", { class: "cell-soft wide-only" }, row.imsi ? `IMSI ${row.imsi}` : ""),
      ],
    },
    plain("deviceName", "Device", (row) => two(row.deviceName, row.locationName)),
    plain("msisdn", "MSISDN", (row) => row.msisdn ?? "\u2013"),
    plain("carrier", "Carrier", (row) => two(row.carrier, row.ratePlan)),
    plain("status", "Status", (row) => simStatus(row.status)),
    {
      key: "usedBytes",
      title: "Used",
      hide: "narrow",
      sortable: true,
      numeric: true,
      value: (row) => row.usedBytes,
      cell: (row) => [
        h("span", { class: "cell-main" }, format.bytes(row.usedBytes)),
        h("span", { class: "cell-soft" }, of(row)),
      ],
      data: (row) => ({ bytes: row.usedBytesExact ?? row.usedBytes }),
    },
    {
      key: "percentOfLimit",
      title: "Of limit",
      sortable: true,
      numeric: true,
      value: (row) => row.percentOfLimit,
      cell: (row) => [
        progressBar({
          used: row.usedBytesExact ?? row.usedBytes,
          limit: row.dataLimitBytesExact ?? row.dataLimitBytes,
          label: `Usage of ${row.iccid}`,
        }),
        h("span", { class: "cell-soft narrow-only" }, `${format.bytes(row.usedBytes)} ${of(row)}`),
      ],
    },
    {
      key: "last",
      title: "Last record",
      hide: "narrow",
      numeric: true,
      value: (row) => row.lastRecordAt,
      cell: (row) =>
        row.lastRecordAt
          ? h(
              "time",
              { datetime: row.lastRecordAt, title: format.dateTime(row.lastRecordAt) },
              format.ago(row.lastRecordAt),
            )
          : "\u2013",
    },
  ];
}
