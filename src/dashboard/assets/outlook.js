// Where usage of a limit goes: a bar with what is ahead, and a sentence. For the cycle of a SIM and the period of a pool.

import { cycleBar, shareOf } from "./charts/progress.js";
import { h } from "./dom.js";

/** `forecast` is of `forecastOf`; `used` and `limit` are digits. Of a time that is `over` nothing is ahead. */
export function limitBar({ forecast, used, limit, over = false }) {
  const told = !over && (forecast.kind === "fits" || forecast.kind === "exceeds");
  const ahead = told ? shareOf(forecast.projected, limit) : null;
  return h(
    "div",
    { class: "cycle-bar" },
    cycleBar({ used, limit, ahead, time: forecast.elapsed * 100, label: "Used of the limit" }),
    h(
      "p",
      { class: "cycle-key", "aria-hidden": "true" },
      h("span", { class: "key-used" }, "Used"),
      ahead !== null && h("span", { class: "key-ahead" }, "Projected"),
      h("span", { class: "key-time" }, "Time passed"),
    ),
  );
}

/** Figures beside the bar: `[name, value, dataset]` of each. */
export function limitFigures(items) {
  return h(
    "dl",
    { class: "cycle-figures" },
    items.map(([name, value, dataset]) => h("div", {}, h("dt", {}, name), h("dd", { dataset }, value))),
  );
}

/** `what` is `cycle` or `period`, `end` its end in milliseconds; of one that is `over` it is told what it came to. */
export function outlook({ forecast, limit, end, what, format, over = false }) {
  const total = format.bytes(forecast.projected);
  const share = () => format.percent(shareOf(forecast.projected, limit), { digits: 0 });
  const at = forecast.at === null ? null : format.isoDay(forecast.at);
  const days = forecast.at === null ? 0 : Math.floor((end - forecast.at) / 86_400_000);
  const before =
    days < 1
      ? `on the last day of the ${what}`
      : days === 1
        ? `a day before the ${what} ends`
        : `${days} days before the ${what} ends`;
  const said = over && forecast.kind !== "unused" ? "over" : forecast.kind;
  const words = {
    over: () => `The ${what} is over: ${total} were used, ${share()} of the limit.`,
    unused: () => `Nothing was used in this ${what}${over ? "" : " yet"}.`,
    early: () => `The ${what} has hardly begun: it is too early for a forecast.`,
    reached: () =>
      `The limit is reached. If usage goes on as in this ${what} so far, it comes to ${total}, ${share()} of the limit.`,
    exceeds: () =>
      `If usage goes on as in this ${what} so far, the limit is reached on ${format.weekday(forecast.at)}, ${before}, and the total comes to ${total}.`,
    fits: () => `If usage goes on as in this ${what} so far, it comes to ${total}, ${share()} of the limit.`,
    unlimited: () => `If usage goes on as in this ${what} so far, it comes to ${total}.`,
  }[said]();
  const kind = { reached: "bad", exceeds: "warn" }[forecast.kind] ?? "plain";
  return h(
    "p",
    {
      class: `outlook outlook-${kind}`,
      dataset: { testid: "cycle-forecast", kind: forecast.kind, ...(at ? { day: at } : {}) },
    },
    words,
  );
}
