// The first page: the month so far, what happens now, and where it goes.

import { h, text } from "../dom.js";
import { createFigure, tween } from "../figures.js";
import { icon } from "../icons.js";
import { createCarriersPanel } from "../panels/carriers.js";
import { createNewestInvoices } from "../panels/invoices.js";
import { createRegionsPanel } from "../panels/regions.js";
import { createTrendsPanel } from "../panels/trends.js";
import { failedState } from "../states.js";
import { chartOf, exact, sumOf } from "../usage.js";

/** Figures that are pushed say when to ask again; not more often than that, and not less often than this. */
const AGAIN_AFTER_MS = 10_000;
const AGAIN_BEFORE_MS = 60_000;

export async function show(root, context) {
  const { live, format } = context;
  const period = h("p", { class: "page-note", dataset: { testid: "period" } });
  const figures = createFigures(context, period);
  const strip = createStrip(format);
  const trends = createTrendsPanel(context, {
    name: "last-day",
    title: "Last 24 hours",
    nothing: [
      "No usage in the last 24 hours",
      "Records that devices publish show here within a minute of their commit.",
    ],
  });
  const carriers = createCarriersPanel(context, { narrow: true });
  const regions = createRegionsPanel(context);
  const invoices = createNewestInvoices(context);
  const link = h("a", { class: "button", href: "/consumption" }, "Explore consumption", icon("next", 16));
  root.append(
    h(
      "div",
      { class: "page-head" },
      h("h1", {}, "Overview"),
      period,
      h("div", { class: "page-tools" }, link),
    ),
    figures.element,
    strip.element,
    h("div", { class: "cards" }, wide(trends.element), slim(carriers.element)),
    h("div", { class: "cards" }, wide(regions.element), slim(invoices.element)),
  );

  let asked = 0;
  let seen = "";
  function ask() {
    asked = Date.now();
    figures.load();
    trends.load({ granularity: "24h" });
    carriers.load({});
    regions.load({});
  }
  invoices.load();
  ask();
  const stop = live.subscribe((now) => {
    strip.update(now);
    const { last_updated: _, ...rest } = now;
    const news = JSON.stringify(rest);
    const waited = Date.now() - asked;
    if ((seen && news !== seen && waited > AGAIN_AFTER_MS) || waited > AGAIN_BEFORE_MS) ask();
    if (!seen || waited > AGAIN_AFTER_MS) seen = news;
  });
  return () => {
    stop();
    figures.dispose();
    for (const panel of [trends, carriers, regions, invoices]) panel.dispose();
  };
}

function wide(element) {
  element.classList.add("wide");
  return element;
}

function slim(element) {
  element.classList.add("slim");
  return element;
}

/** The month so far, against as many days before it. */
function createFigures({ api, format }, period) {
  const titles = {
    spend: "Spend this month",
    usage: "Data used this month",
    sims: "Active SIMs",
    average: "Average per SIM",
    projected: "Projected cost",
  };
  const cards = Object.fromEntries(
    Object.entries(titles).map(([name, title]) => [name, createFigure({ name, title, format })]),
  );
  const grid = h(
    "div",
    { class: "figures figures-five" },
    Object.values(cards).map((card) => card.element),
  );
  const notice = h("div", { hidden: true });
  const element = h("div", { dataset: { testid: "kpis" } }, notice, grid);
  let abort = new AbortController();
  let known = false;

  async function load() {
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    try {
      const kpis = await api.get("/api/consumption/kpis", {}, { signal });
      const { start, end } = kpis.period;
      const days = { granularity: "daily", start_date: start, end_date: end, split: "direction" };
      const trends = await api.get("/api/consumption/trends", days, { signal });
      draw(kpis, chartOf(trends).points);
      known = true;
      notice.hidden = true;
      grid.hidden = false;
    } catch (failure) {
      if (failure.kind === "aborted") return;
      if (!failure.kind) console.error(failure);
      // What is known stays; the badge says that the connection is gone.
      if (known) return;
      notice.replaceChildren(h("div", { class: "card" }, failedState(failure, load)));
      notice.hidden = false;
      grid.hidden = true;
    }
  }

  function draw({ data, period: range }, points) {
    text(period, format.dayRange(range.start, range.end));
    const before = points.length === 1 ? "vs the day before" : `vs ${points.length} days before`;
    const cost = points.map((point) => point.cost);
    const last = { against: before };
    cards.spend.update({
      ...last,
      value: data.totalSpend.value,
      shown: format.moneyShort,
      trend: data.totalSpend.trend,
      series: cost,
    });
    cards.usage.update({
      ...last,
      value: data.dataUsage.value,
      exact: exact(data.dataUsage, "value"),
      shown: format.bytes,
      trend: data.dataUsage.trend,
      series: points.map((point) => point.bytes),
      extra: directions(points, format),
    });
    cards.sims.update({
      ...last,
      value: data.activeSims.value,
      shown: (value) => format.number(Math.round(value)),
      trend: data.activeSims.trend,
      series: points.map((point) => point.sims),
    });
    cards.average.update({
      ...last,
      value: data.avgDataPerSim.value,
      exact: exact(data.avgDataPerSim, "value"),
      shown: format.bytes,
      trend: data.avgDataPerSim.trend,
      series: points.map((point) => (point.sims > 0 ? point.bytes / point.sims : 0)),
    });
    let sum = 0;
    // The whole month that was projected, against as many days.
    const whole = daysOfMonth(range.end);
    cards.projected.update({
      against: `vs ${whole} days before`,
      value: data.estimatedCost.value,
      shown: format.moneyShort,
      trend: data.estimatedCost.trend,
      series: cost.map((value) => (sum += value)),
    });
  }

  return { element, load, dispose: () => abort.abort() };
}

function daysOfMonth(day) {
  const [year, month] = day.split("-").map(Number);
  return new Date(Date.UTC(year, month, 0)).getUTCDate();
}

function directions(points, format) {
  const part = (name, picture, words) => {
    const digits = sumOf(points, name);
    const label = h("span", { class: "visually-hidden" }, `${words} `);
    return h(
      "span",
      { dataset: { part: name, bytes: digits } },
      label,
      icon(picture, 13),
      format.bytes(digits),
    );
  };
  return [part("download", "down", "Download"), part("upload", "up", "Upload")];
}

/** What is pushed, as it comes. */
function createStrip(format) {
  // They come in hundredths of a GB: a smaller unit would tell more than is known.
  const gigabytes = (value) =>
    value < 1 ? `${format.number(value, 2)}\u00a0GB` : format.bytes(value * 2 ** 30);
  const count = (value) => format.number(Math.round(value));
  const items = [
    ["today_data_usage", "Today", gigabytes],
    ["monthly_data_usage", "This month", gigabytes],
    ["data_usage", "All time", gigabytes],
    ["data_usage_download", "Downloaded", gigabytes],
    ["data_usage_upload", "Uploaded", gigabytes],
    ["active_sessions", "Sessions open", count],
  ].map(([name, title, shown]) => ({
    name,
    title,
    shown,
    value: h("dd", { dataset: { testid: `live-${name}` } }, "\u2013"),
  }));
  const element = h(
    "section",
    { class: "card live-strip", "aria-label": "Live figures", dataset: { testid: "panel-live" } },
    h(
      "dl",
      {},
      items.map(({ title, value }) => h("div", { class: "live-item" }, h("dt", {}, title), value)),
    ),
  );
  return {
    element,
    update(figures) {
      element.dataset.updated = figures.last_updated;
      for (const { name, shown, value } of items) {
        tween(value, figures[name], shown);
        value.dataset.value = figures[name];
      }
    },
  };
}
