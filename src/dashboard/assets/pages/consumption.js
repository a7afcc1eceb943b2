// Usage and cost of a range: over time, by carrier, by place, by SIM.

import { h, style, text } from "../dom.js";
import { tween } from "../figures.js";
import { createChoicePicker, createRangePicker, createSegment } from "../filters.js";
import { icon } from "../icons.js";
import { networkNames } from "../networks.js";
import { createCarriersPanel } from "../panels/carriers.js";
import { createDetailsPanel } from "../panels/details.js";
import { createRegionsPanel } from "../panels/regions.js";
import { createTrendsPanel } from "../panels/trends.js";
import { dayCount, dayQuery, GRANULARITIES, readRange, trendQuery, zoomTo } from "../range.js";
import { exact } from "../usage.js";

/** New figures are asked for when some were pushed, not more often than this. */
const AGAIN_AFTER_MS = 30_000;
const SIMS_BY_HOUR = 20;

export async function show(root, context) {
  const { api, live, format, setQuery, onQuery } = context;
  const page = build(context);
  root.append(...page.nodes);
  let [range, shown] = [null, ""];
  let asked = 0;

  function read() {
    const { query } = context;
    range = readRange(query, format);
    const filter = { imsi: query.getAll("sim"), mccmnc: query.getAll("network") };
    const split = ["carrier", "direction"].includes(query.get("split")) ? query.get("split") : null;
    return { query, filter, split };
  }

  function update({ force = false } = {}) {
    const { query, filter, split } = read();
    page.controls.show({ range, filter, split });
    page.panels.details.setState(tableState(query, "", "-period"));
    page.panels.carriers.setState(tableState(query, "carriers-", "-data"));
    page.panels.regions.setState(tableState(query, "places-", "-data"));
    const asks = JSON.stringify([range, filter, split]);
    if (!force && asks === shown) return;
    shown = asks;
    asked = Date.now();
    ask(filter, split);
  }

  function ask(filter, split) {
    const { figures, trends, carriers, regions, details } = page.panels;
    const days = { ...dayQuery(range), ...filter };
    const hours = range.hours;
    const keep = hours && (({ start, end }) => Date.parse(start) >= hours[0] && Date.parse(end) <= hours[1]);
    const query = { ...trendQuery(range), ...filter, split };
    page.controls.csv.href = api.href("/api/consumption/trends.csv", { ...query, split: null });
    trends.load(query, { keep });
    figures.load(days);
    carriers.load(days);
    regions.load(days);
    details.load(days, range.by);
    const whole = range.trailing || hours;
    text(
      page.note,
      `${format.dayRange(range.from, range.to)}${whole ? " (whole days, except for the chart)" : ""}`,
    );
  }

  page.listen({
    zoom: (first, last) => {
      const points = page.panels.trends.points();
      if (last - first + 1 >= points.length) return;
      setQuery({ zoom: zoomTo(points[first], points[last], range, format), by: null, page: null });
    },
    undo: () => {
      setQuery({ zoom: null, by: null, page: null });
      // The button is gone now.
      page.panels.trends.focus();
    },
  });
  update();
  const stopQuery = onQuery(() => update());
  const stopLive = live.subscribe(() => {
    // A range that is over changes by late records alone; the next visit shows them.
    const current = range.to >= format.isoDay(Date.now());
    if (current && Date.now() - asked > AGAIN_AFTER_MS && !document.hidden) update({ force: true });
  });
  return () => {
    stopQuery();
    stopLive();
    page.dispose();
  };
}

function tableState(query, prefix, sort) {
  return {
    q: query.get(`${prefix}q`) ?? "",
    sort: query.get(`${prefix}sort`) ?? sort,
    page: Math.max(1, Number(query.get(`${prefix}page`)) || 1),
  };
}

