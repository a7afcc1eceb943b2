// One pool: what it used of its limit, day by day, and who used how much of that.

import { fill, h, text } from "../dom.js";
import { icon } from "../icons.js";
import { createPoolMembersPanel } from "../panels/pool-members.js";
import { createPoolUsagePanel } from "../panels/pool-usage.js";
import { emptyState } from "../states.js";

/** New figures are asked for when some were pushed, not more often than this. */
const AGAIN_AFTER_MS = 15_000;
const POOL = /^[1-9][0-9]{0,9}$/;

export async function show(root, context) {
  const { api, live, params, onQuery } = context;
  const path = `/api/v1/pools/${encodeURIComponent(params.id)}`;
  const name = h("h1", {}, "Pool");
  const note = h("p", { class: "page-note" }, "\u00a0");
  const back = h("a", { class: "back", href: "/pools" }, icon("previous", 16), "All pools");
  const periods = createPeriods(context);
  const usage = createPoolUsagePanel(context, periods.elements);
  const members = createPoolMembersPanel(context);
  root.append(h("div", { class: "page-head sim-head" }, back, name, note), usage.element, members.element);
  let known = null;
  let asked = 0;

  function load() {
    asked = Date.now();
    if (known) members.load(path, known.memberCount);
    usage.load(ask, (pool) => {
      document.title = `${pool.name} · simbridge`;
      text(name, pool.name);
      periods.show(pool.period);
      text(note, `${pool.memberCount} ${pool.memberCount === 1 ? "SIM shares" : "SIMs share"} the limit`);
      // Before anything else is asked, it is known whether there is such a pool.
      if (!known) members.load(path, pool.memberCount);
      known = pool;
    });
  }

  async function ask(signal) {
    try {
      return await api.get(path, { period: context.query.get("period") }, { signal });
    } catch (failure) {
      // Everything else on the page would say the same.
      if (failure.kind === "missing") queueMicrotask(unknown);
      throw failure;
    }
  }

  function unknown() {
    leave();
    const all = h("a", { class: "button", href: "/pools" }, "All pools");
    const title = h("div", { class: "page-head" }, h("h1", {}, "Pool"));
    const said = emptyState(`There is no pool ${params.id}`, "It may have been deleted.", all);
    fill(root, title, h("div", { class: "card" }, said));
  }

  let shown = context.query.get("period");
  const stopQuery = onQuery(() => {
    const period = context.query.get("period");
    if (period !== shown) load();
    else if (known) members.load(path, known.memberCount);
    shown = period;
  });
  const stopLive = live.subscribe(() => {
    if (known && Date.now() - asked > AGAIN_AFTER_MS && !document.hidden) load();
  });
  let left = false;
  function leave() {
    if (left) return;
    left = true;
    stopQuery();
    stopLive();
    usage.dispose();
    members.dispose();
  }
  if (POOL.test(params.id)) load();
  else unknown();
  return leave;
}

/** Steps to the period before and after the one that is shown; the present one is the last. */
function createPeriods({ setQuery }) {
  let months = null;
  const step = (name, label, at) =>
    h(
      "button",
      {
        class: "icon-button",
        type: "button",
        "aria-label": label,
        title: label,
        disabled: true,
        dataset: { testid: `period-${name}` },
        onclick: () => setQuery({ period: months[at], page: null }),
      },
      icon(name),
    );
  const [previous, next] = [step("previous", "Period before", 0), step("next", "Period after", 1)];
  return {
    elements: [previous, next],
    show({ id, end }) {
      months = [monthBeside(id, -1), monthBeside(id, 1)];
      previous.disabled = false;
      next.disabled = Date.parse(end) > Date.now();
    },
  };
}

/** `2026-01` and -1: `2025-12`. */
function monthBeside(month, by) {
  const at = new Date(`${month}-01T00:00:00Z`);
  at.setUTCMonth(at.getUTCMonth() + by);
  return at.toISOString().slice(0, 7);
}
