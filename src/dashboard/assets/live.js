// Live figures: pushed over Server-Sent Events, asked for every few seconds when that stream is not to be had.

const STREAM = "/api/live/dashboard";
const POLL = "/api/dashboard/stats";
const POLL_EVERY_MS = 5_000;
/** A stream that sends nothing for so long is taken for dead. */
const SILENT_MS = 20_000;
const RETRY_FIRST_MS = 5_000;
const RETRY_AT_MOST_MS = 60_000;
/** A page that nobody sees lets its stream go after so long: browsers open only a few connections to a server, for all tabs. */
const HIDDEN_MS = 30_000;

/**
 * `state` is `connecting`, `live`, `polling`, `offline` or `paused`. Listeners get `(figures)`, watchers of the state
 * `({state, updatedAt})`.
 */
export function createLive(api) {
  const listeners = new Set();
  const watchers = new Set();
  let [state, updatedAt, latest] = ["paused", null, null];
  let [source, pollTimer, retryTimer, silence] = [null, 0, 0, 0];
  let retryMs = RETRY_FIRST_MS;
  let [asleep, sleepTimer] = [false, 0];

  function setState(next) {
    state = next;
    for (const watcher of watchers) watcher({ state, updatedAt });
  }

  function deliver(answer, next) {
    latest = answer.data;
    updatedAt = Date.now();
    setState(next);
    for (const listener of listeners) listener(latest);
  }

  function listen() {
    closeStream();
    source = new EventSource(STREAM);
    source.addEventListener("message", (event) => {
      let answer;
      try {
        answer = JSON.parse(event.data);
      } catch {
        return lost();
      }
      retryMs = RETRY_FIRST_MS;
      stopPolling();
      watchSilence();
      deliver(answer, "live");
    });
    source.addEventListener("error", lost);
    watchSilence();
  }

  function watchSilence() {
    clearTimeout(silence);
    silence = setTimeout(lost, SILENT_MS);
  }

  function closeStream() {
    clearTimeout(silence);
    source?.close();
    source = null;
  }

  /** The stream broke or never opened: ask instead, and try the stream again later and later. */
  function lost() {
    if (state === "paused" || asleep) return;
    closeStream();
    if (!pollTimer) {
      pollTimer = setInterval(poll, POLL_EVERY_MS);
      poll();
    }
    clearTimeout(retryTimer);
    retryTimer = setTimeout(listen, retryMs);
    retryMs = Math.min(retryMs * 2, RETRY_AT_MOST_MS);
  }

  async function poll() {
    try {
      const answer = await api.get(POLL);
      if (pollTimer) deliver(answer, "polling");
    } catch (failure) {
      if (!pollTimer) return;
      if (failure.kind === "unauthorized") return stop();
      setState("offline");
    }
  }

  function stopPolling() {
    clearInterval(pollTimer);
    pollTimer = 0;
    clearTimeout(retryTimer);
  }

  function start() {
    if (state !== "paused") return;
    setState("connecting");
    listen();
  }

  function sleep() {
    clearTimeout(sleepTimer);
    if (state === "paused") return;
    asleep = true;
    closeStream();
    stopPolling();
  }

  function wake() {
    clearTimeout(sleepTimer);
    if (!asleep) return;
    asleep = false;
    if (state === "paused") return;
    setState("connecting");
    listen();
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(sleepTimer);
    if (document.hidden) sleepTimer = setTimeout(sleep, HIDDEN_MS);
    else wake();
  });
  // A page that was left may be kept for the way back, and its stream with it; some of them, and no connection is left.
  window.addEventListener("pagehide", sleep);
  // Not every browser tells a page that comes back that it is visible.
  window.addEventListener("pageshow", () => document.hidden || wake());

  function stop() {
    closeStream();
    stopPolling();
    setState("paused");
  }

  return {
    start,
    stop,
    get state() {
      return state;
    },
    get updatedAt() {
      return updatedAt;
    },
    /** Figures as they come, and the newest ones at once when there are any; returns what ends it. */
    subscribe(listener) {
      listeners.add(listener);
      if (latest) listener(latest);
      return () => listeners.delete(listener);
    },
    onState(watcher) {
      watchers.add(watcher);
      watcher({ state, updatedAt });
      return () => watchers.delete(watcher);
    },
  };
}
