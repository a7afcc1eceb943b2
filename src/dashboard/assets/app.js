// Starts the dashboard: who looks, then the shell, the live figures and the page of the URL.

import { createApi } from "./api.js";
import { fill, h } from "./dom.js";
import { createFormat } from "./format.js";
import { createLive } from "./live.js";
import { PAGES, pageOf } from "./pages.js";
import { createRouter } from "./router.js";
import { may, mayLook, readSession } from "./session.js";
import { createShell } from "./shell.js";
import { emptyState, failedState, pageSkeleton } from "./states.js";

const SIGN_IN = "/sign-in";
const root = document.getElementById("main");

async function start() {
  fill(root, pageSkeleton());
  const api = createApi({ onUnauthorized: toSignIn });
  let session;
  try {
    session = await readSession(api);
  } catch (failure) {
    fill(root, failedState(failure, start));
    return;
  }
  const format = createFormat(session.tenant);
  const live = createLive(api);
  const shell = createShell({ session, live, format, signOut });
  const router = createRouter({
    root,
    contextOf: () => ({ api, session, live, format, may: (permission) => may(session, permission) }),
    guard: (page) => instead(page, session),
    onPage: shell.showPage,
  });
  if (mayLook(session) && may(session, "consumption:read")) live.start();
  if (!mayLook(session) && location.pathname !== SIGN_IN && pageOf(SIGN_IN)) {
    router.navigate(signInPath(), { replace: true });
  } else {
    router.start();
  }

  async function signOut() {
    live.stop();
    await api.remove("/api/session").catch(() => null);
    // Everything that was shown leaves memory too.
    location.assign(SIGN_IN);
  }
}

/** The session has ended: everything begins anew, so that nothing of it stays in memory. */
function toSignIn() {
  if (location.pathname !== SIGN_IN) location.assign(signInPath());
}

/** Where to sign in, and to come back to. */
function signInPath() {
  if (location.pathname === SIGN_IN) return location.pathname + location.search;
  return `${SIGN_IN}?next=${encodeURIComponent(location.pathname + location.search)}`;
}

/** What is shown in place of a page; `null` when it may be shown. */
function instead(page, session) {
  const home = h("a", { class: "button", href: "/" }, "To the overview");
  if (!page) return emptyState("There is no such page", "Check the address.", home);
  if (page.path === SIGN_IN) return null;
  if (!mayLook(session))
    return emptyState("You are not signed in", "Sign in with an API key to see figures.");
  if (may(session, page.needs)) return null;
  const other = PAGES.find(({ nav, path, needs }) => nav !== false && !path.includes("{") && may(session, needs));
  const link = other && h("a", { class: "button", href: other.path }, `To ${other.title}`);
  return emptyState("Your key may not see this page", `It needs the permission ${page.needs}.`, link);
}

start();
