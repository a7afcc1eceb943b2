// What the inventory says of a SIM.

import { fill, h } from "../dom.js";
import { createPanel } from "../panel.js";

const BADGES = {
  active: "badge-good",
  suspended: "badge-warn",
  lost: "badge-bad",
  blocked: "badge-bad",
  terminated: "badge-bad",
};

export function simStatus(status) {
  return h(
    "span",
    { class: `badge ${BADGES[status.toLowerCase()] ?? ""}`, dataset: { testid: "sim-status" } },
    status,
  );
}

export function createFactsPanel({ format }) {
  const panel = createPanel({ name: "sim-facts", title: "SIM", shape: "list", size: "facts" });
  const list = h("dl", { class: "sim-facts" });

  const code = (value) => value && h("span", { class: "code" }, value);

  function place({ locationName, latitude, longitude }) {
    if (latitude === null || longitude === null) return locationName;
    const degrees = `${format.number(latitude, 4)}, ${format.number(longitude, 4)}`;
    return locationName ? [locationName, h("span", { class: "fact-soft" }, degrees)] : degrees;
  }

  return {
    element: panel.element,
    dispose: panel.dispose,
    load: (ask, onSim) =>
      panel.load(ask, (sim) => {
        const facts = [
          ["ICCID", code(sim.iccid)],
          ["IMSI", code(sim.imsi)],
          ["MSISDN", code(sim.msisdn)],
          ["Status", simStatus(sim.status)],
          ["Carrier", sim.carrier],
          ["Plan", sim.ratePlan],
          ["Limit", sim.dataLimitBytes > 0 ? `${format.bytes(sim.dataLimitBytes)} a cycle` : "No limit"],
          ["Cycle begins", `On day ${sim.cycleDay} of a month`],
          ["Device", sim.deviceName],
          ["Location", place(sim)],
          ["Customer", sim.customerId],
          ["Added", format.date(sim.createdAt)],
          ["Changed", format.dateTime(sim.updatedAt)],
        ];
        const known = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
        fill(
          list,
          known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
        );
        panel.show(list);
        onSim(sim);
      }),
  };
}
