// Answers of the consumption API in the shape that charts take.

import { duration } from "./format.js";
import { SERIES_COLOURS } from "./charts/scale.js";

/** Parts in a stack before the rest is one part. */
const PARTS = SERIES_COLOURS;
const WHOLE = "data";

/** The digits of a sum, also where a number would lose some. */
export function exact(row, field = "bytes") {
  return row[`${field}Exact`] ?? String(row[field]);
}

/** Points and series of `/api/consumption/trends`, split or not. */
export function chartOf(answer) {
  if (!answer.series) {
    const points = answer.data.map((row) => point(row, { [WHOLE]: row.bytes }, { [WHOLE]: exact(row) }));
    return { points, series: [{ id: WHOLE, name: "Data", colour: 0 }] };
  }
  const kept = answer.series.length > PARTS ? answer.series.slice(0, PARTS - 1) : answer.series;
  const own = new Set(kept.map((series) => series.id));
  const points = answer.data.map((row) => {
    const [parts, exactParts] = [{}, {}];
    let [rest, exactRest] = [0, 0n];
    for (const part of row.parts) {
      if (own.has(part.id)) {
        parts[part.id] = part.bytes;
        exactParts[part.id] = exact(part);
      } else {
        rest += part.bytes;
        exactRest += BigInt(exact(part));
      }
    }
    return point(row, { ...parts, rest }, { ...exactParts, rest: String(exactRest) });
  });
  const series = kept.map(({ id, name }, index) => ({ id, name, colour: id === "other" ? -1 : index }));
  if (kept.length < answer.series.length) series.push({ id: "rest", name: "Others", colour: -1 });
  return { points, series };
}

function point(row, parts, exactParts) {
  const { period, start, end, bytes, cost, simCount } = row;
  return { period, start, end, bytes, exact: exact(row), cost, sims: simCount, parts, exactParts };
}

/** The sum of a part over all points, as digits. */
export function sumOf(points, part) {
  return points.reduce((sum, { exactParts }) => sum + BigInt(exactParts[part] ?? 0), 0n);
}

/** How periods of a granularity are called. */
export function labelsOf(granularity, format) {
  switch (granularity) {
    case "hourly":
      return {
        column: "Hour",
        short: ({ start }) => (format.time(start) === "00:00" ? format.day(start) : format.time(start)),
        long: ({ start, end }) => `${format.weekday(start)}, ${format.time(start)}–${format.time(end)}`,
      };
    case "weekly":
      return {
        column: "Week",
        short: ({ period }) => period.slice(5),
        long: ({ period, start, end }) => `${period.replace("-W", ", week ")} (${span(format, start, end)})`,
      };
    case "monthly":
      return {
        column: "Month",
        short: ({ start }) => format.month(start),
        long: ({ start, end }) => `${format.month(start)} (${span(format, start, end)})`,
      };
    default:
      return {
        column: "Day",
        short: ({ start }) => format.day(start),
        long: ({ start }) => format.weekday(start),
      };
  }
}

function span(format, start, end) {
  const last = new Date(Date.parse(end) - 1);
  const [from, to] = [format.day(start), format.day(last)];
  return from === to ? from : `${from} – ${to}`;
}

/** What is not in the rollups yet, for the mark in charts; null when everything is. */
export async function rollingUp(api, format, signal) {
  let status;
  try {
    status = await api.get("/statusz", {}, { signal });
  } catch {
    // The mark is an extra: charts are shown without it.
    return null;
  }
  const lag = status.rollup?.lagSeconds ?? 0;
  if (lag < 1) return null;
  const to = Date.now();
  return { from: to - lag * 1000, to, text: `Still counting: the newest ${duration(lag)} are not in yet.` };
}

/** Carriers as parts of a ring: the largest ones with a colour of their own. */
export function carrierColours(rows) {
  const ranked = [...rows].sort((a, b) => b.bytes - a.bytes);
  const kept = ranked.length > PARTS ? PARTS - 1 : PARTS;
  return new Map(ranked.map((row, index) => [row.id, index < kept ? index : -1]));
}

/** The column of data in tables of what used some. */
export function dataColumn(format) {
  return {
    key: "data",
    title: "Data",
    numeric: true,
    value: (row) => row.bytes,
    cell: (row) => format.bytes(row.bytes),
    data: (row) => ({ bytes: exact(row) }),
  };
}
