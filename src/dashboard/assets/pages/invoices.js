// Invoices of closed months, by status, page by page.

import { h, text } from "../dom.js";
import { dayRange, days } from "../format.js";
import { createSegment } from "../filters.js";
import { createPanel } from "../panel.js";
import { statusBadge } from "../panels/invoices.js";
import { createTable } from "../table.js";

const PAGE_ROWS = 15;
const STATUSES = [
  ["all", "All"],
  ["pending", "Pending"],
  ["paid", "Paid"],
  ["overdue", "Overdue"],
  ["disputed", "Disputed"],
];

export async function show(root, context) {
  const { api, format, setQuery, onQuery } = context;
  const panel = createPanel({
    name: "invoices",
    title: "By month and carrier",
    note: "\u00a0",
    shape: "table",
    size: "table",
  });
  const status = createSegment({
    name: "status",
    label: "Status",
    choices: STATUSES,
    onChosen: (chosen) => setQuery({ status: chosen === "all" ? null : chosen, page: null }),
  });
  panel.tools.append(status.element);
  const table = createTable({
    name: "invoices",
    title: "Invoices",
    remote: true,
    pageSize: PAGE_ROWS,
    columns: columns(format),
    rowData: (row) => ({ invoice: row.invoiceNumber, status: row.status }),
    onState: ({ page }) => setQuery({ page: page > 1 ? page : null }),
  });
  const note = h("p", { class: "page-note" });
  root.append(h("div", { class: "page-head" }, h("h1", {}, "Invoices"), note), panel.element);
  text(note, "One for each carrier and closed month, from what was used at which rate.");

  function load() {
    const { query } = context;
    const chosen = STATUSES.some(([id]) => id === query.get("status")) ? query.get("status") : null;
    const page = Math.max(1, Number.parseInt(query.get("page"), 10) || 1);
    status.show(chosen ?? "all");
    const asked = { page, limit: PAGE_ROWS, status: chosen === "all" ? null : chosen };
    return panel.load(
      (signal) => api.get("/api/consumption/invoices", asked, { signal }),
      (answer) => draw(answer, chosen, page),
    );
  }

  function draw({ data, pagination }, chosen, page) {
    if (pagination.total === 0) {
      panel.note("\u00a0");
      if (chosen) panel.empty("No invoice has this status", "Choose another one.");
      else panel.empty("There is no invoice yet", "The first ones are made when a month with usage is over.");
      return;
    }
    if (page > pagination.totalPages) return setQuery({ page: pagination.totalPages }, { replace: true });
    panel.note(`${format.number(pagination.total)} ${pagination.total === 1 ? "invoice" : "invoices"}`);
    panel.show(table.element);
    table.update(data, { total: pagination.total, page: pagination.page, pages: pagination.totalPages });
  }

  load();
  const stop = onQuery(load);
  return () => {
    stop();
    panel.dispose();
  };
}

function columns(format) {
  return [
    {
      key: "number",
      title: "Invoice",
      value: (row) => row.invoiceNumber,
      cell: (row) => [
        h("span", { class: "code" }, row.invoiceNumber),
        h("span", { class: "cell-soft narrow-only" }, row.carrierName),
      ],
    },
    { key: "carrier", title: "Carrier", hide: "narrow", value: (row) => row.carrierName },
    {
      key: "period",
      title: "Period",
      hide: "narrow",
      value: (row) => row.periodStart,
      cell: (row) => dayRange(row.periodStart, row.periodEnd),
    },
    {
      key: "amount",
      title: "Amount",
      numeric: true,
      value: (row) => row.totalAmount,
      cell: (row) => format.money(row.totalAmount, row.currency),
      data: (row) => ({ amount: row.totalAmount }),
    },
    {
      key: "status",
      title: "Status",
      value: (row) => row.status,
      cell: (row) => statusBadge(row.status),
    },
    {
      key: "due",
      title: "Due",
      hide: "narrow",
      value: (row) => row.dueDate,
      cell: (row) => (row.paidDate ? `Paid ${days(row.paidDate)}` : days(row.dueDate)),
    },
  ];
}
