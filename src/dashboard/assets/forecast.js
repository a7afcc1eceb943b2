// Where a billing cycle ends if usage goes on as it did in the cycle so far: the rule of the alerts.

/** Of a cycle that has hardly begun nothing can be said. */
const EARLY = 0.02;

/**
 * `{elapsed, projected, daily, kind, at}`: the share of the cycle that is over, bytes at its end, bytes a day, and `kind`: `unused`,
 * `early`, `reached`, `exceeds` (with `at`, the moment when the limit is reached), `fits` or `unlimited`. `limit` is 0 without one.
 */
export function forecastOf({ used, limit, start, end }, now = Date.now()) {
  const length = end - start;
  const passed = Math.min(Math.max(now - start, 0), length);
  const elapsed = passed / length;
  const projected = elapsed > 0 ? used / elapsed : 0;
  const result = { elapsed, projected, daily: passed > 0 ? (used / passed) * 86_400_000 : 0, at: null };
  if (limit > 0 && used >= limit) return { ...result, kind: "reached" };
  if (used <= 0) return { ...result, kind: "unused" };
  if (elapsed < EARLY) return { ...result, kind: "early" };
  if (!(limit > 0)) return { ...result, kind: "unlimited" };
  if (projected > limit) return { ...result, kind: "exceeds", at: start + (passed * limit) / used };
  return { ...result, kind: "fits" };
}