/** What a table says to the URL. The first page and the usual order need no words. */
function tableQuery(prefix, usual, { q, sort, page }) {
  return {
    [`${prefix}q`]: q,
    [`${prefix}sort`]: sort === usual ? null : sort,
    [`${prefix}page`]: page > 1 ? page : null,
  };
}

function build(context) {
  const { setQuery } = context;
  const note = h("p", { class: "page-note", dataset: { testid: "period" } });
  let listeners = {};
  const controls = createControls(context, () => listeners.undo());
  const tables = (prefix, usual) => ({
    onState: (state) => setQuery(tableQuery(prefix, usual, state), { replace: true }),
  });
  const panels = {
    figures: createFigures(context),
    trends: createTrendsPanel(context, {
      title: "Consumption",
      height: 320,
      onZoom: (first, last) => listeners.zoom(first, last),
      actions: controls.chartTools,
    }),
    carriers: createCarriersPanel(context, tables("carriers-", "-data")),
    regions: createRegionsPanel(context, tables("places-", "-data")),
    details: createDetailsPanel(context, tables("", "-period")),
  };
  panels.carriers.element.classList.add("half");
  panels.regions.element.classList.add("half");
  return {
    note,
    controls,
    panels,
    nodes: [
      h(
        "div",
        { class: "page-head" },
        h("h1", {}, "Consumption"),
        note,
        h("div", { class: "page-tools" }, controls.pageTools),
      ),
      panels.figures.element,
      panels.trends.element,
      h("div", { class: "cards" }, panels.carriers.element, panels.regions.element),
      panels.details.element,
    ],
    listen: (to) => (listeners = to),
    dispose() {
      controls.dispose();
      for (const panel of Object.values(panels)) panel.dispose();
    },
  };
}

function createControls({ api, format, setQuery }, onUndo) {
  let now = null;
  const range = createRangePicker({
    format,
    onRange: (chosen) => setQuery({ ...chosen, zoom: null, by: null, page: null }),
  });
  const sims = createChoicePicker({
    name: "sim",
    title: "SIMs",
    one: "SIM",
    many: "SIMs",
    atMost: 500,
    ask: async () =>
      (await api.get("/api/consumption/unique-imsis")).data.map(({ imsi }) => ({ id: imsi, name: imsi })),
    // Hours of many SIMs would be read from too many records.
    onChosen: (sim) =>
      setQuery({
        sim,
        page: null,
        by: now.range.by === "hourly" && sim.length > SIMS_BY_HOUR ? "daily" : now.range.by,
      }),
  });
  const networks = createChoicePicker({
    name: "network",
    title: "Networks",
    one: "network",
    many: "networks",
    ask: () => askNetworks(api, format, now.range),
    onChosen: (network) => setQuery({ network, page: null }),
  });
  const clear = h(
    "button",
    { class: "button", type: "button", dataset: { testid: "filter-clear" }, onclick: clearFilters },
    icon("close", 14),
    h("span", { class: "tool-words" }, "Clear filters"),
  );
  function clearFilters() {
    setQuery({ sim: null, network: null, page: null });
    sims.element.querySelector("button").focus();
  }
  const by = createSegment({
    name: "granularity",
    label: "Length of a period",
    choices: GRANULARITIES,
    onChosen: (name) => setQuery({ by: name, page: null }),
  });
  const split = createSegment({
    name: "split",
    label: "What bars are made of",
    choices: [
      ["total", "Total"],
      ["carrier", "Carrier"],
      ["direction", "Direction"],
    ],
    onChosen: (name) => setQuery({ split: name === "total" ? null : name }),
  });
  const undo = h(
    "button",
    { class: "button", type: "button", dataset: { testid: "undo-zoom" }, onclick: onUndo },
    icon("undo", 16),
    "Undo zoom",
  );
  const csv = h(
    "a",
    {
      class: "icon-button",
      download: "trends.csv",
      "aria-label": "Chart as CSV",
      title: "Chart as CSV",
      dataset: { testid: "csv-trends" },
    },
    icon("download"),
  );
  return {
    csv,
    pageTools: [clear, sims.element, networks.element, range.element],
    chartTools: [undo, split.element, by.element, csv],
    show(next) {
      if (now && (now.range.from !== next.range.from || now.range.to !== next.range.to)) networks.forget();
      now = next;
      range.show(next.range);
      sims.show(next.filter.imsi);
      networks.show(next.filter.mccmnc);
      clear.hidden = next.filter.imsi.length + next.filter.mccmnc.length === 0;
      by.show(
        next.range.by,
        next.filter.imsi.length > SIMS_BY_HOUR
          ? next.range.allowed.filter((name) => name !== "hourly")
          : next.range.allowed,
      );
      split.show(next.split ?? "total");
      undo.hidden = !next.range.zoomed;
    },
    dispose() {
      for (const picker of [range, sims, networks]) picker.dispose();
    },
  };
}

