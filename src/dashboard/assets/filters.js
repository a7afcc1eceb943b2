// What a page is about: a range of days, some SIMs, some networks.

import { debounced, fill, h, uid } from "./dom.js";
import { icon } from "./icons.js";
import { createPopover } from "./popover.js";
import { faultOf, PRESETS } from "./range.js";

const CHOICES_SHOWN = 60;

/** `onRange({range})` or `onRange({from, to})`. */
export function createRangePicker({ format, onRange }) {
  let now = null;
  const popover = createPopover({ name: "range", label: "Range", picture: "calendar", open });

  function open(close) {
    const choose = (range) => {
      close();
      onRange({ range, from: null, to: null });
    };
    const presets = PRESETS.map(({ id, title }) => {
      const chosen = now.preset?.id === id && !now.zoomed;
      return h(
        "button",
        {
          class: "choice",
          type: "button",
          "aria-pressed": String(chosen),
          dataset: { range: id },
          onclick: () => choose(id),
        },
        title,
        chosen && h("small", {}, icon("check", 16)),
      );
    });
    const fault = h("p", { class: "popover-error", role: "alert", hidden: true });
    const day = (name, label, value) =>
      h("label", {}, label, h("input", { type: "date", name, value, max: now.today, required: true }));
    const form = h(
      "form",
      {
        class: "popover-form",
        onsubmit: (event) => {
          event.preventDefault();
          const [from, to] = ["from", "to"].map((name) => form.elements[name].value);
          const wrong = faultOf(from, to);
          fault.textContent = wrong ?? "";
          fault.hidden = !wrong;
          if (wrong) return;
          close();
          onRange({ range: null, from, to });
        },
      },
      day("from", "First day", now.from),
      day("to", "Last day", now.to),
      fault,
      h("button", { class: "button button-primary", type: "submit" }, "Show these days"),
    );
    return [
      h("div", { class: "popover-list" }, presets),
      form,
      h("p", { class: "popover-foot" }, `Days in ${format.timeZone}`),
    ];
  }

  return {
    ...popover,
    show(range) {
      now = range;
      popover.tell(nameOf(range, format));
    },
  };
}

function nameOf(range, format) {
  if (range.hours) {
    const [start, end] = range.hours;
    const sameDay = format.isoDay(start) === format.isoDay(end);
    return `${format.day(start)}, ${format.time(start)} – ${sameDay ? "" : `${format.day(end)}, `}${format.time(end)}`;
  }
  return range.zoomed || !range.preset ? format.dayRange(range.from, range.to) : range.preset.title;
}

/**
 * Some of many. `ask()` gives `[{id, name, note?}]`, once; `onChosen(ids)` hears each change. `atMost` is how many the API takes.
 */
export function createChoicePicker({ name, title, one, many, ask, onChosen, atMost = 500 }) {
  let chosen = [];
  let known = null;
  const popover = createPopover({ name, label: title, picture: name === "sim" ? "sims" : "filter", open });

  function open() {
    const id = uid("choices");
    const list = h("div", { class: "popover-list", role: "group", "aria-label": title });
    const count = h("span", { role: "status" });
    const foot = h(
      "div",
      { class: "popover-foot" },
      count,
      h("button", { class: "link-button", type: "button", onclick: () => change([]) }, "Clear"),
    );
    const search = h("input", {
      id,
      type: "search",
      placeholder: `Search ${many}`,
      autocomplete: "off",
      spellcheck: "false",
      oninput: debounced(() => draw(), 80),
    });

    function change(next) {
      chosen = next;
      onChosen(next);
      draw();
    }

    function draw() {
      if (!known) return;
      const words = search.value.trim().toLowerCase();
      const fits = ({ id: value, name: label }) => `${value} ${label}`.toLowerCase().includes(words);
      // Chosen ones first, also those that had no usage and are not in the list.
      const extra = chosen.filter((value) => !known.some((choice) => choice.id === value));
      const all = [...extra.map((value) => ({ id: value, name: value })), ...known];
      const found = all.filter(fits).sort((a, b) => chosen.includes(b.id) - chosen.includes(a.id));
      fill(
        list,
        found.slice(0, CHOICES_SHOWN).map(choice),
        found.length === 0 && h("p", { class: "popover-foot" }, "Nothing matches."),
      );
      const more =
        found.length > CHOICES_SHOWN
          ? `${CHOICES_SHOWN} of ${found.length} shown`
          : `${found.length} ${found.length === 1 ? one : many}`;
      count.textContent = more;
    }

    function choice({ id: value, name: label, note }) {
      const on = chosen.includes(value);
      const box = h("input", {
        type: "checkbox",
        checked: on,
        disabled: !on && chosen.length >= atMost,
        dataset: { choice: value },
        onchange: () => {
          const next = on ? chosen.filter((other) => other !== value) : [...chosen, value];
          change(next);
          list.querySelector(`[data-choice="${value}"]`)?.focus();
        },
      });
      return h("label", { class: "choice" }, box, h("span", {}, label), note && h("small", {}, note));
    }

    fill(list, h("p", { class: "popover-foot" }, "Loading…"));
    load().then(draw, (failure) =>
      fill(list, h("p", { class: "popover-error", role: "alert" }, `${failure.title}. ${failure.advice}`)),
    );
    return [
      h(
        "div",
        { class: "search" },
        h("label", { class: "visually-hidden", for: id }, `Search ${many}`),
        icon("search", 16),
        search,
      ),
      list,
      foot,
    ];
  }

  async function load() {
    known ??= await ask();
  }

  return {
    ...popover,
    show(ids) {
      chosen = ids;
      popover.tell(title, ids.length);
    },
    /** What there is to choose from may have changed. */
    forget() {
      known = null;
    },
  };
}

/** A few exclusive choices: `[id, label]`. Test id: `filter-<name>`. */
export function createSegment({ name, label, choices, onChosen }) {
  const buttons = choices.map(([id, title]) =>
    h(
      "button",
      { type: "button", "aria-pressed": "false", dataset: { choice: id }, onclick: () => onChosen(id) },
      title,
    ),
  );
  const element = h(
    "div",
    { class: "segment", role: "group", "aria-label": label, dataset: { testid: `filter-${name}` } },
    buttons,
  );
  return {
    element,
    show(chosen, allowed = null) {
      for (const button of buttons) {
        button.setAttribute("aria-pressed", String(button.dataset.choice === chosen));
        button.disabled = allowed !== null && !allowed.includes(button.dataset.choice);
      }
    },
  };
}
