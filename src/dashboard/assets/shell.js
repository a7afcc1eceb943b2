// What is around every page: navigation, connection, time zone and currency, theme, sign-out.

import { fill, h, text } from "./dom.js";
import { ago } from "./format.js";
import { icon } from "./icons.js";
import { PAGES } from "./pages.js";
import { may, mayLook } from "./session.js";

const THEMES = [
  ["auto", "auto", "as the system"],
  ["light", "sun", "light"],
  ["dark", "moon", "dark"],
];
/** Beside this file, wherever that is served. */
const ICON = new URL("icon.svg", import.meta.url).href;
/** A year. */
const THEME_SECONDS = 31_536_000;
const CONNECTION = {
  connecting: "Connecting",
  live: "Live",
  polling: "Polling",
  offline: "Offline",
  paused: "Paused",
};

/** Fills `#shell` and `#foot`; returns `{showPage(page)}`. `signOut` is called by the button of signed-in people. */
export function createShell({ session, live, format, signOut }) {
  const links = new Map();
  const bar = h("header", { class: "topbar" }, brand());
  const showable = mayLook(session);
  if (showable) {
    bar.append(
      navigation(session, links),
      h(
        "div",
        { class: "topbar-tools" },
        place(session, format),
        may(session, "consumption:read") && connection(live),
        themeSwitch(),
        leave(session, signOut),
      ),
    );
  } else {
    bar.append(h("div", { class: "topbar-tools" }, themeSwitch()));
  }
  fill(document.getElementById("shell"), bar);
  fill(document.getElementById("foot"), foot(showable ? format : null));
  return {
    showPage(page) {
      for (const [name, link] of links) {
        const here = name === page?.name || name === page?.parent;
        if (here) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
    },
  };
}

function brand() {
  const mark = h("img", { src: ICON, alt: "", width: 28, height: 28 });
  return h(
    "a",
    { class: "brand", href: "/", "aria-label": "simbridge, overview" },
    mark,
    h("span", {}, "simbridge"),
  );
}

function navigation(session, links) {
  const shown = PAGES.filter(
    (page) => page.nav !== false && !page.path.includes("{") && may(session, page.needs),
  );
  const items = shown.map((page) => {
    const link = h(
      "a",
      { href: page.path, dataset: { testid: `nav-${page.name}` } },
      icon(page.name),
      h("span", {}, page.title),
    );
    links.set(page.name, link);
    return h("li", {}, link);
  });
  return h("nav", { class: "nav", "aria-label": "Pages" }, h("ul", {}, items));
}

/** Whose figures these are, in which time zone and currency. */
function place(session, format) {
  const name = session.tenant.name && session.tenant.name !== "default" ? session.tenant.name : null;
  return h(
    "p",
    { class: "place", dataset: { testid: "place" }, title: "Time zone and currency of every figure" },
    name && h("span", { class: "place-name" }, name),
    h("span", {}, `${format.timeZone} · ${format.currency}`),
  );
}

/** Also said where the top bar has no room for it. */
function foot(format) {
  return [
    format &&
      h(
        "p",
        {},
        `Days and times in ${format.timeZone} (${format.zoneOffset()}), costs in ${format.currency}. 1 GB = 2³⁰ bytes.`,
      ),
    h("p", {}, h("a", { href: "/docs" }, "HTTP API")),
  ];
}

/** A badge that says how figures arrive, and holds them when it is pressed. */
function connection(live) {
  const word = h("span", { class: "connection-word" });
  const age = h("span", { class: "connection-age" });
  const short = h("span", { class: "connection-short" });
  const hint = h("span", { class: "visually-hidden" });
  const badge = h(
    "button",
    {
      class: "connection",
      type: "button",
      dataset: { testid: "connection" },
      onclick: () => (live.state === "paused" ? live.start() : live.stop()),
    },
    h("span", { class: "connection-dot", "aria-hidden": "true" }),
    word,
    " ",
    age,
    short,
    hint,
  );
  const tell = () => {
    const told = live.updatedAt ? ago(live.updatedAt) : "";
    text(age, told && `updated ${told}`);
    text(short, told.replace("just ", ""));
  };
  live.onState(({ state }) => {
    badge.dataset.state = state;
    text(word, CONNECTION[state]);
    const press = state === "paused" ? "Press to go on." : "Press to pause.";
    text(hint, `. Live figures. ${press}`);
    badge.title = press;
    tell();
  });
  setInterval(tell, 1_000);
  return badge;
}

function themeSwitch() {
  const root = document.documentElement;
  const button = h("button", { class: "icon-button", type: "button", dataset: { testid: "theme" } });
  const now = () =>
    Math.max(
      0,
      THEMES.findIndex(([name]) => name === (root.dataset.theme ?? "auto")),
    );
  const tell = () => {
    const [, picture, words] = THEMES[now()];
    fill(button, icon(picture));
    button.setAttribute("aria-label", `Theme: ${words}. Press to change.`);
    button.title = `Theme: ${words}`;
  };
  button.addEventListener("click", () => {
    const [name] = THEMES[(now() + 1) % THEMES.length];
    if (name === "auto") delete root.dataset.theme;
    else root.dataset.theme = name;
    // `auto` is forgotten.
    const age = name === "auto" ? 0 : THEME_SECONDS;
    document.cookie = `simbridge_theme=${name}; path=/; max-age=${age}; SameSite=Strict`;
    tell();
  });
  tell();
  return button;
}

function leave(session, signOut) {
  if (!session.signedIn) return null;
  const name = session.keyName ? `Sign out ${session.keyName}` : "Sign out";
  return h(
    "button",
    {
      class: "icon-button",
      type: "button",
      "aria-label": name,
      title: name,
      dataset: { testid: "sign-out" },
      onclick: signOut,
    },
    icon("out"),
  );
}
