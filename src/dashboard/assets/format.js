// Numbers, bytes, money and dates as people read them. Dates are in the tenant's time zone, never in the browser's.

const UNITS = ["B", "KB", "MB", "GB", "TB", "PB", "EB"];
const LOCALE = "en-GB";
const MINUS = "\u2212";

/** Formatters of a tenant: `{timeZone, currency}`. */
export function createFormat({ timeZone = "UTC", currency = "CHF" } = {}) {
  const dates = new Map();

  const date = (options) => {
    const key = JSON.stringify(options);
    if (!dates.has(key)) dates.set(key, new Intl.DateTimeFormat(LOCALE, { timeZone, ...options }));
    return dates.get(key);
  };

  const moment = (value) => (value instanceof Date ? value : new Date(value));

  return {
    timeZone,
    currency,
    bytes,
    number,
    percent,
    ago,
    duration,
    days,
    dayRange,
    money: (value, code = currency) => money(value, code),
    /** Without the hundredths of millions: for large type. */
    moneyShort: (value) => money(value, currency, Math.abs(value) >= 1e6 ? 0 : 2),
    /** `21 Nov 2026` */
    date: (value) => date({ day: "numeric", month: "short", year: "numeric" }).format(moment(value)),
    /** `21 Nov` */
    day: (value) => date({ day: "numeric", month: "short" }).format(moment(value)),
    /** `Sat 21 Nov` */
    weekday: (value) => date({ weekday: "short", day: "numeric", month: "short" }).format(moment(value)),
    /** `Nov 2026` */
    month: (value) => date({ month: "short", year: "numeric" }).format(moment(value)),
    /** `14:05` */
    time: (value) => date({ hour: "2-digit", minute: "2-digit" }).format(moment(value)),
    /** `21 Nov 2026, 14:05` */
    dateTime: (value) =>
      date({ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" }).format(
        moment(value),
      ),
    /** `21 Nov, 14:05:09` */
    moment: (value) => date({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(moment(value)),
    /** `2026-11-21` of a moment, in the tenant's zone. */
    isoDay: (value) => {
      const parts = date({ year: "numeric", month: "2-digit", day: "2-digit" }).formatToParts(moment(value));
      const of = (type) => parts.find((part) => part.type === type).value;
      return `${of("year")}-${of("month")}-${of("day")}`;
    },
    /** `GMT+1`, as it is at a moment. */
    zoneOffset: (value = new Date()) => {
      const parts = date({ timeZoneName: "shortOffset", hour: "numeric" }).formatToParts(moment(value));
      return parts.find((part) => part.type === "timeZoneName").value.replace("GMT", "UTC");
    },
  };
}

/** 1024-based with at most two decimals: `4 KB`, `1.25 GB`. */
export function bytes(value) {
  const number = Number(value);
  const sign = number < 0 ? MINUS : "";
  let rest = Math.abs(number);
  let unit = 0;
  while (rest >= 1024 && unit < UNITS.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  // 1023.999 would be shown as 1024.
  if (Math.round(rest * 100) / 100 >= 1024 && unit < UNITS.length - 1) {
    rest = 1;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : rest >= 100 ? 1 : 2;
  return `${sign}${decimals(rest, digits)}\u00a0${UNITS[unit]}`;
}

/** Steps of an axis of bytes: the unit that suits its largest value. */
export function byteScale(largest) {
  let unit = 0;
  while (largest >= 1024 ** (unit + 1) && unit < UNITS.length - 1) unit += 1;
  const size = 1024 ** unit;
  return { size, label: (value) => `${decimals(value / size, 2)}\u00a0${UNITS[unit]}` };
}

const numbers = new Map();

/** With at least and at most so many digits after the point. Formatters are kept: to make one takes longer than to use it. */
export function decimals(value, most, least = 0) {
  const key = `${least} ${most}`;
  if (!numbers.has(key)) {
    numbers.set(key, new Intl.NumberFormat(LOCALE, { minimumFractionDigits: least, maximumFractionDigits: most }));
  }
  return numbers.get(key).format(value);
}

export function number(value, digits = 0) {
  return decimals(Number(value), digits).replace("-", MINUS);
}

/** A change, with its sign: `+4.0 %`. */
export function percent(value, { sign = false, digits = 1 } = {}) {
  const shown = decimals(Math.abs(value), digits, digits);
  const before = value < 0 ? MINUS : sign && value > 0 ? "+" : "";
  return `${before}${shown}\u00a0%`;
}

function money(value, code, digits = 2) {
  const shown = decimals(Math.abs(value), digits, digits);
  return `${code}\u00a0${value < 0 ? MINUS : ""}${shown}`;
}

/** `just now`, `42 s ago`, `3 min ago`, `5 h ago`, `2 days ago`. */
export function ago(moment, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - new Date(moment).getTime()) / 1000));
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

/** `42 s`, `3 min`, `5 h`, `2 days`. */
export function duration(seconds) {
  if (seconds < 1 && seconds > 0) return `${Math.round(seconds * 1000)}\u00a0ms`;
  if (seconds < 90) return `${Math.round(seconds)}\u00a0s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}\u00a0min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)}\u00a0h`;
  return `${Math.round(seconds / 86_400)}\u00a0days`;
}

const DAY = new Intl.DateTimeFormat(LOCALE, { timeZone: "UTC", day: "numeric", month: "short" });
const DAY_OF_YEAR = new Intl.DateTimeFormat(LOCALE, {
  timeZone: "UTC",
  day: "numeric",
  month: "short",
  year: "numeric",
});

/** A calendar day such as `2026-11-21`, which is no moment and has no zone. */
export function days(day, { year = true } = {}) {
  return (year ? DAY_OF_YEAR : DAY).format(new Date(`${day}T00:00:00Z`));
}

/** `1–21 Nov 2026`, `28 Oct – 3 Nov 2026`. */
export function dayRange(first, last) {
  if (first === last) return days(first);
  return DAY_OF_YEAR.formatRange(new Date(`${first}T00:00:00Z`), new Date(`${last}T00:00:00Z`));
}
