// One SIM: what it is, what it used, and where that goes.

import { fill, h, text } from "../dom.js";
import { icon } from "../icons.js";
import { createCyclePanel } from "../panels/sim-cycle.js";
import { createFactsPanel, simStatus } from "../panels/sim-facts.js";
import { createHistoryPanel } from "../panels/sim-history.js";
import { createAlertsPanel, createSessionsPanel } from "../panels/sim-lists.js";
import { createRecordsPanel } from "../panels/sim-records.js";
import { emptyState } from "../states.js";

/** New figures are asked for when some were pushed, not more often than this. */
const AGAIN_AFTER_MS = 15_000;
const TICK_MS = 10_000;
/** An ICCID, or the id that the inventory gave. */
const SIM = /^([0-9]{10,20}|sim_[0-9a-f]{24})$/;

export async function show(root, context) {
  const { api, live, format, may, params, onQuery } = context;
  const path = `/api/v1/sims/${encodeURIComponent(params.iccid)}`;
  const head = createHead(params.iccid, format);
  const facts = createFactsPanel(context);
  const usage = may("usage:read") ? createUsage(context) : null;
  facts.element.classList.add("slim");
  root.append(
    head.element,
    h("div", { class: "cards" }, usage?.top ?? null, facts.element),
    ...(usage?.rest ?? [
      h(
        "div",
        { class: "card" },
        emptyState("Your key may not see usage", "It needs the permission usage:read."),
      ),
    ]),
  );
  let sim = null;
  let asked = 0;

  function load() {
    asked = Date.now();
    // Before anything else is asked, it is known whether there is such a SIM.
    if (sim) loadUsage();
    facts.load(ask, (found) => {
      const first = sim === null;
      sim = found;
      document.title = `${found.deviceName ?? found.iccid} · simbridge`;
      head.show(found);
      if (first) loadUsage();
    });
  }

  function loadUsage() {
    if (!usage) return;
    usage.load(path, sim.iccid, context.query);
    seen();
  }

  async function ask(signal) {
    try {
      return await api.get(path, {}, { signal });
    } catch (failure) {
      // Everything else on the page would say the same.
      if (failure.kind === "missing") queueMicrotask(unknown);
      throw failure;
    }
  }

  /** Says when the SIM sent something last; what it says stays when that cannot be asked. */
  async function seen() {
    try {
      const { records } = await api.get(`${path}/usage/records`, { limit: 1 });
      head.seen(records[0] ?? null);
    } catch (failure) {
      if (!failure.kind) console.error(failure);
    }
  }

  function unknown() {
    leave();
    const all = h("a", { class: "button", href: "/sims" }, "All SIMs");
    const title = h("div", { class: "page-head" }, h("h1", {}, "SIM"));
    fill(
      root,
      title,
      h(
        "div",
        { class: "card" },
        emptyState(`There is no SIM ${params.iccid}`, "Check the ICCID, or search for a part of it.", all),
      ),
    );
  }

  let shown = query(context);
  const stopQuery = onQuery(() => {
    const next = query(context);
    if (next.range !== shown.range) usage?.history(path, next.range);
    if (next.records !== shown.records) usage?.records(path, next.records);
    shown = next;
  });
  const stopLive = live.subscribe(() => {
    if (sim && Date.now() - asked > AGAIN_AFTER_MS && !document.hidden) load();
  });
  const tick = setInterval(head.tick, TICK_MS);
  let left = false;
  function leave() {
    if (left) return;
    left = true;
    stopQuery();
    stopLive();
    clearInterval(tick);
    facts.dispose();
    usage?.dispose();
  }
  if (SIM.test(params.iccid)) load();
  else unknown();
  return leave;
}

function query({ query: now }) {
  return { range: now.get("range"), records: now.get("records") };
}

function createUsage(context) {
  const cycle = createCyclePanel(context);
  const history = createHistoryPanel(context);
  const sessions = createSessionsPanel(context);
  const alerts = createAlertsPanel(context);
  const records = createRecordsPanel(context);
  cycle.element.classList.add("wide");
  sessions.element.classList.add("half");
  alerts.element.classList.add("half");
  return {
    top: cycle.element,
    rest: [history.element, h("div", { class: "cards" }, sessions.element, alerts.element), records.element],
    load(path, iccid, asked) {
      alerts.load({ iccid });
      cycle.load(path);
      sessions.load({ path });
      history.load(path, asked.get("range"));
      records.load(path, asked.get("records"));
    },
    history: (path, range) => history.load(path, range),
    records: (path, cursor) => records.load(path, cursor),
    dispose() {
      for (const panel of [cycle, history, sessions, alerts, records]) panel.dispose();
    },
  };
}

function createHead(iccid, format) {
  const name = h("h1", {}, iccid);
  const status = h("span", {});
  const number = h("p", { class: "page-note code" }, "\u00a0");
  const words = h("span", {}, "\u00a0");
  const last = h(
    "p",
    { class: "last-seen", dataset: { testid: "last-seen" } },
    h("span", { class: "seen-dot", "aria-hidden": "true" }),
    words,
  );
  const back = h("a", { class: "back", href: "/sims" }, icon("previous", 16), "All SIMs");
  let at = null;

  function tick() {
    if (at === null) return;
    text(words, `Last seen ${format.ago(at)}`);
    last.dataset.fresh = String(Date.now() - Date.parse(at) < 3_600_000);
  }

  return {
    element: h(
      "div",
      { class: "page-head sim-head" },
      back,
      name,
      status,
      number,
      h("div", { class: "page-tools" }, last),
    ),
    tick,
    show(sim) {
      text(name, sim.deviceName ?? sim.iccid);
      text(number, sim.deviceName ? sim.iccid : "\u00a0");
      fill(status, simStatus(sim.status));
    },
    seen(record) {
      at = record?.periodEnd ?? null;
      if (at === null) return text(words, "Never seen");
      last.title = format.dateTime(at);
      last.dataset.at = at;
      tick();
    },
  };
}
