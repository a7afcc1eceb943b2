// Ranges of days and the periods that they are cut into; all of it is in the query of the URL.

const DAY_MS = 86_400_000;

/** What the API gives at most, in days. */
const LIMITS = { hourly: 31, daily: 366, weekly: 742, monthly: 1830 };

export const GRANULARITIES = [
  ["hourly", "Hourly"],
  ["daily", "Daily"],
  ["weekly", "Weekly"],
  ["monthly", "Monthly"],
];

/** Ranges with a name. `from(today)` and `to(today)` are days. */
export const PRESETS = [
  { id: "24h", title: "Last 24 hours", from: (today) => addDays(today, -1) },
  { id: "7d", title: "Last 7 days", from: (today) => addDays(today, -6) },
  { id: "30d", title: "Last 30 days", from: (today) => addDays(today, -29) },
  { id: "12w", title: "Last 12 weeks", from: (today) => addDays(weekStart(today), -77), by: "weekly" },
  { id: "month", title: "This month", from: (today) => monthStart(today) },
  {
    id: "last-month",
    title: "Last month",
    from: (today) => addMonths(monthStart(today), -1),
    to: (today) => addDays(monthStart(today), -1),
  },
  { id: "6m", title: "Last 6 months", from: (today) => addMonths(monthStart(today), -5), by: "monthly" },
  { id: "12m", title: "Last 12 months", from: (today) => addMonths(monthStart(today), -11), by: "monthly" },
];
const USUAL = "30d";

/**
 * What a query asks for: `{preset, from, to, by, allowed, trailing, hours, zoomed}`. Days are ISO dates, both ends inclusive; `trailing` are the
 * last 24 hours; `hours` are the moments of a zoom within days.
 */
export function readRange(query, format, now = Date.now()) {
  const today = format.isoDay(now);
  const base = baseRange(query, today);
  const zoom = readZoom(query.get("zoom"), format);
  const range = { ...base, ...zoom, zoomed: zoom !== null };
  if (zoom) Object.assign(range, { trailing: false, by: zoom.hours ? "hourly" : usualGranularity(zoom) });
  const length = dayCount(range);
  const allowed = GRANULARITIES.map(([name]) => name).filter((name) =>
    range.trailing || range.hours ? name === "hourly" : length <= LIMITS[name],
  );
  const wished = query.get("by");
  const by = allowed.includes(wished) ? wished : range.by;
  return { ...range, by: allowed.includes(by) ? by : (allowed[0] ?? "monthly"), allowed, today };
}

function baseRange(query, today) {
  const [from, to] = [query.get("from"), query.get("to")];
  if (isDay(from) && isDay(to) && from <= to) {
    return { preset: null, from, to, by: usualGranularity({ from, to }), trailing: false };
  }
  const preset =
    PRESETS.find(({ id }) => id === query.get("range")) ?? PRESETS.find(({ id }) => id === USUAL);
  const range = { from: preset.from(today), to: preset.to?.(today) ?? today };
  const trailing = preset.id === "24h";
  return { ...range, preset, trailing, by: trailing ? "hourly" : (preset.by ?? usualGranularity(range)) };
}

/** `2026-11-03..2026-11-05`, or moments within days. */
function readZoom(text, format) {
  const [from, to] = (text ?? "").split("..");
  if (isDay(from) && isDay(to) && from <= to) return { from, to, hours: null };
  const [start, end] = [Date.parse(from), Date.parse(to)];
  if (!from?.includes("T") || !(start < end)) return null;
  return { from: format.isoDay(start), to: format.isoDay(end - 1), hours: [start, end] };
}

/** The zoom that shows the periods from `first` to `last`. */
export function zoomTo(first, last, range, format) {
  const [start, end] = [Date.parse(first.start), Date.parse(last.end)];
  if (range.by === "hourly" && end - start < DAY_MS) return `${first.start}..${last.end}`;
  return `${format.isoDay(start)}..${format.isoDay(end - 1)}`;
}

/** The query of the trends. */
export function trendQuery(range) {
  if (range.trailing) return { granularity: "24h" };
  return { granularity: range.by, ...dayQuery(range) };
}

export function dayQuery({ from, to }) {
  return { start_date: from, end_date: to };
}

/** Why a range cannot be asked for; null when it can. */
export function faultOf(from, to) {
  if (!isDay(from) || !isDay(to)) return "Choose both days.";
  if (to < from) return "The last day is before the first.";
  if (dayCount({ from, to }) > LIMITS.monthly) return "At most five years at once.";
  return null;
}

export function dayCount({ from, to }) {
  return Math.round((utc(to) - utc(from)) / DAY_MS) + 1;
}

function usualGranularity(range) {
  const days = dayCount(range);
  if (days <= 2) return "hourly";
  if (days <= 62) return "daily";
  return days <= 200 ? "weekly" : "monthly";
}

function isDay(text) {
  return /^\d{4}-\d\d-\d\d$/.test(text ?? "") && !Number.isNaN(utc(text));
}

function utc(day) {
  return Date.parse(`${day}T00:00:00Z`);
}

function iso(milliseconds) {
  return new Date(milliseconds).toISOString().slice(0, 10);
}

function addDays(day, count) {
  return iso(utc(day) + count * DAY_MS);
}

/** Of the first day of a month. */
function addMonths(first, count) {
  const date = new Date(utc(first));
  return iso(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + count, 1));
}

function monthStart(day) {
  return `${day.slice(0, 7)}-01`;
}

/** Monday (ISO 8601). */
function weekStart(day) {
  return addDays(day, -((new Date(utc(day)).getUTCDay() + 6) % 7));
}
