// Tables that sort, search and turn pages; by themselves, or by asking the server.

import { debounced, fill, h, text, uid } from "./dom.js";
import { number } from "./format.js";
import { icon } from "./icons.js";
import { emptyState, skeleton } from "./states.js";

const SEARCH_AFTER_MS = 200;
/** One for all: to make one for each comparison would take longer than to compare. */
const COLLATOR = new Intl.Collator("en", { numeric: true });

/**
 * Columns are `{key, title, value(row), cell?(row), data?(row), numeric?, sortable?, search?, hide?}`: `value` sorts, `cell` is what is shown (a text
 * or a node), `data` becomes `data-…` attributes, `search: true` lets the search look at it, `hide: "narrow"` leaves it out on
 * phones. `onState({q, sort, page})` hears changes, where `sort` is a key, with `-` before it for descending.
 * With `remote`, rows are one page of the server's: `update(rows, {total, page, pages})`, and columns that sort say `sortable: true`; a
 * `total` of null is one that nobody counted. Test id: `table-<name>`, of the search what `searchTestid` says.
 */
export function createTable(options) {
  const { name, title, columns, pageSize = 10, searchLabel = null, csv = null, remote = false } = options;
  const { nothing = ["Nothing here", ""], onState = () => {}, state: given = {}, searchTestid = null } = options;
  const state = { q: "", sort: "", page: 1, ...given };
  const heads = new Map();
  const tableBody = h("tbody");
  const table = h("table", { class: "table", "aria-label": title }, h("thead", {}, h("tr", {}, columns.map(head))), tableBody);
  const scroller = h("div", { class: "table-scroll", role: "region", "aria-label": `${title}, as a table`, tabindex: 0 }, table);
  const blank = h("div", { class: "table-blank" }, skeleton("table"));
  const count = h("span", { class: "pager-count", role: "status" });
  const [previous, next] = [pagerButton("previous", "Previous page", -1), pagerButton("next", "Next page", 1)];
  const search = searchLabel ? searchField() : null;
  const tools = h("div", { class: "table-tools" }, search, csv);
  const element = h(
    "div",
    { class: "table-box", dataset: { testid: `table-${name}` } },
    search || csv ? tools : null,
    blank,
    scroller,
    h("div", { class: "pager" }, count, h("div", { class: "pager-buttons" }, previous, next)),
  );
  scroller.hidden = true;
  let rows = [];
  let served = { total: 0, page: 1, pages: 1 };

  function head(column) {
    const sortable = remote ? column.sortable === true : column.sortable !== false;
    const label = sortable
      ? h("button", { type: "button", class: "sort", onclick: () => sortBy(column) }, column.title, h("span", { class: "sort-mark", "aria-hidden": "true" }))
      : column.title;
    const cell = h("th", { scope: "col", class: classes(column) }, label);
    heads.set(column.key, cell);
    return cell;
  }

  function classes(column) {
    return [column.numeric && "numeric", column.hide === "narrow" && "wide-only", column.grow && "grow"].filter(Boolean).join(" ") || null;
  }

  function sortBy(column) {
    // Numbers begin with the largest, texts with the first.
    const first = column.numeric ? `-${column.key}` : column.key;
    const second = column.numeric ? column.key : `-${column.key}`;
    change({ sort: state.sort === first ? second : first, page: 1 });
  }

  function searchField() {
    const id = uid("search");
    const said = debounced((q) => change({ q, page: 1 }), SEARCH_AFTER_MS);
    const input = h("input", { id, type: "search", value: state.q, placeholder: searchLabel, autocomplete: "off", spellcheck: "false", dataset: searchTestid ? { testid: searchTestid } : {}, oninput: () => said(input.value.trim()) });
    return h("div", { class: "search" }, h("label", { class: "visually-hidden", for: id }, searchLabel), icon("search", 16), input);
  }

  function pagerButton(picture, label, by) {
    return h("button", { class: "icon-button", type: "button", "aria-label": label, title: label, onclick: () => change({ page: state.page + by }) }, icon(picture));
  }

  function change(changes) {
    Object.assign(state, changes);
    if (!remote) draw();
    else showState();
    onState({ ...state });
  }

  function matching() {
    const searched = columns.filter((column) => column.search);
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (row) => {
      const haystack = searched.map((column) => String(column.value(row) ?? "")).join(" ").toLowerCase();
      return words.every((word) => haystack.includes(word));
    };
    const found = words.length ? rows.filter(fits) : [...rows];
    const column = columns.find((one) => one.key === state.sort.replace(/^-/, ""));
    if (!column) return found;
    const sign = state.sort.startsWith("-") ? -1 : 1;
    return found.sort((a, b) => sign * compare(column.value(a), column.value(b)));
  }

  function showState() {
    for (const [key, cell] of heads) {
      const direction = state.sort === key ? "ascending" : state.sort === `-${key}` ? "descending" : null;
      if (direction) cell.setAttribute("aria-sort", direction);
      else cell.removeAttribute("aria-sort");
    }
    const input = search?.querySelector("input");
    if (input && document.activeElement !== input) input.value = state.q;
  }

  function draw() {
    const found = remote ? rows : matching();
    const pages = remote ? served.pages : Math.max(1, Math.ceil(found.length / pageSize));
    const page = remote ? served.page : Math.min(Math.max(1, state.page), pages);
    state.page = page;
    const total = remote ? served.total : found.length;
    const from = (page - 1) * pageSize;
    const shown = remote ? found : found.slice(from, from + pageSize);
    showState();
    fill(tableBody, shown.map(line));
    const none = shown.length === 0;
    scroller.hidden = none;
    blank.hidden = !none;
    if (none) fill(blank, state.q ? emptyState("Nothing matches", "Search for something else.") : emptyState(...nothing));
    const span = `${number(from + 1)}–${number(from + shown.length)}`;
    text(count, none ? "" : total === null ? span : `${span} of ${number(total)}`);
    previous.disabled = page <= 1;
    next.disabled = page >= pages;
  }

  function line(row) {
    const cells = columns.map((column, index) => {
      const shown = column.cell ? column.cell(row) : column.value(row);
      const attributes = { class: classes(column), dataset: column.data?.(row) ?? {} };
      return index === 0 ? h("th", { scope: "row", ...attributes }, shown) : h("td", attributes, shown);
    });
    const drawn = h("tr", { dataset: options.rowData?.(row) ?? {} }, cells);
    if (options.onPoint) {
      drawn.addEventListener("pointerenter", () => options.onPoint(row));
      drawn.addEventListener("pointerleave", () => options.onPoint(null));
    }
    return drawn;
  }

  return {
    element,
    update(next, paging = null) {
      rows = next;
      if (paging) served = paging;
      draw();
    },
    /** As the URL says; nobody is told. */
    setState(next) {
      Object.assign(state, next);
      if (remote) showState();
      else draw();
    },
    /** Another title of a column. */
    retitle(key, title) {
      const label = heads.get(key).querySelector("button")?.firstChild ?? heads.get(key).firstChild;
      if (label.data !== title) label.data = title;
    },
    /** Brings out a row; `fits(row element)` chooses it. */
    point(fits) {
      for (const drawn of tableBody.children) drawn.classList.toggle("pointed", fits !== null && fits(drawn));
    },
  };
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return COLLATOR.compare(String(a ?? ""), String(b ?? ""));
}
