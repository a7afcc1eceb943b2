// What a pool used in its period, of what limit, and where that goes.

import { createCumulativeChart } from "../charts/cumulative.js";
import { level, levelWords, shareOf } from "../charts/progress.js";
import { fill, h } from "../dom.js";
import { forecastOf } from "../forecast.js";
import { limitBar, limitFigures, outlook } from "../outlook.js";
import { createPanel } from "../panel.js";
import { exact } from "../usage.js";

/** `actions` stand beside its title. */
export function createPoolUsagePanel({ format }, actions) {
  const panel = createPanel({ name: "pool-usage", title: "Period", note: "\u00a0", shape: "list", size: "cycle", actions });
  const chart = createCumulativeChart({ name: "pool", title: "Used in the period, day by day", format });
  const content = h("div", { class: "cycle" });

  function draw(pool) {
    const { usage, period, limitBytes: limit } = pool;
    const [start, end] = [Date.parse(period.start), Date.parse(period.end)];
    const [used, digits] = [usage.usedBytes, exact(usage, "usedBytes")];
    const forecast = forecastOf({ used, limit, start, end });
    const share = shareOf(digits, limit);
    const left = Math.max(0, Math.ceil((end - Date.now()) / 86_400_000));
    const over = left === 0;
    const rest = over ? "over" : `${left === 1 ? "1 day" : `${left} days`} left`;
    panel.note(`${format.dayRange(period.firstDay, period.lastDay)}, ${rest}`);
    fill(
      content,
      h("div", { class: "cycle-top" }, amount(used, digits, limit), percent(share, usage)),
      limitBar({ forecast, used: digits, limit: String(limit), over }),
      outlook({ forecast, limit, end, what: "period", format, over }),
      chart.element,
      figures(usage, forecast, pool),
    );
    chart.element.hidden = used <= 0;
    panel.show(content);
    const now = Math.min(Date.now(), end);
    const projected = over || ["unused", "early"].includes(forecast.kind) ? null : forecast.projected;
    const points = sums(pool.days, { start, end, now, used });
    chart.update({ points, used, limit, start, end, now, projected, level: level(share) });
  }

  function amount(used, digits, limit) {
    return h(
      "p",
      { class: "cycle-used" },
      h("span", { class: "cycle-amount", dataset: { bytes: digits, testid: "pool-used" } }, format.bytes(used)),
      h("span", { class: "cycle-of" }, ` of ${format.bytes(limit)}`),
    );
  }

  function percent(share, usage) {
    return h(
      "p",
      { class: `cycle-share level-${level(share)}`, dataset: { percent: usage.percentOfLimit, testid: "pool-share" } },
      h("span", { class: "cycle-percent" }, format.percent(share, { digits: share < 10 ? 1 : 0 })),
      h("span", { class: "cycle-level" }, levelWords(share)),
    );
  }

  /** What was used up to the end of each day, the last one up to now. Days that change clocks are drawn as long as others. */
  function sums(days, { start, end, now, used }) {
    const length = (end - start) / days.length;
    let bytes = 0;
    const points = [{ at: start, bytes: 0 }];
    for (const [index, day] of days.entries()) {
      bytes = Math.min(bytes + day.usedBytes, used);
      const at = start + length * (index + 1);
      if (at < now) points.push({ at, bytes });
    }
    return [...points, { at: now, bytes: used }];
  }

  function figures(usage, forecast, pool) {
    const known = forecast.kind !== "unused" && forecast.kind !== "early";
    const items = [
      ["Left", format.bytes(usage.remainingBytes), { bytes: usage.remainingBytes, testid: "pool-left" }],
      ["Average a day", known ? format.bytes(forecast.daily) : "\u2013", {}],
      [pool.period.end > new Date().toISOString() ? "Projected total" : "Total", known ? format.bytes(forecast.projected) : "\u2013", {}],
      ["Begins on day", format.number(pool.cycleDay), {}],
    ];
    return limitFigures(items);
  }

  return {
    element: panel.element,
    dispose() {
      panel.dispose();
      chart.dispose();
    },
    load: (ask, found) =>
      panel.load(ask, (pool) => {
        draw(pool);
        found(pool);
      }),
  };
}
