// The pages there are. Navigation shows those that the session may see; a path that is not here is told so.

/**
 * `path` may hold one `{name}`, which becomes `context.params.name`. `needs` is a permission. `nav: false` keeps a page out of the
 * navigation.
 */
export const PAGES = [
  { name: "overview", path: "/", title: "Overview", needs: "consumption:read", load: () => import("./pages/overview.js") },
  { name: "consumption", path: "/consumption", title: "Consumption", needs: "consumption:read", load: () => import("./pages/consumption.js") },
  { name: "invoices", path: "/invoices", title: "Invoices", needs: "consumption:read", load: () => import("./pages/invoices.js") },
  { name: "sims", path: "/sims", title: "SIMs", needs: "sims:read", load: () => import("./pages/sims.js") },
  { name: "sim", parent: "sims", path: "/sims/{iccid}", title: "SIM", needs: "sims:read", load: () => import("./pages/sim.js") },
  { name: "pools", path: "/pools", title: "Pools", needs: "sims:read", load: () => import("./pages/pools.js") },
  { name: "pool", parent: "pools", path: "/pools/{id}", title: "Pool", needs: "sims:read", load: () => import("./pages/pool.js") },
  { name: "operations", path: "/operations", title: "Operations", needs: "usage:read", load: () => import("./pages/operations.js") },
  { name: "quarantine", path: "/quarantine", title: "Quarantine", needs: "usage:read", load: () => import("./pages/quarantine.js") },
  { name: "sign-in", path: "/sign-in", title: "Sign in", nav: false, load: () => import("./pages/sign-in.js") },
];

/** The page of a path, with its parameters; `null` when there is none. */
export function pageOf(pathname) {
  for (const page of PAGES) {
    const params = match(page.path, pathname);
    if (params) return { page, params };
  }
  return null;
}

function match(pattern, pathname) {
  const [wanted, given] = [pattern.split("/"), pathname.replace(/(.)\/$/, "$1").split("/")];
  if (wanted.length !== given.length) return null;
  const params = {};
  for (const [at, part] of wanted.entries()) {
    if (part.startsWith("{")) {
      try {
        params[part.slice(1, -1)] = decodeURIComponent(given[at]);
      } catch {
        return null;
      }
    } else if (part !== given[at]) return null;
  }
  return params;
}
