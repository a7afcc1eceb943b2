// An API key, shown once, for a session.

import { fill, h, text, uid } from "../dom.js";
import { icon } from "../icons.js";

const ICON = new URL("../icon.svg", import.meta.url).href;
const KEY_FORM = /^mqs_[\w-]{43}$/;

export async function show(root, context) {
  const { api, session, onQuery } = context;
  const { keyName, tenant } = session;
  const next = safeNext(context.query.get("next"));
  const fault = h("p", { id: uid("fault"), class: "field-fault", role: "alert", hidden: true });
  const input = h("input", {
    id: uid("key"),
    type: "password",
    name: "key",
    required: true,
    autocomplete: "current-password",
    autocapitalize: "off",
    spellcheck: "false",
    placeholder: "mqs_…",
    "aria-describedby": fault.id,
    dataset: { testid: "sign-in-key" },
    oninput: () => tell(null),
  });
  const reveal = h("button", { class: "icon-button", type: "button", onclick: () => showKey(input.type === "password") });
  const submit = h("button", { class: "button button-primary", type: "submit", dataset: { testid: "sign-in-submit" } }, "Sign in");
  const form = h(
    "form",
    { class: "sign-in-form", novalidate: true, onsubmit: signIn },
    // Browsers that keep passwords ask for a name.
    h("input", { type: "text", name: "username", value: "simbridge", autocomplete: "username", hidden: true }),
    h("label", { for: input.id }, "API key"),
    h("div", { class: "sign-in-field" }, input, reveal),
    fault,
    submit,
  );

  function showKey(shown) {
    input.type = shown ? "text" : "password";
    const words = shown ? "Hide the key" : "Show the key";
    fill(reveal, icon(shown ? "hide" : "show"));
    reveal.setAttribute("aria-label", words);
    reveal.title = words;
  }

  function tell(words) {
    text(fault, words ?? "");
    fault.hidden = !words;
    if (words) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }

  async function signIn(event) {
    event.preventDefault();
    const key = input.value.trim();
    if (!key) {
      tell("Paste an API key.");
      return input.focus();
    }
    submit.disabled = true;
    try {
      const { data } = await api.post("/api/session", { key });
      // Everything is asked anew, as somebody else.
      if (data.signedIn || data.mode === "open") return location.assign(next);
      tell("Nobody is signed in. Try again.");
    } catch (failure) {
      tell(wordsOf(failure, key));
      input.focus();
      input.select();
    }
    submit.disabled = false;
  }

  showKey(false);
  fill(
    root,
    h(
      "section",
      { class: "card sign-in", dataset: { testid: "panel-sign-in" } },
      h("img", { src: ICON, alt: "", width: 44, height: 44 }),
      h("h1", {}, "Sign in to simbridge"),
      h("p", { class: "sign-in-lead" }, lead(session, keyName, tenant)),
      form,
      help(),
    ),
  );
  input.focus();
  // A refused key leads here again: the page stays as it is.
  return onQuery(() => {});
}

function lead({ mode, signedIn }, keyName, tenant) {
  if (signedIn) return `You are signed in as ${keyName} of ${tenant.name}. Another key takes its place.`;
  if (mode === "open") return ["This is a demo: everything is open. ", h("a", { href: "/" }, "Go to the overview")];
  return "An API key of your tenant opens the dashboard. It stays on this computer's browser as a session, not as the key.";
}

function help() {
  return h(
    "details",
    { class: "sign-in-help" },
    h("summary", {}, "Where do I get a key?"),
    h("p", {}, "Whoever runs simbridge makes one. To look at everything, and to mend parked records:"),
    h("pre", { tabindex: 0 }, h("code", {}, "simbridge keys create my-dashboard \\\n  --permission consumption:read \\\n  --permission usage:read \\\n  --permission sims:read \\\n  --permission admin:quarantine")),
  );
}

function wordsOf(failure, key) {
  if (failure.kind === "unauthorized") {
    return KEY_FORM.test(key)
      ? "Nobody has this key. Ask for another one."
      : "This is no key: one begins with mqs_ and has 47 characters. Copy it whole.";
  }
  if (failure.kind === "forbidden") return `${failure.advice} Ask for another one.`;
  return `${failure.title}. ${failure.advice}`;
}

/** Only a page of ours: a link from elsewhere must not lead on to elsewhere. */
function safeNext(next) {
  if (!next?.startsWith("/")) return "/";
  const target = new URL(next, location.origin);
  if (target.origin !== location.origin || target.pathname === "/sign-in") return "/";
  return target.pathname + target.search;
}
