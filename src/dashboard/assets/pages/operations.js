// How this instance runs: asked every few seconds, with the last minutes beside each figure.

import { fill, h, text } from "../dom.js";
import { createGauge } from "../gauge.js";
import { icon } from "../icons.js";
import { createPanel } from "../panel.js";
import { createInvariants, createSources } from "../panels/operations.js";
import { failedState } from "../states.js";

const PATH = "/api/v1/operations";
const EVERY_MS = 5_000;

export async function show(root, context) {
  const { api, format } = context;
  const status = h("span", { class: "badge", dataset: { testid: "operations-status" } }, "Looking\u2026");
  const note = h("p", { class: "page-note" }, "This instance, all tenants together.");
  const problems = h("div", { class: "card problems", role: "alert", hidden: true, dataset: { testid: "operations-problems" } });
  const gauges = Object.fromEntries(GAUGES.map((gauge) => [gauge.name, createGauge(gauge)]));
  const grid = h("div", { class: "gauges" }, Object.values(gauges).map((gauge) => gauge.element));
  const balance = createBalance(format);
  const [sources, invariants] = [createSources(format), createInvariants(format)];
  root.append(
    h("div", { class: "page-head" }, h("h1", {}, "Operations"), note, h("div", { class: "page-tools" }, status)),
    problems,
    grid,
    h("div", { class: "cards" }, h("div", { class: "stack wide" }, balance.element, sources.element), slim(invariants.element)),
  );
  const abort = new AbortController();
  let timer = 0;
  let known = false;

  async function ask() {
    clearTimeout(timer);
    try {
      if (!document.hidden || !known) draw(await api.get(PATH, {}, { signal: abort.signal }));
    } catch (failure) {
      if (failure.kind === "aborted") return;
      if (!failure.kind) console.error(failure);
      failed(failure);
    }
    if (!abort.signal.aborted) timer = setTimeout(ask, EVERY_MS);
  }

  function draw(now) {
    known = true;
    root.dataset.observed = now.observedAt;
    text(note, `This instance, all tenants together. Version ${now.version}.`);
    tellStatus(now);
    for (const gauge of GAUGES) gauges[gauge.name].update(gauge.read(now, format));
    balance.update(now.ingest);
    sources.update(now.sources);
    invariants.update(now.reconcile);
  }

  function tellStatus(now) {
    const bad = now.problems.length > 0;
    const watched = GAUGES.filter((gauge) => ["warn", "bad"].includes(gauge.read(now, format).level)).length;
    status.className = `badge ${bad ? "badge-bad" : watched ? "badge-warn" : "badge-good"}`;
    text(status, bad ? "Not well" : watched ? `Nothing wrong, ${watched} to watch` : "All well");
    problems.hidden = !bad;
    const lines = JSON.stringify(now.problems);
    if (problems.dataset.lines === lines) return;
    problems.dataset.lines = lines;
    fill(problems, icon("warning"), h("ul", {}, now.problems.map((problem) => h("li", {}, problem))));
  }

  function failed(failure) {
    status.className = "badge badge-warn";
    text(status, "Not renewed");
    if (known && !failure.title) return;
    problems.hidden = false;
    problems.dataset.lines = "";
    if (known) fill(problems, icon("warning"), h("p", {}, `${failure.title}. ${failure.advice}`));
    else fill(problems, failedState(failure.kind ? failure : { title: "This cannot be shown", advice: "Reload the page." }, ask));
  }

  const again = () => !document.hidden && ask();
  document.addEventListener("visibilitychange", again);
  ask();
  return () => {
    document.removeEventListener("visibilitychange", again);
    clearTimeout(timer);
    abort.abort();
  };
}

function slim(element) {
  element.classList.add("slim");
  return element;
}

/** Good below the first bound, to be watched up to the second. */
function grade(value, [watch, bad]) {
  if (value >= bad) return "bad";
  return value >= watch ? "warn" : "good";
}

function milliseconds(value) {
  return value < 1_000 ? `${value.toLocaleString("en-GB", { maximumFractionDigits: value < 10 ? 1 : 0 })}\u00a0ms` : `${(value / 1_000).toFixed(1)}\u00a0s`;
}

/** Of a latency; bounds are those of the promise to devices: a p99 of 100 ms. */
function latency(quantiles, idle) {
  if (!quantiles) return { value: null, shown: "\u2013", level: "idle", detail: idle };
  const { p50Milliseconds: p50, p99Milliseconds: p99 } = quantiles;
  return { value: p99, shown: milliseconds(p99), level: grade(p99, [100, 1_000]), detail: `Half of them within ${milliseconds(p50)}` };
}

