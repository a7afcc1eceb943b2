// How much of a limit is used: green below 70 %, amber to 90 %, red above.

import { h, style } from "../dom.js";
import { percent } from "../format.js";

const AMBER_FROM = 70;
const RED_ABOVE = 90;

export function level(share) {
  if (share > RED_ABOVE) return "high";
  return share >= AMBER_FROM ? "middle" : "low";
}

/** `used` and `limit` in the same unit; without a limit there is no bar. `label` names it for screen readers. */
export function progressBar({ used, limit, label }) {
  if (!(limit > 0)) return h("span", { class: "progress-none" }, "No limit");
  const share = (Number(used) / Number(limit)) * 100;
  const filled = style(h("span", { class: "progress-fill" }), { width: `${Math.min(100, Math.max(0, share))}%` });
  return h(
    "span",
    { class: `progress progress-${level(share)}` },
    h(
      "span",
      {
        class: "progress-track",
        role: "meter",
        "aria-label": label,
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": Math.min(100, Math.round(share)),
        "aria-valuetext": percent(share),
      },
      filled,
    ),
    h("span", { class: "progress-share" }, percent(share, { digits: share < 10 ? 1 : 0 })),
  );
}
