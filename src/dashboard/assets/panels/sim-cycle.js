// What a SIM used in its billing cycle, of what limit, and where that goes.

import { fill, h } from "../dom.js";
import { createCumulativeChart } from "../charts/cumulative.js";
import { level, levelWords, shareOf } from "../charts/progress.js";
import { forecastOf } from "../forecast.js";
import { limitBar, limitFigures, outlook } from "../outlook.js";
import { createPanel } from "../panel.js";
import { exact } from "../usage.js";

export function createCyclePanel({ api, format }) {
  const panel = createPanel({
    name: "cycle",
    title: "Billing cycle",
    note: "\u00a0",
    shape: "list",
    size: "cycle",
  });
  const chart = createCumulativeChart({ name: "cycle", title: "Used in the cycle, day by day", format });
  const content = h("div", { class: "cycle" });

  function draw([answer, history]) {
    const { billingCycle, usage, limit } = answer;
    const [start, end] = [Date.parse(billingCycle.start), Date.parse(billingCycle.end)];
    const used = usage.totalBytes;
    const most = limit.totalBytes;
    const forecast = forecastOf({ used, limit: most, start, end });
    const share = shareOf(used, most);
    const left = Math.max(0, Math.ceil((end - Date.now()) / 86_400_000));
    panel.note(
      `${format.dayRange(format.isoDay(start), format.isoDay(end - 1))}, ${left === 1 ? "1 day" : `${left} days`} left`,
    );
    fill(
      content,
      h(
        "div",
        { class: "cycle-top" },
        h(
          "p",
          { class: "cycle-used" },
          h(
            "span",
            { class: "cycle-amount", dataset: { bytes: exact(usage, "totalBytes"), testid: "cycle-used" } },
            format.bytes(used),
          ),
          h("span", { class: "cycle-of" }, most > 0 ? ` of ${format.bytes(most)}` : " used, no limit"),
        ),
        share !== null &&
          h(
            "p",
            {
              class: `cycle-share level-${level(share)}`,
              dataset: { percent: usage.percentOfLimit, testid: "cycle-share" },
            },
            h("span", { class: "cycle-percent" }, format.percent(share, { digits: share < 10 ? 1 : 0 })),
            h("span", { class: "cycle-level" }, levelWords(share)),
          ),
      ),
      share !== null && limitBar({ forecast, used: exact(usage, "totalBytes"), limit: exact(limit, "totalBytes") }),
      outlook({ forecast, limit: most, end, what: "cycle", format }),
      chart.element,
      figures(usage, forecast),
    );
    chart.element.hidden = used <= 0;
    panel.show(content);
    const projected = ["unused", "early"].includes(forecast.kind) ? null : forecast.projected;
    const now = Math.min(Date.now(), end);
    chart.update({
      points: sums(history.data, { start, now, used }),
      used,
      limit: most,
      start,
      end,
      now,
      projected,
      level: share === null ? "none" : level(share),
    });
  }

  /** What was used up to the end of each day. The rollups of days may be a little behind the sum of the cycle. */
  function sums(days, { start, now, used }) {
    let bytes = 0;
    const points = [{ at: start, bytes: 0 }];
    for (const day of days) {
      bytes = Math.min(bytes + day.totalBytes, used);
      const at = Date.parse(day.end);
      if (at > start && at < now) points.push({ at, bytes });
    }
    return [...points, { at: now, bytes: used }];
  }

  async function ask(path, signal) {
    const answer = await api.get(`${path}/usage`, {}, { signal });
    const start = format.isoDay(answer.billingCycle.start);
    return [answer, await api.get(`${path}/usage/history`, { granularity: "daily", start }, { signal })];
  }

  function figures(usage, forecast) {
    const known = forecast.kind !== "unused" && forecast.kind !== "early";
    const items = [
      ["Download", format.bytes(usage.dataDownloadBytes), { bytes: exact(usage, "dataDownloadBytes") }],
      ["Upload", format.bytes(usage.dataUploadBytes), { bytes: exact(usage, "dataUploadBytes") }],
      ["Average a day", known ? format.bytes(forecast.daily) : "\u2013", {}],
      ["Projected total", known ? format.bytes(forecast.projected) : "\u2013", { testid: "cycle-projected" }],
    ];
    return limitFigures(items);
  }

  return {
    element: panel.element,
    dispose() {
      panel.dispose();
      chart.dispose();
    },
    load: (path) => panel.load((signal) => ask(path, signal), draw),
  };
}
