// Pages by the History API. What a page shows is in the URL: its path and its query.

import { announce, fill } from "./dom.js";
import { pageOf } from "./pages.js";
import { failedState, pageSkeleton } from "./states.js";

/**
 * Shows pages in `root`. `contextOf(page)` gives what a page gets beside `query`, `params`, `setQuery`, `onQuery` and `navigate`;
 * `guard(page)` may return a node that is shown instead; `onPage(page)` hears what is shown.
 */
export function createRouter({ root, contextOf, guard, onPage }) {
  let current = null;
  let turn = 0;

  const query = () => new URLSearchParams(location.search);

  function navigate(url, { replace = false } = {}) {
    const target = new URL(url, location.href);
    const here = target.pathname === location.pathname && target.search === location.search;
    history[replace || here ? "replaceState" : "pushState"]({}, "", target);
    arrive({ fresh: target.pathname !== current?.pathname });
  }

  /** `null` and empty values leave the query; lists repeat their key. */
  function setQuery(changes, { replace = false } = {}) {
    const next = query();
    for (const [name, value] of Object.entries(changes)) {
      next.delete(name);
      for (const one of Array.isArray(value) ? value : [value]) {
        if (one !== null && one !== undefined && one !== "") next.append(name, one);
      }
    }
    const search = next.toString();
    navigate(location.pathname + (search ? `?${search}` : ""), { replace });
  }

  function arrive({ fresh = false } = {}) {
    const { pathname } = location;
    if (current?.pathname === pathname && current.listeners.size > 0) {
      for (const listener of current.listeners) listener(query());
      return;
    }
    show(pathname, fresh);
  }

  function leave() {
    const leaving = current;
    current = null;
    leaving?.listeners.clear();
    try {
      leaving?.dispose?.();
    } catch (error) {
      console.error(error);
    }
  }

  async function show(pathname, fresh) {
    turn += 1;
    const mine = turn;
    leave();
    const found = pageOf(pathname);
    const listeners = new Set();
    current = { pathname, listeners, dispose: null };
    onPage(found?.page ?? null);
    document.title = found ? `${found.page.title} · simbridge` : "simbridge";
    if (fresh) window.scrollTo(0, 0);
    const instead = guard(found?.page ?? null);
    if (instead) return settle(instead, found, fresh);
    const stage = document.createElement("div");
    stage.className = "page";
    fill(root, pageSkeleton());
    try {
      const module = await found.page.load();
      if (mine !== turn) return;
      const context = { ...contextOf(found.page), params: found.params, navigate, setQuery, onQuery };
      Object.defineProperty(context, "query", { get: query, enumerable: true });
      const shown = module.show(stage, context);
      fill(root, stage);
      if (fresh) arrived(found.page);
      const dispose = await shown;
      if (mine === turn) current.dispose = dispose;
      else dispose?.();
    } catch (error) {
      if (mine !== turn) return;
      if (!error.kind) console.error(error);
      const failure = error.kind ? error : { title: "This page cannot be shown", advice: "Reload it." };
      // A module that could not be loaded stays so until the document is another one.
      const again = error.kind ? () => show(pathname, false) : () => location.reload();
      settle(failedState(failure, again), found, fresh);
    }

    function onQuery(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    }
  }

  function settle(node, found, fresh) {
    fill(root, node);
    if (fresh) arrived(found?.page);
  }

  /** Keyboards and screen readers go on at the new page. */
  function arrived(page) {
    root.focus({ preventScroll: true });
    if (page) announce(page.title);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.hash && link.pathname === location.pathname) return;
    if (!pageOf(link.pathname)) return;
    event.preventDefault();
    navigate(link.href);
  });
  window.addEventListener("popstate", () => arrive());

  return { navigate, start: () => arrive() };
}