/** Networks that served somebody in the range, the largest first. */
async function askNetworks(api, format, range) {
  const query = { granularity: "monthly", ...dayQuery(range), split: "network" };
  const { series, data } = await api.get("/api/consumption/trends", query);
  const names = await networkNames(
    api,
    series.map(({ id }) => id),
  );
  const sum = (id) =>
    data.reduce((total, { parts }) => total + (parts.find((part) => part.id === id)?.bytes ?? 0), 0);
  return series
    .filter(({ id }) => /^\d{5,6}$/.test(id))
    .map(({ id }) => ({ id, name: names.get(id) ?? id, note: format.bytes(sum(id)) }));
}

/** The sums of the range, against the days before it. */
function createFigures({ api, format }) {
  const items = [
    [
      "usage",
      "Data",
      (data) => [data.dataUsage.value, format.bytes, data.dataUsage, exact(data.dataUsage, "value")],
    ],
    ["spend", "Cost", (data) => [data.totalSpend.value, format.moneyShort, data.totalSpend]],
    [
      "sims",
      "SIMs with usage",
      (data) => [data.activeSims.value, (value) => format.number(Math.round(value)), data.activeSims],
    ],
    [
      "average",
      "Average per SIM",
      (data) => [
        data.avgDataPerSim.value,
        format.bytes,
        data.avgDataPerSim,
        exact(data.avgDataPerSim, "value"),
      ],
    ],
  ].map(([name, title, read]) => ({
    name,
    title,
    read,
    value: h("dd", { dataset: { testid: `kpi-${name}` } }, "\u2013"),
    trend: h("dd", { class: "live-trend" }, "\u00a0"),
  }));
  const element = h(
    "section",
    { class: "card live-strip", "aria-label": "Sums of the range" },
    h(
      "dl",
      {},
      items.map(({ title, value, trend }) =>
        h("div", { class: "live-item" }, h("dt", {}, title), value, trend),
      ),
    ),
  );
  let abort = new AbortController();
  return {
    element,
    async load(query) {
      const length = dayCount({ from: query.start_date, to: query.end_date });
      const against = length === 1 ? "vs the day before" : `vs ${length} days before`;
      abort.abort();
      abort = new AbortController();
      style(element, { opacity: "0.62" });
      try {
        const { data } = await api.get("/api/consumption/kpis", query, { signal: abort.signal });
        for (const { read, value, trend } of items) {
          const [amount, shown, { trend: change }, digits] = read(data);
          tween(value, amount, shown);
          Object.assign(
            value.dataset,
            digits === undefined ? { value: amount } : { value: amount, bytes: digits },
          );
          text(trend, change === 0 ? "as before" : `${format.percent(change, { sign: true })} ${against}`);
        }
      } catch (failure) {
        if (failure.kind === "aborted") return;
        if (!failure.kind) console.error(failure);
        for (const { value, trend } of items) {
          text(value, "\u2013");
          text(trend, "not available");
        }
      }
      style(element, { opacity: "1" });
    },
    dispose: () => abort.abort(),
  };
}
