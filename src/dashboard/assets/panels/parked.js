// One parked record: what is wrong with it, what was sent, and what to do about it.

import { confirmDialog } from "../dialog.js";
import { announce, fill, h, text, uid } from "../dom.js";
import { icon } from "../icons.js";
import { faultOf, spaced } from "../json-text.js";
import { createPanel } from "../panel.js";
import { reasonBadge, stateWord } from "./reasons.js";

const PATH = "/api/v1/quarantine";

/** `onResolved(id)` hears that a record left the quarantine; `onClose()` that nobody wants to see it any more. */
export function createParked({ api, format, may }, { onResolved, onClose }) {
  const close = h("button", { class: "icon-button", type: "button", "aria-label": "Close", title: "Close", onclick: onClose }, icon("close"));
  const panel = createPanel({ name: "parked", title: "Record", shape: "list", size: "l", actions: [close] });
  const result = h("div", { class: "result", role: "status", hidden: true, dataset: { testid: "quarantine-result" } });
  const mender = may("admin:quarantine");
  let shown = null;

  function tell(kind, title, words = null) {
    result.hidden = !title;
    if (!title) return;
    result.className = `result result-${kind}`;
    result.dataset.kind = kind;
    fill(result, icon(kind === "good" ? "check" : "warning"), h("div", {}, h("strong", {}, title), words && h("p", {}, words)));
    announce(words ? `${title}. ${words}` : title);
  }

  function draw(record) {
    shown = record;
    const editor = createEditor(record, mender && record.state === "parked");
    panel.note(`Number ${record.id}, ${stateWord(record, format)}`);
    panel.show(
      h(
        "div",
        { class: "parked", dataset: { testid: "parked", id: record.id, state: record.state } },
        problem(record),
        facts(record, format),
        editor.element,
        result,
        record.state === "parked" ? buttons(record, editor) : null,
      ),
    );
  }

  function buttons(record, editor) {
    if (!mender) return h("p", { class: "parked-hint" }, "Your key may look only. To mend records it needs admin:quarantine.");
    const replay = h("button", { class: "button button-primary", type: "button", dataset: { testid: "replay" } }, icon("retry", 16), h("span", {}, "Replay as it was sent"));
    const reset = h("button", { class: "button", type: "button", disabled: true, dataset: { testid: "reset" }, onclick: () => editor.reset() }, "Undo edits");
    const discard = h("button", { class: "button button-danger", type: "button", dataset: { testid: "discard" } }, "Discard\u2026");
    const all = [replay, reset, discard];
    const busy = (is) => all.forEach((button) => (button.disabled = is || (button === reset && !editor.isEdited())));
    editor.onEdit(() => {
      reset.disabled = !editor.isEdited();
      text(replay.lastChild, editor.isEdited() ? "Replay with your edits" : "Replay as it was sent");
    });
    replay.addEventListener("click", async () => {
      busy(true);
      tell(null, null);
      try {
        const body = editor.isEdited() ? { payload: editor.value() } : {};
        const { records } = await api.post(`${PATH}/${record.id}/replay`, body);
        resolved(record, "replayed", ...stored(records, format));
      } catch (failure) {
        refused(failure);
        busy(false);
      }
    });
    discard.addEventListener("click", async () => {
      const sure = await confirmDialog({
        title: "Discard this record?",
        words: "It was acknowledged to its sender and will not come again. What it says is not counted, and cannot be replayed afterwards.",
        action: "Discard it",
      });
      if (!sure) return discard.focus();
      busy(true);
      try {
        await api.remove(`${PATH}/${record.id}`);
        resolved(record, "discarded", "Discarded", "It is not counted anywhere.");
      } catch (failure) {
        refused(failure);
        busy(false);
      }
    });
    return h("div", { class: "parked-buttons" }, all);
  }

  function refused(failure) {
    if (!failure.kind) console.error(failure);
    if (failure.kind !== "conflict") return tell("bad", failure.title ?? "That went wrong", failure.advice ?? "Try again.");
    const still = /^still cannot be stored: /i;
    if (still.test(failure.advice)) tell("bad", "It still cannot be stored", failure.advice.replace(still, ""));
    else tell("bad", "Somebody was faster", `This record ${failure.advice.toLowerCase()}`);
  }

  function resolved(record, state, title, words) {
    draw({ ...record, state, resolvedAt: new Date().toISOString() });
    tell("good", title, words);
    onResolved(record.id);
  }

  return {
    element: panel.element,
    dispose: panel.dispose,
    get id() {
      return shown?.id ?? null;
    },
    load(id) {
      tell(null, null);
      return panel.load((signal) => api.get(`${PATH}/${encodeURIComponent(id)}`, {}, { signal }), draw);
    },
    nothing() {
      shown = null;
      panel.note("");
      panel.empty("Choose a record", "Its payload and what is wrong with it are shown here.");
      panel.element.setAttribute("aria-busy", "false");
    },
  };
}

