// A card that loads: a title, a body of its final height from the start, and what to say when there is nothing.

import { fill, h, style, text, uid } from "./dom.js";
import { icon } from "./icons.js";
import { emptyState, failedState, skeleton } from "./states.js";

/** Failures that may go away by themselves are asked again. */
const PASSING = ["offline", "timeout", "busy", "server"];
const AGAIN_AFTER_MS = 15_000;

/**
 * `size` is the height that is kept free: what `components.css` knows as `panel-…` (`m`, `l`, …), `auto`, or pixels; `shape` is
 * what the skeleton looks like. A `note` that comes later keeps its place by being a space. Test id: `panel-<name>`.
 */
export function createPanel({ name, title, note: said = "", shape = "list", size = "m", actions = [] }) {
  const heading = uid("panel");
  const note = h("p", { class: "panel-note" }, said);
  const tools = h("div", { class: "panel-actions" }, actions);
  const notice = h("div", { class: "panel-notice", role: "status", hidden: true });
  const body = h("div", { class: `panel-body ${typeof size === "number" ? "panel-chart" : `panel-${size}`}` }, skeleton(shape));
  if (typeof size === "number") style(body, { "--height": `${size}px` });
  const element = h(
    "section",
    {
      class: "card panel",
      "aria-labelledby": heading,
      "aria-busy": "true",
      dataset: { testid: `panel-${name}` },
    },
    h("header", { class: "panel-head" }, h("div", {}, h("h2", { id: heading }, title), note), tools),
    notice,
    body,
  );
  let turn = 0;
  let shown = null;
  let abort = null;
  let retry = 0;

  function busy(is) {
    element.setAttribute("aria-busy", String(is));
  }

  function put(node, kind) {
    if (shown !== node) fill(body, node);
    shown = node;
    element.dataset.state = kind;
    notice.hidden = true;
  }

  const panel = {
    element,
    tools,
    note: (value) => text(note, value),
    show: (node) => put(node, "data"),
    empty: (heading, advice, action) => put(emptyState(heading, advice, action), "empty"),
    fail: (failure, retry) => put(failedState(failure, retry), "failed"),
    /**
     * Asks with `ask(signal)` and hands the answer to `draw`. An older question that is still open is dropped. What is shown
     * already stays while it is asked again, and when that fails.
     */
    async load(ask, draw) {
      turn += 1;
      const mine = turn;
      clearTimeout(retry);
      abort?.abort();
      abort = new AbortController();
      busy(true);
      const again = () => panel.load(ask, draw);
      try {
        const answer = await ask(abort.signal);
        if (mine !== turn) return;
        draw(answer);
      } catch (failure) {
        if (mine !== turn || failure.kind === "aborted") return;
        if (!failure.kind) console.error(failure);
        const told = failure.kind
          ? failure
          : { title: "This cannot be shown", advice: "Reload the page; if it comes back, report it." };
        if (element.dataset.state === "data") panel.stale(told, again);
        else panel.fail(told, again);
        if (PASSING.includes(told.kind)) {
          retry = setTimeout(() => element.isConnected && mine === turn && again(), AGAIN_AFTER_MS);
        }
      }
      if (mine === turn) busy(false);
    },
    /** The figures are older than they should be. */
    stale(failure, retry) {
      const again = h("button", { class: "link-button", type: "button", onclick: retry }, "Try again");
      fill(notice, icon("warning", 16), h("span", {}, `Not renewed: ${failure.title}. `), again);
      notice.hidden = false;
    },
    dispose() {
      turn += 1;
      clearTimeout(retry);
      abort?.abort();
    },
  };
  return panel;
}
