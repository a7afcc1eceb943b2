// Names of serving networks, which are asked for once.

import { Failure } from "./api.js";

const CODES_AT_ONCE = 500;
const known = new Map();

/** `22801` → `Swisscom · CH`, for all of some codes; what nobody knows stays a code. */
export async function networkNames(api, codes, signal) {
  const wanted = [...new Set(codes)].filter((code) => /^\d{5,6}$/.test(code) && !known.has(code));
  if (wanted.length > 0) {
    try {
      const query = { codes: wanted.slice(0, CODES_AT_ONCE).join(",") };
      const answer = await api.get("/api/mccmnc/lookup", query, { signal });
      for (const code of wanted) known.set(code, code);
      for (const row of answer.data) known.set(row.mccmnc, nameOf(row));
    } catch (failure) {
      // Codes are shown instead; they are right too.
      if (!(failure instanceof Failure) || failure.kind === "aborted") throw failure;
    }
  }
  return known;
}

function nameOf({ mccmnc, carrierName, countryCode }) {
  const name = carrierName === "Unknown" ? mccmnc : carrierName;
  return countryCode ? `${name} · ${countryCode}` : name;
}
