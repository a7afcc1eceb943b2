// Records that could not be stored: why, what was sent, and what to do about each.

import { fill, h } from "../dom.js";
import { createSegment } from "../filters.js";
import { createPanel } from "../panel.js";
import { createParked } from "../panels/parked.js";
import { reasonBadge, reasonTitle, stateWord } from "../panels/reasons.js";

const PATH = "/api/v1/quarantine";
const PAGE_ROWS = 50;
/** A page that stays open keeps so many rows. */
const ROWS_AT_MOST = 1_000;
const STATES = [
  ["parked", "Parked"],
  ["replayed", "Replayed"],
  ["discarded", "Discarded"],
];

export async function show(root, context) {
  const { api, format, setQuery, onQuery } = context;
  const note = h("p", { class: "page-note" }, "Records that could not be stored. Their senders will not send them again.");
  const state = createSegment({
    name: "state",
    label: "State",
    choices: STATES,
    onChosen: (chosen) => setQuery({ state: chosen === "parked" ? null : chosen, reason: null, id: null }),
  });
  const reasons = h("div", { class: "chips", role: "group", "aria-label": "Reason", dataset: { testid: "filter-reason" } });
  const panel = createPanel({ name: "quarantine", title: "Records", shape: "table", size: "l" });
  const list = createList();
  const parked = createParked(context, {
    onResolved: () => refresh(),
    onClose: () => setQuery({ id: null }),
  });
  const columns = h("div", { class: "quarantine" }, panel.element, parked.element);
  root.append(
    h("div", { class: "page-head" }, h("h1", {}, "Quarantine"), note, h("div", { class: "page-tools" }, state.element)),
    reasons,
    columns,
  );
  let rows = [];
  let cursor = null;
  let asked = "";

  const filters = () => {
    const { query } = context;
    const wanted = query.get("state");
    return {
      state: STATES.some(([id]) => id === wanted) ? wanted : "parked",
      reason: query.get("reason"),
      iccid: query.get("iccid"),
    };
  };

  function refresh() {
    const chosen = filters();
    state.show(chosen.state);
    const limit = Math.min(500, Math.max(PAGE_ROWS, rows.length));
    return panel.load((signal) => api.get(PATH, { ...chosen, limit }, { signal }), (page) => {
      rows = page.records;
      draw(page, chosen);
    });
  }

  async function more() {
    const chosen = filters();
    await panel.load((signal) => api.get(PATH, { ...chosen, limit: PAGE_ROWS, cursor }, { signal }), (page) => {
      rows = [...rows, ...page.records].slice(0, ROWS_AT_MOST);
      draw(page, chosen);
    });
  }

  function draw(page, chosen) {
    cursor = rows.length < ROWS_AT_MOST ? page.nextCursor : null;
    drawReasons(page.reasons, chosen);
    panel.note(rows.length > 0 ? `${format.number(rows.length)}${cursor ? "+" : ""} ${rows.length === 1 ? "record" : "records"}, newest first` : "");
    if (rows.length === 0) return nothing(chosen);
    list.update(rows, cursor !== null);
    panel.show(list.element);
    point();
  }

  function nothing({ state: of, reason, iccid }) {
    if (reason || iccid) panel.empty("No record matches", "Choose another reason.");
    else if (of === "parked") panel.empty("Nothing is parked", "Every record that came could be stored.");
    else panel.empty(`Nothing was ${of}`, "What leaves the quarantine is listed here.");
  }

  function drawReasons(counts, chosen) {
    const total = counts.reduce((sum, { parked: count }) => sum + count, 0);
    const some = counts.some(({ orMore }) => orMore);
    const chip = (reason, title, count, plus) =>
      h(
        "button",
        { class: "chip", type: "button", "aria-pressed": String((chosen.reason ?? "") === reason), dataset: { reason, count }, onclick: () => setQuery({ reason: reason || null, id: null }) },
        title,
        h("span", { class: "count" }, `${format.number(count)}${plus ? "+" : ""}`),
      );
    const shown = chosen.state === "parked" && total > 0;
    reasons.hidden = !shown && !chosen.reason;
    fill(reasons, chip("", "All", total, some), counts.map(({ reason, parked: count, orMore }) => chip(reason, reasonTitle(reason), count, orMore)));
  }

  function createList() {
    const items = h("ul", { class: "parked-list", dataset: { testid: "table-quarantine" } });
    const button = h("button", { class: "button", type: "button", onclick: more }, "Show older ones");
    const element = h("div", { class: "parked-box" }, items, button);
    return {
      element,
      items,
      update(records, further) {
        button.hidden = !further;
        fill(items, records.map((record) => item(record)));
      },
    };
  }

  function item(record) {
    const link = new URLSearchParams(context.query);
    link.set("id", record.id);
    return h(
      "li",
      {},
      h(
        "a",
        { class: "parked-item", href: `/quarantine?${link}`, dataset: { id: record.id, reason: record.reason, record: record.recordId ?? "" } },
        h("span", { class: "parked-top" }, reasonBadge(record.reason), record.seenCount > 1 && h("span", { class: "count" }, `${format.number(record.seenCount)}\u00d7`), h("time", { datetime: record.lastSeenAt }, record.state === "parked" ? format.ago(record.lastSeenAt) : stateWord(record, format))),
        h("span", { class: "parked-words" }, record.problem),
        h("span", { class: "parked-whose code" }, record.iccid ?? "no ICCID", record.recordId && ` · ${record.recordId}`),
      ),
    );
  }

  /** The chosen record, in the list and beside it. */
  function point() {
    const chosen = context.query.get("id");
    columns.classList.toggle("quarantine-chosen", chosen !== null);
    for (const link of list.items.querySelectorAll("a")) {
      if (link.dataset.id === chosen) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (!chosen) return parked.nothing();
    if (String(parked.id) !== chosen) parked.load(chosen);
  }

  function arrive() {
    const next = JSON.stringify(filters());
    point();
    if (next === asked) return;
    asked = next;
    rows = [];
    refresh();
  }

  arrive();
  const stop = onQuery(arrive);
  return () => {
    stop();
    panel.dispose();
    parked.dispose();
  };
}
