// Places on a map without tiles: a graticule, and a bubble for each place as large as its usage.

import { fill, h, onSize, svg, uid } from "../dom.js";

const RADIUS_AT_MOST = 26;
const RADIUS_AT_LEAST = 3;
const EDGE = 40;
const LABELS_AT_MOST = 24;
const STEPS = [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30];
/** A map of one town still shows so many degrees. */
const SPAN_AT_LEAST = 0.3;

/** `update(places)`: `{id, name, latitude, longitude, bytes, devices}`. Test id: `chart-<name>`. */
export function createRegionMap({ name, title, format, onPoint = () => {} }) {
  const canvas = svg("svg", { "aria-hidden": "true" });
  const tooltip = h("div", { class: "tooltip", hidden: true });
  const label = uid("map");
  const plot = h("div", { class: "map", role: "img", "aria-labelledby": label }, canvas, tooltip);
  const element = h(
    "div",
    { class: "map-box", dataset: { testid: `chart-${name}` } },
    h(
      "p",
      { class: "visually-hidden", id: label },
      `${title}: a map. The numbers are in the list beside it.`,
    ),
    plot,
  );
  let places = [];
  let size = [0, 0];
  const stop = onSize(plot, (...next) => {
    size = next;
    draw();
  });

  function draw() {
    const [width, height] = size;
    if (width === 0 || places.length === 0) return;
    const map = projection(places, width, height);
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    canvas.setAttribute("width", width);
    canvas.setAttribute("height", height);
    const most = Math.max(...places.map((place) => place.bytes), 1);
    const largest = Math.min(RADIUS_AT_MOST, width / 12);
    const marks = places.map((place) => ({
      place,
      x: map.x(place.longitude),
      y: map.y(place.latitude),
      // By area.
      r: Math.max(RADIUS_AT_LEAST, Math.sqrt(Math.max(0, place.bytes) / most) * largest),
    }));
    fill(canvas, graticule(map, width, height), marks.map(bubble), labels(marks, width));
  }

  function bubble({ place, x, y, r }) {
    return svg(
      "g",
      {
        class: "map-place",
        dataset: { place: place.id },
        onpointerenter: () => {
          tell(place, x, y, r);
          onPoint(place.id);
        },
        onpointerleave: () => {
          tooltip.hidden = true;
          onPoint(null);
        },
      },
      svg("circle", { class: "map-bubble", cx: x, cy: y, r }),
    );
  }

  function tell(place, x, y, r) {
    const row = (words, value) =>
      h(
        "div",
        { class: "tooltip-row" },
        h("span", { class: "tooltip-label" }, words),
        h("span", { class: "tooltip-value" }, value),
      );
    fill(
      tooltip,
      h("p", { class: "tooltip-title" }, place.name),
      row("Data", format.bytes(place.bytes)),
      row("SIMs", format.number(place.devices)),
    );
    tooltip.hidden = false;
    const left = Math.min(Math.max(4, x - tooltip.offsetWidth / 2), size[0] - tooltip.offsetWidth - 4);
    const above = y - r - tooltip.offsetHeight - 8;
    tooltip.style.setProperty("left", `${left}px`);
    tooltip.style.setProperty("top", `${above > 4 ? above : y + r + 8}px`);
  }

  return {
    element,
    update(next) {
      // Large ones below, so that small ones can be pointed at.
      places = [...next].sort((a, b) => b.bytes - a.bytes);
      tooltip.hidden = true;
      draw();
    },
    point(id) {
      for (const mark of canvas.querySelectorAll(".map-place"))
        mark.classList.toggle("pointed", mark.dataset.place === id);
    },
    dispose: stop,
  };
}

/** Equirectangular with true proportions in the middle, as large as the frame allows. */
function projection(places, width, height) {
  const range = (values) => [Math.min(...values), Math.max(...values)];
  const [south, north] = range(places.map((place) => place.latitude));
  const [west, east] = range(places.map((place) => place.longitude));
  const middle = [(west + east) / 2, (south + north) / 2];
  const squeeze = Math.max(0.2, Math.cos((middle[1] * Math.PI) / 180));
  const spans = [Math.max(east - west, SPAN_AT_LEAST) * squeeze, Math.max(north - south, SPAN_AT_LEAST)];
  const scale = Math.min((width - 2 * EDGE) / spans[0], (height - 2 * EDGE) / spans[1]);
  return {
    scale,
    x: (longitude) => width / 2 + (longitude - middle[0]) * squeeze * scale,
    y: (latitude) => height / 2 - (latitude - middle[1]) * scale,
    longitude: (x) => middle[0] + (x - width / 2) / (squeeze * scale),
    latitude: (y) => middle[1] - (y - height / 2) / scale,
  };
}

function graticule(map, width, height) {
  const span = map.latitude(0) - map.latitude(height);
  const step = STEPS.find((size) => span / size <= 6) ?? STEPS.at(-1);
  const digits = step < 0.1 ? 2 : step < 1 ? 1 : 0;
  const name = (value, positive, negative) =>
    `${Math.abs(value).toFixed(digits)}° ${value < 0 ? negative : value > 0 ? positive : ""}`.trim();
  const lines = [];
  for (let at = Math.ceil(map.latitude(height) / step) * step; at <= map.latitude(0); at += step) {
    const y = Math.round(map.y(at)) + 0.5;
    lines.push(svg("line", { class: "map-grid", x1: 0, x2: width, y1: y, y2: y }));
    if (y > 16 && y < height - 22)
      lines.push(svg("text", { class: "map-degree", x: 6, y: y - 4 }, name(at, "N", "S")));
  }
  for (let at = Math.ceil(map.longitude(0) / step) * step; at <= map.longitude(width); at += step) {
    const x = Math.round(map.x(at)) + 0.5;
    lines.push(svg("line", { class: "map-grid", x1: x, x2: x, y1: 0, y2: height }));
    if (x > 40 && x < width - 34)
      lines.push(svg("text", { class: "map-degree", x: x + 4, y: height - 6 }, name(at, "E", "W")));
  }
  return svg("g", {}, lines);
}

/** Names of the largest places, as far as they do not cover each other. */
function labels(marks, width) {
  const taken = [];
  const shown = [];
  for (const { place, x, y, r } of marks) {
    if (shown.length === LABELS_AT_MOST) break;
    const long = place.name.length * 6.8;
    const spots = [
      { x: x + r + 5, y: y + 4, anchor: "start", left: x + r + 3 },
      { x: x - r - 5, y: y + 4, anchor: "end", left: x - r - 7 - long },
      { x, y: y - r - 5, anchor: "middle", left: x - long / 2 },
      { x, y: y + r + 14, anchor: "middle", left: x - long / 2 },
    ];
    const free = spots.find((spot) => {
      const box = { left: spot.left, right: spot.left + long + 4, top: spot.y - 12, bottom: spot.y + 4 };
      if (box.left < 2 || box.right > width - 2) return false;
      const hit = taken.some(
        (other) =>
          box.left < other.right &&
          box.right > other.left &&
          box.top < other.bottom &&
          box.bottom > other.top,
      );
      if (!hit) taken.push(box);
      return !hit;
    });
    if (free)
      shown.push(
        svg("text", { class: "map-label", x: free.x, y: free.y, "text-anchor": free.anchor }, place.name),
      );
  }
  return svg("g", {}, shown);
}
