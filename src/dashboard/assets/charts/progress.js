// How much of a limit is used: green below 70 %, amber to 90 %, red above; and the same in words.

import { h, style } from "../dom.js";
import { percent } from "../format.js";

const AMBER_FROM = 70;
const RED_ABOVE = 90;

export function level(share) {
  if (share > RED_ABOVE) return "high";
  return share >= AMBER_FROM ? "middle" : "low";
}

/** What the colour says. */
export function levelWords(share) {
  if (share >= 100) return "Limit reached";
  return { low: "Within the limit", middle: "Much is used", high: "Nearly used up" }[level(share)];
}

/** What is used of a limit, in percent; null without a limit. */
export function shareOf(used, limit) {
  return Number(limit) > 0 ? (Number(used) / Number(limit)) * 100 : null;
}

function shown(share) {
  return percent(share, { digits: share < 10 ? 1 : 0 });
}

function track({ share, label, marks = [] }) {
  const width = (value) => `${Math.min(100, Math.max(0, value))}%`;
  return h(
    "span",
    {
      class: "progress-track",
      role: "meter",
      "aria-label": label,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": Math.min(100, Math.round(share)),
      "aria-valuetext": `${shown(share)}, ${levelWords(share).toLowerCase()}`,
    },
    marks.map(({ kind, at }) =>
      style(h("span", { class: `progress-${kind}` }), { [kind === "ahead" ? "width" : "left"]: width(at) }),
    ),
    style(h("span", { class: "progress-fill" }), { width: width(share) }),
  );
}

/**
 * For a cell of a table. `used` and `limit` in bytes; without a limit there is no bar but `none`. `label` names it for screen
 * readers.
 */
export function progressBar({ used, limit, label, none = "No limit", testid = "sim-usage-bar" }) {
  const share = shareOf(used, limit);
  const dataset = { testid, bytes: used };
  if (share === null)
    return h("span", { class: "progress-none", dataset: { ...dataset, level: "none" } }, none);
  const bar = h(
    "span",
    {
      class: `progress progress-${level(share)}`,
      title: levelWords(share),
      dataset: { ...dataset, limit, level: level(share) },
    },
    track({ share, label }),
    h("span", { class: "progress-share" }, shown(share)),
  );
  return level(share) === "high"
    ? [bar, h("span", { class: "progress-words", "aria-hidden": "true" }, levelWords(share))]
    : bar;
}

/** For a card: with a lighter bar for where it goes (`ahead`, in percent) and a mark for how much of the time is over (`time`). */
export function cycleBar({ used, limit, ahead, time, label }) {
  const share = shareOf(used, limit);
  const marks = [
    { kind: "ahead", at: ahead },
    { kind: "time", at: time },
  ].filter(({ at }) => at !== null);
  const dataset = { testid: "sim-usage-bar", bytes: used, limit, level: level(share) };
  return h(
    "span",
    { class: `progress progress-wide progress-${level(share)}`, dataset },
    track({ share, label, marks }),
  );
}
