// Parked records, one under the other. What is renewed stays where it is, with its focus.

import { fill, h, text } from "../dom.js";
import { reasonBadge, stateWord } from "./reasons.js";

/** `onMore()` hears that older ones are wanted; `linkOf(id)` is where a record leads. */
export function createParkedList({ format, linkOf, onMore }) {
  const items = h("ul", { class: "parked-list", dataset: { testid: "table-quarantine" } });
  const button = h("button", { class: "button", type: "button", onclick: onMore }, "Show older ones");
  const element = h("div", { class: "parked-box" }, items, button);
  /** Of what is shown, by number. */
  let drawn = new Map();

  function item(record) {
    const link = h(
      "a",
      { class: "parked-item", href: linkOf(record.id), dataset: { id: record.id, reason: record.reason, record: record.recordId ?? "" } },
      h("span", { class: "parked-top" }, reasonBadge(record.reason), h("span", { class: "count" }), h("time", {})),
      h("span", { class: "parked-words" }, record.problem),
      h("span", { class: "parked-whose code" }, record.iccid ?? "no ICCID", record.recordId && ` · ${record.recordId}`),
    );
    drawn.set(record.id, link);
    tell(record);
    return h("li", {}, link);
  }

  /** What changes of a record. */
  function tell(record) {
    const link = drawn.get(record.id);
    const [count, time] = [link.querySelector(".count"), link.querySelector("time")];
    count.hidden = record.seenCount <= 1;
    text(count, `${format.number(record.seenCount)}\u00d7`);
    time.setAttribute("datetime", record.lastSeenAt);
    if (record.gone) text(time, "not parked any more");
    else text(time, record.state === "parked" ? format.ago(record.lastSeenAt) : stateWord(record, format));
  }

  return {
    element,
    /** All anew; `further` when there are older ones. */
    update(records, further) {
      drawn = new Map();
      button.hidden = !further;
      fill(items, records.map(item));
    },
    /** The same records as they stand now. */
    renew(records) {
      for (const record of records) tell(record);
    },
    /** Brings out the chosen one. */
    point(chosen) {
      for (const link of drawn.values()) {
        // Its filters may be others than when it was drawn.
        link.href = linkOf(link.dataset.id);
        if (link.dataset.id === chosen) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    },
    focus: () => items.querySelector("a")?.focus(),
  };
}
