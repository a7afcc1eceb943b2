// What a SIM used by hours, days or months.

import { fill, h } from "../dom.js";
import { createTimeChart } from "../charts/time.js";
import { createSegment } from "../filters.js";
import { createPanel } from "../panel.js";
import { exact, labelsOf, rollingUp } from "../usage.js";

const HOUR_MS = 3_600_000;
/** What the history is asked for; without `hours` and `days` the API's own span. */
const RANGES = {
  "24h": { title: "24 hours", granularity: "hourly" },
  "7d": { title: "7 days", granularity: "hourly", hours: 7 * 24 },
  "30d": { title: "30 days", granularity: "daily" },
  "12m": { title: "12 months", granularity: "monthly" },
};
const USUAL_RANGE = "30d";
const SERIES = [
  { id: "download", name: "Download", colour: 0 },
  { id: "upload", name: "Upload", colour: 1 },
];

export function createHistoryPanel({ api, format, setQuery }) {
  const range = createSegment({
    name: "history",
    label: "Range",
    choices: Object.entries(RANGES).map(([id, { title }]) => [id, title]),
    onChosen: (id) => setQuery({ range: id === USUAL_RANGE ? null : id }),
  });
  const panel = createPanel({
    name: "sim-history",
    title: "Usage",
    note: "\u00a0",
    shape: "chart",
    size: "history",
    actions: [range.element],
  });
  const chart = createTimeChart({ name: "sim-history", title: "Usage of the SIM", format, costs: false });
  const foot = h("p", { class: "chart-foot" });
  const content = h("div", { class: "trend-content" }, chart.element, foot);

  /** Hours of several days say which day they are of. */
  function labels({ granularity, data }) {
    const usual = labelsOf(granularity, format);
    if (granularity !== "hourly" || data.length <= 24) return usual;
    return { ...usual, short: ({ start }) => `${format.weekday(start).slice(0, 3)} ${format.time(start)}` };
  }

  function draw([answer, rolling]) {
    const points = answer.data.map(pointOf);
    const sum = points.reduce((total, { exact: digits }) => total + BigInt(digits), 0n);
    panel.note(`${format.bytes(sum)} in all`);
    if (points.every((point) => point.bytes === 0)) {
      panel.empty("Nothing was used in this range", "Choose another range.");
      return;
    }
    panel.show(content);
    const marked = rolling && rolling.from < Date.parse(points.at(-1).end) ? rolling : null;
    // Records may state their sum alone.
    const whole = points.every((point) => point.parts.download === 0 && point.parts.upload === 0);
    const series = whole ? [{ id: "data", name: "Data", colour: 0 }] : SERIES;
    chart.update({ points, series, labels: labels(answer), rolling: marked });
    fill(
      foot,
      marked && h("span", { class: "rolling-key" }, marked.text),
      h(
        "span",
        {},
        answer.granularity === "hourly"
          ? `Hours in ${format.timeZone}.`
          : `Days begin at midnight in ${format.timeZone}.`,
      ),
    );
  }

  return {
    element: panel.element,
    dispose() {
      panel.dispose();
      chart.dispose();
    },
    load(path, wished) {
      const id = RANGES[wished] ? wished : USUAL_RANGE;
      const { granularity, hours } = RANGES[id];
      range.show(id);
      const start = hours && new Date(Date.now() - (hours - 1) * HOUR_MS).toISOString();
      return panel.load(
        (signal) =>
          Promise.all([
            api.get(`${path}/usage/history`, { granularity, start }, { signal }),
            rollingUp(api, format, signal),
          ]),
        draw,
      );
    },
  };
}

function pointOf(row) {
  const { period, start, end, totalBytes: bytes } = row;
  return {
    period,
    start,
    end,
    bytes,
    exact: exact(row, "totalBytes"),
    parts: { download: row.dataDownloadBytes, upload: row.dataUploadBytes, data: bytes },
    exactParts: {
      download: exact(row, "dataDownloadBytes"),
      upload: exact(row, "dataUploadBytes"),
      data: exact(row, "totalBytes"),
    },
  };
}
