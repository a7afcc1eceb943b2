// Records that could not be stored: why, what was sent, and what to do about each.

import { announce, h, text } from "../dom.js";
import { createSegment } from "../filters.js";
import { icon } from "../icons.js";
import { createPanel } from "../panel.js";
import { createParked } from "../panels/parked.js";
import { createParkedList } from "../panels/parked-list.js";
import { createParkedReasons } from "../panels/parked-reasons.js";

const PATH = "/api/v1/quarantine";
const PAGE_ROWS = 50;
/** As many as the API gives at once. */
const ASKED_AT_MOST = 500;
/** A page that stays open keeps so many rows. */
const ROWS_AT_MOST = 1_000;
const EVERY_MS = 5_000;
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
  const reasons = createParkedReasons({ onChosen: (reason) => setQuery({ reason: reason || null, id: null }) });
  const fresh = createFresh(async () => {
    await refresh();
    // The button is gone now.
    list.focus();
  });
  const panel = createPanel({ name: "quarantine", title: "Records", note: "\u00a0", shape: "table", size: "l", actions: [fresh.element] });
  const list = createParkedList({ format, linkOf, onMore: more });
  const parked = createParked(context, {
    onResolved: () => refresh(),
    onClose: () => setQuery({ id: null }),
  });
  const columns = h("div", { class: "quarantine" }, panel.element, parked.element);
  root.append(
    h("div", { class: "page-head" }, h("h1", {}, "Quarantine"), note, h("div", { class: "page-tools" }, state.element)),
    reasons.element,
    columns,
  );
  let rows = [];
  let cursor = null;
  let asked = "";
  let timer = 0;

  function linkOf(id) {
    const query = new URLSearchParams(context.query);
    query.set("id", id);
    return `/quarantine?${query}`;
  }

  function filters() {
    const { query } = context;
    const wanted = query.get("state");
    return {
      state: STATES.some(([id]) => id === wanted) ? wanted : "parked",
      reason: query.get("reason"),
      iccid: query.get("iccid"),
    };
  }

  function ask(more, draw) {
    const chosen = filters();
    return panel.load((signal) => api.get(PATH, { ...chosen, ...more }, { signal }), (page) => draw(page, chosen));
  }

  function refresh() {
    state.show(filters().state);
    const limit = Math.min(ASKED_AT_MOST, Math.max(PAGE_ROWS, rows.length));
    return ask({ limit }, (page, chosen) => {
      rows = page.records;
      draw(page, chosen);
    });
  }

  function more() {
    return ask({ limit: PAGE_ROWS, cursor }, (page, chosen) => {
      rows = [...rows, ...page.records].slice(0, ROWS_AT_MOST);
      draw(page, chosen);
    });
  }

  function draw(page, chosen) {
    cursor = rows.length < ROWS_AT_MOST ? page.nextCursor : null;
    reasons.show(page.reasons, chosen);
    fresh.tell(0);
    panel.note(rows.length > 0 ? `${format.number(rows.length)}${cursor ? "+" : ""} ${rows.length === 1 ? "record" : "records"}, newest first` : "\u00a0");
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

  /** Asks again, for as long as the page is shown. What somebody reads, chose or edits stays where it is: new records wait to be asked for. */
  async function renew() {
    clearTimeout(timer);
    // What was asked for by hand comes first.
    if (!document.hidden && panel.element.getAttribute("aria-busy") !== "true") {
      await ask({ limit: Math.min(ASKED_AT_MOST, rows.length + PAGE_ROWS) }, renewed);
    }
    if (timer !== null) timer = setTimeout(renew, EVERY_MS);
  }

  function renewed(page, chosen) {
    if (rows.length === 0 && (page.records.length > 0 || panel.element.dataset.state !== "empty")) {
      rows = page.records;
      return draw(page, chosen);
    }
    reasons.show(page.reasons, chosen);
    if (rows.length === 0) return;
    const now = new Map(page.records.map((record) => [record.id, record]));
    const last = page.nextCursor ? page.records.at(-1).id : 0;
    const before = new Set(rows.map(({ id }) => id));
    rows = rows.map((row) => now.get(row.id) ?? { ...row, gone: row.id >= last });
    list.renew(rows);
    fresh.tell(page.records.filter(({ id }) => id > rows.at(-1).id && !before.has(id)).length);
    // It was told that something failed.
    panel.show(list.element);
  }

  /** The chosen record, in the list and beside it. */
  function point() {
    const chosen = context.query.get("id");
    columns.classList.toggle("quarantine-chosen", chosen !== null);
    list.point(chosen);
    if (!chosen) return parked.nothing();
    if (parked.id !== chosen) parked.load(chosen);
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
  timer = setTimeout(renew, EVERY_MS);
  const stop = onQuery(arrive);
  const seen = () => !document.hidden && timer !== null && renew();
  document.addEventListener("visibilitychange", seen);
  return () => {
    stop();
    clearTimeout(timer);
    timer = null;
    document.removeEventListener("visibilitychange", seen);
    panel.dispose();
    parked.dispose();
  };
}

/** Says how many records came since the list was drawn, and shows them when it is pressed. Its place is kept. */
function createFresh(onShow) {
  const words = h("span", {});
  const element = h("button", { class: "button fresh", type: "button", dataset: { testid: "quarantine-fresh", count: 0 }, onclick: onShow }, icon("retry", 16), words);
  return {
    element,
    tell(count) {
      if (count > 0 && element.dataset.count === "0") announce(`${count} new ${count === 1 ? "record" : "records"}`);
      element.dataset.count = count;
      text(words, `${count} new`);
    },
  };
}