function problem(record) {
  const faults = record.problem.split("; ");
  return h(
    "div",
    { class: "parked-problem" },
    reasonBadge(record.reason),
    faults.length > 1 ? h("ul", {}, faults.map((fault) => h("li", {}, fault))) : h("p", {}, faults[0]),
  );
}

function facts(record, format) {
  const rows = [
    ["ICCID", record.iccid && h("a", { class: "code", href: `/sims/${encodeURIComponent(record.iccid)}` }, record.iccid)],
    ["Record", record.recordId && h("span", { class: "code" }, record.recordId)],
    ["Came by", `${record.via}, from ${record.sender || "somebody without a name"}`],
    ["Topic", record.topic && h("span", { class: "code" }, record.topic)],
    ["First seen", format.dateTime(record.firstSeenAt)],
    ["Last seen", record.seenCount > 1 ? `${format.dateTime(record.lastSeenAt)}, ${format.number(record.seenCount)} times in all` : format.dateTime(record.lastSeenAt)],
  ];
  return h("dl", { class: "facts" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value || "\u2013"))));
}

/** The payload; edited where that is possible. It is shown spaced out, and sent as it came unless somebody changed it. */
function createEditor(record, editable) {
  const id = uid("payload");
  const first = record.payload === null ? record.payloadBase64 : spaced(record.payload);
  const area = h("textarea", {
    id,
    class: "payload",
    rows: Math.min(22, Math.max(6, first.split("\n").length + 1)),
    spellcheck: "false",
    autocapitalize: "off",
    wrap: "soft",
    readonly: !editable || record.payload === null,
    dataset: { testid: "payload", bytes: record.payloadBytes },
  });
  area.value = first;
  const hint = h("p", { class: "parked-hint", role: "status" });
  const listeners = new Set();
  const edited = () => area.value !== first;
  const look = () => {
    const fault = edited() ? faultOf(area.value) : null;
    text(hint, fault ? `No JSON yet: ${fault}` : "");
    for (const listener of listeners) listener();
  };
  area.addEventListener("input", look);
  const words = record.payload === null ? "Payload, which is no text, in base64" : "Payload";
  return {
    element: h("div", { class: "payload-box" }, h("label", { for: id }, words, h("small", {}, `${record.payloadBytes.toLocaleString("en-GB")} bytes`)), area, hint),
    isEdited: edited,
    value: () => area.value,
    onEdit: (listener) => listeners.add(listener),
    reset() {
      area.value = first;
      look();
      area.focus();
    },
  };
}

/** What became of a payload's records, in words. */
function stored(records, format) {
  const fresh = records.filter(({ status }) => status === "ACCEPTED").length;
  const before = records.length - fresh;
  const count = (number) => `${format.number(number)} ${number === 1 ? "record" : "records"}`;
  if (fresh === 0) return ["Stored before", `${count(before)} of it had been stored already; nothing is counted twice.`];
  const rest = before > 0 ? ` ${count(before)} had been stored before.` : "";
  return ["Stored", `${count(fresh)} will be in the charts within seconds.${rest}`];
}
