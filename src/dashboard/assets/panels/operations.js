// What brings records in beside the embedded broker and HTTP, and the checks of every total.

import { fill, h, text } from "../dom.js";
import { createPanel } from "../panel.js";
import { createTable } from "../table.js";

const STATES = {
  subscribed: ["badge-good", "Subscribed"],
  reading: ["badge-good", "Reading"],
  connecting: ["badge-warn", "Connecting"],
  waiting: ["badge-bad", "Waiting to try again"],
};
/** A message that waits for longer is told as a problem. */
const LAG_BAD_SECONDS = 60;

const INVARIANTS = {
  I1: "Cycles are the sum of their records",
  I2: "Keys and records match one to one",
  I3: "Hours are the sum of their records",
  I4: "Days are the sum of their records",
  I5: "Months are the sum of their days",
  I6: "Tenant, carrier and cycle are those in force",
  I7: "Cycles have no gap and no overlap",
  I8: "No record is corrected below zero",
  I9: "No batch waits for its charts too long",
  I11: "Pools are the sum of their members",
};

export function createSources(format) {
  const panel = createPanel({ name: "sources", title: "Sources", size: "sources" });
  panel.element.setAttribute("aria-busy", "false");
  const table = createTable({ name: "sources", title: "Sources", pageSize: 20, columns: columns(format) });
  return {
    element: panel.element,
    update(sources) {
      if (sources.length === 0) {
        return panel.empty("No other source is configured", "Records come over the embedded broker and HTTP. Brokers of others, VPN servers, RADIUS clients, remote panels and directories of files are [[source.…]] in the configuration.");
      }
      panel.show(table.element);
      table.update(sources);
    },
  };
}

function columns(format) {
  return [
    { key: "name", title: "Source", value: (row) => row.name },
    {
      key: "state",
      title: "State",
      grow: true,
      value: (row) => row.state,
      cell: (row) => {
        const [kind, words] = STATES[row.state] ?? ["", row.state];
        const badge = h("span", { class: `badge ${kind}` }, words);
        return row.lastError && kind !== "badge-good" ? [badge, h("span", { class: "source-error" }, row.lastError)] : badge;
      },
    },
    { key: "received", title: "Received", numeric: true, value: (row) => row.received, cell: (row) => format.number(row.received) },
    {
      key: "unacknowledged",
      title: "Waiting",
      numeric: true,
      value: (row) => row.unacknowledged,
      cell: (row) => {
        if (row.unacknowledged === 0) return "0";
        const age = format.duration(row.oldestUnacknowledgedSeconds);
        const words = `${format.number(row.unacknowledged)}, for ${age}`;
        return row.oldestUnacknowledgedSeconds > LAG_BAD_SECONDS ? h("span", { class: "badge badge-bad" }, words) : words;
      },
    },
    { key: "reconnects", title: "Reconnects", numeric: true, hide: "narrow", value: (row) => row.reconnects, cell: (row) => format.number(row.reconnects) },
    { key: "last", title: "Last message", hide: "narrow", value: (row) => row.lastMessageAt ?? "", cell: (row) => (row.lastMessageAt ? format.ago(row.lastMessageAt) : "\u2013") },
  ];
}

/** Each invariant with what was found, and when everything was last looked at. */
export function createInvariants(format) {
  const panel = createPanel({ name: "reconcile", title: "Every total, checked", size: "auto" });
  panel.element.setAttribute("aria-busy", "false");
  const verdict = h("span", { class: "badge" });
  panel.tools.append(verdict);
  const list = h("ul", { class: "invariants" });
  panel.show(list);
  let drawn = "";
  return {
    element: panel.element,
    update({ passes, lastPassAt, invariants }) {
      const found = invariants.reduce((sum, { violations }) => sum + violations, 0);
      const checked = passes > 0 || found > 0;
      verdict.className = `badge ${found > 0 ? "badge-bad" : checked ? "badge-good" : ""}`;
      text(verdict, found > 0 ? `${format.number(found)} found` : checked ? "Adds up" : "First pass runs");
      panel.note(lastPassAt ? `Last pass over everything ${format.ago(lastPassAt)}` : "No pass over everything has ended yet");
      const next = JSON.stringify(invariants);
      if (next === drawn) return;
      drawn = next;
      fill(list, Object.entries(INVARIANTS).map(([name, words]) => line(name, words, invariants.find((one) => one.name === name), format)));
    },
  };
}

function line(name, words, found, format) {
  const [kind, word] = !found ? ["idle", "Not yet"] : found.violations > 0 ? ["bad", format.number(found.violations)] : ["good", "OK"];
  return h(
    "li",
    { dataset: { invariant: name, violations: found?.violations ?? "" } },
    h("span", { class: "invariant-name" }, name),
    h("span", {}, words),
    h("span", { class: `level level-${kind}` }, word),
  );
}
