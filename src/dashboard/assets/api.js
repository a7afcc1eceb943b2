// The only door to the server. Every failure becomes `{kind, title, advice}`, which a page can show as it is.

const TIMEOUT_MS = 30_000;

/** Why a request failed, in words for whoever looks at the page. */
export class Failure extends Error {
  constructor(kind, title, advice, { status = 0, details = [], requestId = null } = {}) {
    super(title);
    Object.assign(this, { kind, title, advice, status, details, requestId });
  }
}

/** A query string; lists repeat their key, empty values are left out. */
function queryOf(parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") query.append(name, one);
    }
  }
  const text = query.toString();
  return text ? `?${text}` : "";
}

/** `onUnauthorized()` is called when the session has ended. */
export function createApi({ onUnauthorized = () => {} } = {}) {
  async function request(method, path, { query, body, signal } = {}) {
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    const options = {
      method,
      credentials: "same-origin",
      headers: { accept: "application/json" },
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    };
    if (body !== undefined) {
      options.headers["content-type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    let response;
    let answer;
    try {
      response = await fetch(path + queryOf(query), options);
      answer = await bodyOf(response);
    } catch (error) {
      throw unreachable(error, signal);
    }
    // Some routes say in the body alone that they failed.
    if (response.ok && answer?.success !== false) return answer;
    const failure = failureOf(response, answer);
    if (failure.status === 401) onUnauthorized();
    throw failure;
  }

  return {
    get: (path, query, options = {}) => request("GET", path, { query, ...options }),
    post: (path, body, options = {}) => request("POST", path, { body, ...options }),
    remove: (path, options = {}) => request("DELETE", path, options),
    /** The address of a file, for a link. */
    href: (path, query) => path + queryOf(query),
  };
}

async function bodyOf(response) {
  if (response.status === 204) return null;
  const kind = response.headers.get("content-type") ?? "";
  if (kind.includes("json")) return response.json();
  return { detail: await response.text() };
}

function unreachable(error, signal) {
  if (signal?.aborted) return new Failure("aborted", "Not asked any more", "");
  if (error.name === "TimeoutError") {
    return new Failure("timeout", "The server takes too long", "Choose a shorter range, or try again.");
  }
  return new Failure("offline", "The server cannot be reached", "Check that simbridge runs and try again.");
}

/** From the envelope of the portal, of resources (`error.code`) or of RFC 9457, whichever the path uses. */
function failureOf(response, answer) {
  const said = answer?.error?.message ?? answer?.error ?? answer?.detail ?? answer?.message ?? "";
  // Without the name of the parameter, which nobody typed.
  const message = typeof said === "string" ? sentence(said.replace(/^[a-z_]+: /, "")) : "";
  const details = answer?.error?.details ?? answer?.errors ?? [];
  const requestId = response.headers.get("x-request-id");
  const make = (kind, title, advice) =>
    new Failure(kind, title, advice, { status: response.status, details, requestId });
  switch (response.status) {
    case 400:
    case 422:
      return make("invalid", "That cannot be asked like this", message || "Check the filters.");
    case 401:
      return make("unauthorized", "You are not signed in", "Sign in with an API key to go on.");
    case 403:
      return make("forbidden", "Your key may not see this", message || "Ask for a key with the permission.");
    case 404:
      return make("missing", "There is nothing here", message || "It may have been removed.");
    case 409:
      return make("conflict", "That does not fit what is there", message || "Reload and look again.");
    case 429:
      return make("busy", "Too many requests", `Wait ${seconds(response)} and try again.`);
    case 503:
      return make(
        "busy",
        "This cannot be answered at the moment",
        `The database may be away. Try again in ${seconds(response)}.`,
      );
    default: {
      const advice = requestId
        ? `It is in the server's log under ${requestId}.`
        : "Look into the server's log.";
      return make("server", "Something went wrong on the server", advice);
    }
  }
}

function seconds(response) {
  const wait = Number(response.headers.get("retry-after"));
  return wait > 0 ? `${wait} s` : "a moment";
}

function sentence(text) {
  const trimmed = text.trim();
  if (!trimmed) return "";
  const capital = trimmed[0].toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
