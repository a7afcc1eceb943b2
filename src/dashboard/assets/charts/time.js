// Volume as bars, stacked when it is split, and cost as a line over the same periods.

import { attributes, fill, h, onSize, svg, uid } from "../dom.js";
import { decimals } from "../format.js";
import { alongside, byteAxis, colourClass, stride } from "./scale.js";
import { dataTable } from "./numbers.js";
import { attachPointer } from "./pointer.js";

const TOP = 10;
const BOTTOM = 26;

/**
 * `update({points, series, labels, rolling})`: points are `{start, end, bytes, exact, cost, sims, parts}`, with `parts` by the ids
 * of `series` (`{id, name, colour}`); `labels` are `{short(point), long(point), column}`; `rolling` is `{from, to, text}` in milliseconds or null.
 * `onZoom(first, last)` gets the indexes of a range that was dragged. Without `costs`, points have neither `cost` nor `sims`. Test id:
 * `chart-<name>`.
 */
export function createTimeChart({ name, title, format, onZoom = null, height: least = 280, costs = true }) {
  const hidden = new Set(costs ? [] : ["cost"]);
  const grid = svg("g", { class: "grid" });
  const bars = svg("g", { class: "bars" });
  const [halo, line, open] = ["cost-halo", "cost-line", "cost-line cost-open"].map((name) => svg("path", { class: name }));
  const dots = svg("g", { class: "cost-dots" });
  const band = svg("rect", { class: "hover-band", visibility: "hidden" });
  const cross = svg("line", { class: "crosshair", visibility: "hidden" });
  const selection = svg("rect", { class: "selection", visibility: "hidden" });
  const mark = svg("rect", { class: "rolling-mark", rx: 1.5, visibility: "hidden" });
  const xLabels = svg("g", { class: "axis" });
  const canvas = svg("svg", { class: "time-canvas", "aria-hidden": "true" }, band, grid, bars, halo, line, open, dots, mark, cross, selection, xLabels);
  const help = uid("chart-help");
  const tooltip = h("div", { class: "tooltip", hidden: true });
  const plot = h(
    "div",
    {
      class: "time-plot",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "chart",
      "aria-label": title,
      "aria-describedby": help,
      style: { "min-height": `${least}px` },
    },
    canvas,
    tooltip,
  );
  const legend = h("div", { class: "legend" });
  const numbers = h("div", { class: "visually-hidden" });
  const keys = onZoom ? "Left and right move, with Shift they select, Enter zooms in." : "Left and right move.";
  const element = h(
    "div",
    { class: "time-chart", dataset: { testid: `chart-${name}` } },
    legend,
    plot,
    h("p", { class: "visually-hidden", id: help }, `${keys} The numbers are in the table that follows.`),
    numbers,
  );

  let data = null;
  let frame = null;
  let [width, height] = [0, least];
  const stopWatching = onSize(plot, (...size) => {
    [width, height] = size;
    draw();
  });
  const pointer = attachPointer({
    plot,
    tooltip,
    parts: { band, cross, selection },
    frame: () => frame,
    describe: (index) => describe(index),
    onZoom,
  });

  function toggle(id) {
    if (!hidden.delete(id)) hidden.add(id);
    drawLegend();
    draw();
  }

  function drawLegend() {
    const entry = (id, label, kind) =>
      h(
        "button",
        {
          class: `legend-entry ${kind}`,
          type: "button",
          "aria-pressed": String(!hidden.has(id)),
          onclick: () => toggle(id),
        },
        h("span", { class: "legend-mark", "aria-hidden": "true" }),
        h("span", { class: "clip", title: label }, label),
      );
    fill(
      legend,
      data.series.map((series) => entry(series.id, series.name, colourClass(series.colour))),
      costs && entry("cost", `Cost (${format.currency})`, "legend-cost"),
    );
  }

  function draw() {
    if (!data || width === 0) return;
    frame = geometry();
    attributes(canvas, { width, height, viewBox: `0 0 ${width} ${height}` });
    drawAxes();
    drawBars();
    drawLine();
    drawMark();
    pointer.redraw();
  }

  function geometry() {
    const shown = data.series.filter((series) => !hidden.has(series.id));
    const sums = data.points.map((point) => shown.reduce((sum, { id }) => sum + Math.max(0, point.parts[id] ?? 0), 0));
    const volume = byteAxis(Math.max(0, ...sums), 4);
    const cost = alongside(Math.max(0, ...data.points.map((point) => point.cost ?? 0)), volume.steps);
    const narrow = width < 480;
    const [left, beside] = narrow ? [52, 44] : [64, 64];
    const right = costs ? beside : 8;
    const inner = { left, right: width - right, top: TOP, bottom: height - BOTTOM };
    const slot = (inner.right - inner.left) / Math.max(1, data.points.length);
    return {
      shown,
      volume,
      cost,
      inner,
      slot,
      points: data.points,
      bar: Math.max(1, Math.min(slot * 0.72, 48)),
      x: (index) => inner.left + slot * (index + 0.5),
      y: (share) => inner.bottom - (inner.bottom - inner.top) * share,
      /** Where a moment is: within its period, which may be cut. */
      at(moment) {
        const index = data.points.findIndex((point) => moment < point.endMs);
        if (index < 0) return inner.right;
        const { startMs, endMs } = data.points[index];
        return inner.left + slot * (index + Math.max(0, moment - startMs) / (endMs - startMs));
      },
    };
  }

  function drawAxes() {
    const { volume, cost, inner, y, x, slot } = frame;
    const lines = [];
    for (let step = 0; step <= volume.steps; step += 1) {
      const at = Math.round(y(step / volume.steps)) + 0.5;
      lines.push(
        svg("line", { class: step === 0 ? "base" : "", x1: inner.left, x2: inner.right, y1: at, y2: at }),
        svg("text", { class: "axis-volume", x: inner.left - 8, y: at + 4, "text-anchor": "end" }, volume.label(step * volume.step)),
      );
      if (!hidden.has("cost")) {
        const label = axisMoney(step * cost.step, cost.step);
        lines.push(svg("text", { class: "axis-cost", x: inner.right + 8, y: at + 4 }, label));
      }
    }
    fill(grid, lines);
    const every = stride(data.points.length, inner.right - inner.left, 58);
    const last = data.points.length - 1;
    const labels = data.points.flatMap((point, index) => {
      // Counted from the newest one, which always has its label.
      if ((last - index) % every !== 0) return [];
      const label = data.labels.short(point);
      const anchor = slot * every > label.length * 6.5 || data.points.length < 3 ? "middle" : index === last ? "end" : "middle";
      return [svg("text", { x: x(index), y: height - 8, "text-anchor": anchor }, label)];
    });
    fill(xLabels, labels);
  }

  function drawBars() {
    const { shown, volume, x, y, bar, points } = frame;
    const wanted = points.length * shown.length;
    while (bars.childElementCount > wanted) bars.lastChild.remove();
    while (bars.childElementCount < wanted) bars.append(svg("rect"));
    let at = 0;
    const rects = bars.children;
    points.forEach((point, index) => {
      let below = 0;
      for (const series of shown) {
        const value = Math.max(0, point.parts[series.id] ?? 0);
        const [from, to] = [y(below / volume.top), y((below + value) / volume.top)];
        // A hair of the card between stacked parts.
        const gap = below > 0 && from - to > 3 ? 1 : 0;
        const tall = Math.max(value > 0 ? 1 : 0, from - to - gap);
        attributes(rects[at], {
          class: point.unfinished ? `${colourClass(series.colour)} unfinished` : colourClass(series.colour),
          x: round(x(index) - bar / 2),
          y: round(from - gap - tall),
          width: round(bar),
          height: round(tall),
          rx: Math.min(3, bar / 4, tall / 2),
        });
        below += value;
        at += 1;
      }
    });
  }

  function drawLine() {
    const { cost, points, x, y } = frame;
    const visible = !hidden.has("cost") && points.length > 0;
    const spots = visible ? points.map((point, index) => [round(x(index)), round(y(point.cost / cost.top))]) : [];
    const path = (some) => (some.length > 1 ? `M${some.map((spot) => spot.join(" ")).join("L")}` : "M0 0");
    // What leads to a period that is not over says nothing of its end.
    const over = points.findIndex((point) => point.unfinished);
    const closed = over < 0 ? spots : spots.slice(0, over);
    for (const drawn of [halo, line]) attributes(drawn, { d: path(closed) });
    attributes(open, { d: over > 0 ? path(spots.slice(over - 1)) : "M0 0" });
    const few = visible && frame.slot >= 14;
    fill(
      dots,
      few ? spots.map(([cx, cy]) => svg("circle", { cx, cy, r: 2.5 })) : [],
    );
  }

  /** Below the periods whose newest records are not in the bars yet. */
  function drawMark() {
    if (!data.rolling || data.points.length === 0) return mark.setAttribute("visibility", "hidden");
    const { inner, at } = frame;
    const to = at(data.rolling.to);
    const from = Math.min(at(data.rolling.from), to - 8);
    attributes(mark, { x: round(from), y: inner.bottom + 2, width: round(to - from), height: 3, visibility: "visible" });
  }

  function describe(index) {
    const point = data.points[index];
    const row = (kind, label, value, exact) =>
      h(
        "div",
        { class: `tooltip-row ${kind}` },
        h("span", { class: "legend-mark", "aria-hidden": "true" }),
        h("span", { class: "tooltip-label" }, label),
        h("span", { class: "tooltip-value", dataset: exact === undefined ? {} : { bytes: exact } }, value),
      );
    const split = data.series.length > 1;
    const parts = frame.shown.map((series) =>
      row(colourClass(series.colour), series.name, format.bytes(point.parts[series.id] ?? 0)),
    );
    const isNewest = data.rolling && point.endMs > data.rolling.from && point.startMs <= data.rolling.to;
    return {
      nodes: [
        h("p", { class: "tooltip-title" }, data.labels.long(point)),
        split ? parts.reverse() : [],
        row(split ? "tooltip-total" : colourClass(0), split ? "Total" : "Data", format.bytes(point.bytes), point.exact),
        costs && row("legend-cost", "Cost", format.money(point.cost)),
        costs && row("tooltip-plain", "SIMs", format.number(point.sims)),
        point.unfinished ? h("p", { class: "tooltip-note" }, "Not over yet.", isNewest ? ` ${data.rolling.text}` : "") : null,
      ],
      words: `${data.labels.long(point)}: ${format.bytes(point.bytes)}${costs ? `, ${format.money(point.cost)}, ${format.number(point.sims)} SIMs` : ""}`,
    };
  }

  return {
    element,
    update(next) {
      const now = Date.now();
      const points = next.points.map((point) => ({
        ...point,
        startMs: Date.parse(point.start),
        endMs: Date.parse(point.end),
        unfinished: Date.parse(point.end) > now,
      }));
      data = { ...next, points };
      for (const id of [...hidden]) {
        if (id !== "cost" && !data.series.some((series) => series.id === id)) hidden.delete(id);
      }
      drawLegend();
      draw();
      fill(numbers, dataTable({ title, data, format, costs }));
    },
    focus: () => plot.focus({ preventScroll: true }),
    dispose() {
      stopWatching();
      pointer.dispose();
    },
  };
}

const LARGE = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 2 });

function axisMoney(value, step) {
  if (value >= 10_000) return LARGE.format(value);
  return decimals(value, step < 0.01 ? 4 : 2, step < 1 && value > 0 ? 2 : 0);
}

function round(value) {
  return Math.round(value * 10) / 10;
}
