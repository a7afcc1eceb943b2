// Sessions and alerts of a SIM.

import { h } from "../dom.js";
import { days } from "../format.js";
import { createPanel } from "../panel.js";
import { createTable } from "../table.js";
import { exact } from "../usage.js";

const AT_MOST = 100;
const PAGE_ROWS = 6;

export function createSessionsPanel({ api, format }) {
  const columns = [
    {
      key: "id",
      title: "Session",
      grow: true,
      search: true,
      value: (row) => row.sessionId,
      cell: (row) => [
        h("span", { class: "code record-id", title: row.sessionId }, row.sessionId),
        h("span", { class: "cell-soft narrow-only" }, row.status === "active" ? "Active" : "Over"),
      ],
    },
    {
      key: "status",
      title: "Status",
      hide: "narrow",
      value: (row) => row.status,
      cell: (row) =>
        h(
          "span",
          { class: `badge ${row.status === "active" ? "badge-good" : ""}` },
          row.status === "active" ? "Active" : "Over",
        ),
    },
    {
      key: "began",
      title: "Began",
      hide: "narrow",
      value: (row) => row.createdAt,
      cell: (row) => format.moment(row.createdAt),
    },
    {
      key: "read",
      title: "Last reading",
      numeric: true,
      value: (row) => row.lastReadingAt,
      cell: (row) => moment(row.lastReadingAt, format),
    },
    {
      key: "data",
      title: "Data",
      numeric: true,
      value: (row) => row.totalBytes,
      cell: (row) => format.bytes(row.totalBytes),
      data: (row) => ({ bytes: exact(row, "totalBytes") }),
    },
  ];
  return createListPanel({
    name: "sessions",
    title: "Sessions",
    columns,
    sort: "-read",
    nothing: ["There is no session", "Devices that report counters with a session are listed here."],
    rowData: (row) => ({ session: row.sessionId, status: row.status }),
    ask: async ({ path }, signal) => {
      const { sessions, nextCursor } = await api.get(`${path}/sessions`, { limit: AT_MOST }, { signal });
      return [sessions, nextCursor];
    },
  });
}

export function createAlertsPanel({ api, format }) {
  const crossed = ({ percent, bytes }) =>
    percent === undefined ? format.bytes(bytes) : format.percent(percent, { digits: 0 });
  const columns = [
    {
      key: "raised",
      title: "Raised",
      value: (row) => row.raisedAt,
      cell: (row) => moment(row.raisedAt, format),
    },
    {
      key: "threshold",
      title: "Reached",
      value: (row) => row.threshold.bytes,
      cell: (row) =>
        h(
          "span",
          { class: `badge ${(row.percentOfLimit ?? 0) > 90 ? "badge-bad" : "badge-warn"}` },
          crossed(row.threshold),
        ),
    },
    {
      key: "used",
      title: "Used",
      numeric: true,
      hide: "narrow",
      value: (row) => row.usedBytes,
      cell: (row) => format.bytes(row.usedBytes),
      data: (row) => ({ bytes: exact(row, "usedBytes") }),
    },
    { key: "cycle", title: "Cycle", hide: "narrow", numeric: true, value: (row) => row.cycle.id },
    {
      key: "until",
      title: "Limit reached on",
      numeric: true,
      value: (row) => row.exhaustedOn ?? "",
      cell: (row) => (row.exhaustedOn ? days(row.exhaustedOn, { year: false }) : "not in the cycle"),
    },
  ];
  return createListPanel({
    name: "alerts",
    title: "Alerts",
    columns,
    sort: "-raised",
    nothing: ["There is no alert", "One is raised when usage of a cycle reaches a threshold."],
    rowData: (row) => ({ alert: row.id }),
    ask: async ({ iccid }, signal) => {
      const { alerts, nextCursor } = await api.get("/api/v1/alerts", { iccid, limit: AT_MOST }, { signal });
      return [alerts, nextCursor];
    },
  });
}

function moment(at, format) {
  return h("time", { datetime: at, title: format.dateTime(at) }, format.ago(at));
}

/** Newest ones of a list, sorted and paged here. */
function createListPanel({ name, title, columns, sort, nothing, rowData, ask }) {
  const panel = createPanel({ name, title, shape: "list", size: "m" });
  const table = createTable({ name, title, columns, pageSize: PAGE_ROWS, state: { sort }, rowData });
  return {
    element: panel.element,
    dispose: panel.dispose,
    load: (sim) =>
      panel.load(
        (signal) => ask(sim, signal),
        ([rows, more]) => {
          panel.note(more ? `The newest ${AT_MOST}.` : "");
          if (rows.length === 0) return panel.empty(...nothing);
          panel.show(table.element);
          table.update(rows);
        },
      ),
  };
}
