// Icons of 20 by 20, drawn as lines in the colour of the text around them.

import { svg } from "./dom.js";

const PATHS = {
  overview: "M3 9.500 10 4l7 5.500V16a1 1 0 0 1-1 1h-3.500v-5h-5v5H4a1 1 0 0 1-1-1z",
  consumption: "M3.500 16.500v-6M8 16.500v-11M12.500 16.500v-8M17 16.500V3.500",
  invoices: "M5 3h10v14l-2.500-1.700L10 17l-2.500-1.700L5 17zM8 7h4M8 10.500h4",
  sims: "M6 2.500h5.500L15 6v10.500a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1v-13a1 1 0 0 1 1-1zM7.500 10h5v4.500h-5zM10 10v4.500",
  operations: "M2.500 10.500h3.500l2-6 4 11 2-5h3.500",
  quarantine: "M10 3 2.500 16.500h15zM10 8.500v3.500M10 14.200v.1",
  sun: "M10 6.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7zM10 2v1.500M10 16.500V18M2 10h1.500M16.500 10H18M4.300 4.300l1.100 1.100M14.600 14.600l1.100 1.100M4.300 15.700l1.100-1.100M14.600 5.400l1.100-1.100",
  moon: "M16.500 11.700A7 7 0 0 1 8.300 3.500a7 7 0 1 0 8.200 8.200z",
  auto: "M3 4.500h14v9.500H3zM7 17h6M10 14v3",
  up: "M10 15.500v-11M5.500 9 10 4.500 14.500 9",
  down: "M10 4.500v11M5.500 11 10 15.500 14.500 11",
  search: "M9 3.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11zM13 13l4 4",
  download: "M10 3.500v9M6 9l4 4 4-4M4 16.500h12",
  close: "M5 5l10 10M15 5 5 15",
  chevron: "M5.500 8 10 12.500 14.500 8",
  previous: "M12 5l-5 5 5 5",
  next: "M8 5l5 5-5 5",
  calendar: "M4 5h12v11.500H4zM4 8.500h12M7 3v3.500M13 3v3.500",
  undo: "M7.500 4.500 4 8l3.500 3.500M4 8h8a4 4 0 0 1 0 8H8",
  retry: "M16 6.500A7 7 0 1 0 17 10M16.500 3v4h-4",
  pause: "M7 4.500v11M13 4.500v11",
  play: "M6.500 4.500v11l9-5.500z",
  empty: "M3 11.500 5.500 5h9L17 11.500V16H3zM3 11.500h4l1 2h4l1-2h4",
  warning: "M10 3 2.500 16.500h15zM10 8.500v3.500M10 14.200v.1",
  out: "M8 4H4v12h4M12 6.500 15.500 10 12 13.500M15.500 10H8",
  filter: "M3 5h14l-5.500 6v4.500l-3 1.500v-6z",
  check: "M4.500 10.500 8.500 14.500 15.500 6",
};

/** Decoration beside a text that says the same. */
export function icon(name, size = 20) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 20 20", width: size, height: size, "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] }),
  );
}