/** `read` gives `{value, shown, level, detail, share?}`; without a value there is nothing to tell. */
const GAUGES = [
  {
    name: "rate",
    title: "Ingest rate",
    read: ({ ingest }, format) => ({
      value: ingest.recordsPerSecond,
      shown: `${format.number(ingest.recordsPerSecond, ingest.recordsPerSecond < 10 ? 1 : 0)}/s`,
      level: ingest.recordsPerSecond > 0 ? "good" : "idle",
      detail: ingest.recordsPerSecond > 0 ? "Records committed, last 10 to 20 s" : "Nothing came lately",
    }),
  },
  { name: "commit", title: "Commit, p99", read: ({ commit }) => latency(commit, "No batch lately") },
  { name: "puback", title: "PUBACK, p99", read: ({ puback }) => latency(puback, "No message over MQTT lately") },
  {
    name: "queue",
    title: "Queue",
    read: ({ queue }, format) => {
      const share = queue.maxMessages > 0 ? queue.messages / queue.maxMessages : 0;
      return { value: queue.messages, shown: format.number(queue.messages), level: grade(share, [0.5, 0.9]), detail: `of ${format.number(queue.maxMessages)} messages that may wait`, share };
    },
  },
  {
    name: "in-flight",
    title: "In flight",
    read: ({ ingest, queue }, format) => ({
      value: ingest.inFlight,
      shown: format.number(ingest.inFlight),
      level: queue.maxMessages > 0 ? grade(ingest.inFlight / queue.maxMessages, [0.5, 0.9]) : "good",
      detail: "Records received, not decided yet",
    }),
  },
  {
    name: "lag",
    title: "Rollup lag",
    read: ({ rollup }, format) => ({
      value: rollup.lagSeconds,
      shown: format.duration(rollup.lagSeconds),
      level: grade(rollup.lagSeconds, [10, 60]),
      detail: rollup.pendingRecords > 0 ? `${format.number(rollup.pendingRecords)} records in no chart yet` : "Charts show everything",
    }),
  },
  {
    name: "connections",
    title: "MQTT connections",
    read: ({ broker }, format) => {
      if (!broker) return { value: null, shown: "\u2013", level: "idle", detail: "The embedded broker is off" };
      const { connections, paused } = broker;
      const held = paused === 1 ? "1 is held back" : `${format.number(paused)} are held back`;
      return { value: connections, shown: format.number(connections), level: paused > 0 ? "warn" : "good", detail: paused > 0 ? `${held} until commits catch up` : "None is held back" };
    },
  },
  {
    name: "runway",
    title: "Partition runway",
    read: ({ partitions }, format) => ({
      value: partitions.runwayDays,
      shown: `${format.number(Math.floor(partitions.runwayDays))} days`,
      level: grade(-partitions.runwayDays, [-14, -3]),
      detail: "for which partitions exist ahead",
    }),
  },
];

/** received = stored + duplicate + parked + in flight. */
function createBalance(format) {
  const parts = [
    ["stored", "Stored", "Committed, each exactly once"],
    ["duplicate", "Duplicates", "Sent again, counted once"],
    ["parked", "Parked", "With a reason, in the quarantine"],
    ["inFlight", "In flight", "Not decided yet"],
  ].map(([name, title, words]) => ({ name, title, words, value: h("dd", {}, "\u2013"), bar: h("span", { class: `balance-bar balance-${name}` }) }));
  const received = h("strong", { dataset: { testid: "balance-received" } }, "\u2013");
  const verdict = h("span", { class: "badge" });
  const panel = createPanel({ name: "balance", title: "Records since the start", size: "auto" });
  panel.tools.append(verdict);
  panel.element.setAttribute("aria-busy", "false");
  const line = h("div", { class: "balance-line", "aria-hidden": "true" }, parts.map((part) => part.bar));
  const list = h(
    "dl",
    { class: "balance" },
    parts.map(({ name, title, words, value }) => h("div", { dataset: { part: name } }, h("dt", {}, title), value, h("dd", { class: "balance-words" }, words))),
  );
  panel.show(h("div", {}, h("p", { class: "balance-total" }, received, " received"), line, list));
  return {
    element: panel.element,
    update(ingest) {
      text(received, format.number(ingest.received));
      const sum = parts.reduce((total, { name }) => total + ingest[name], 0);
      for (const { name, value, bar } of parts) {
        text(value, format.number(ingest[name]));
        value.dataset.value = ingest[name];
        bar.style.setProperty("flex-grow", String(sum > 0 ? ingest[name] / sum : 0));
      }
      // While records flow, the figures may be a few records apart.
      const apart = Math.abs(ingest.received - sum);
      verdict.className = `badge ${apart > 1_000 ? "badge-warn" : "badge-good"}`;
      text(verdict, apart > 1_000 ? `${format.number(apart)} apart` : "Balanced");
    },
  };
}
