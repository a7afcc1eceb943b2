// Why records are parked, in words.

import { h } from "../dom.js";

const REASONS = {
  malformed: ["Malformed", "Not JSON, or nested too deeply"],
  invalid: ["Invalid", "One or more fields are at fault"],
  iccid_mismatch: ["ICCID differs", "The payload names another ICCID than the topic"],
  conflict: ["Conflict", "Other content was stored under the same record before"],
  not_permitted: ["Not permitted", "The sender may not send this"],
  bad_correction: ["Bad correction", "Corrects no stored record, or takes more than is there"],
  too_old: ["Too old", "Before the moment of which raw records are kept"],
  unknown_account: ["Unknown account", "A source read an account that stands for no SIM"],
  too_many_records: ["Too many records", "More records in one payload than allowed"],
  refused_by_database: ["Refused by database", "A defect: please report it"],
};

export function reasonTitle(reason) {
  return REASONS[reason]?.[0] ?? reason;
}

export function reasonBadge(reason) {
  return h("span", { class: "badge badge-warn", title: REASONS[reason]?.[1] ?? null }, reasonTitle(reason));
}

/** How a record stands. */
export function stateWord(record, format) {
  if (record.state === "parked") return "parked";
  return record.resolvedAt ? `${record.state} ${format.ago(record.resolvedAt)}` : record.state;
}
