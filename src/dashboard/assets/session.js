// Who looks, and what they may see.

/** A server without keys: everybody may look. */
const OPEN = { mode: "open", signedIn: false, tenant: null, permissions: [], keyName: null };

/** The session with its tenant's zone and currency filled in. */
export async function readSession(api) {
  const session = await ask(api);
  const tenant = { id: null, name: null, timeZone: "UTC", currency: null, ...session.tenant };
  if (!tenant.currency && (session.mode === "open" || session.signedIn)) {
    tenant.currency = (await api.get("/api/settings/currency")).currency;
  }
  return { ...session, tenant };
}

async function ask(api) {
  try {
    return { ...OPEN, ...(await api.get("/api/session")).data };
  } catch (failure) {
    if (failure.kind === "missing") return OPEN;
    throw failure;
  }
}

/** Whether a permission such as `sims:read` is held; `*` and `sims:*` hold it too. */
export function may(session, permission) {
  if (!permission) return true;
  // An open server without sessions does not tell what everybody may do.
  if (session.mode === "open" && session.permissions.length === 0) return true;
  const all = `${permission.split(":")[0]}:*`;
  return session.permissions.some((held) => held === "*" || held === all || held === permission);
}

/** Whether pages can be shown at all. */
export function mayLook(session) {
  return session.mode === "open" || session.signedIn;
}
