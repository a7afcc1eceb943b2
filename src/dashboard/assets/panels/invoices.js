// The newest invoices, and how their status is shown everywhere.

import { fill, h } from "../dom.js";
import { dayRange } from "../format.js";
import { createPanel } from "../panel.js";

const SHOWN = 6;
const BADGES = { paid: "badge-good", overdue: "badge-bad", disputed: "badge-warn" };

export function statusBadge(status) {
  return h("span", { class: `badge ${BADGES[status] ?? ""}` }, status[0].toUpperCase() + status.slice(1));
}

export function createNewestInvoices({ api, format }) {
  const all = h("a", { class: "panel-link", href: "/invoices" }, "All invoices");
  const panel = createPanel({
    name: "invoices",
    title: "Newest invoices",
    shape: "list",
    size: "rows",
    actions: [all],
  });
  const list = h("ul", { class: "rows" });

  function row(invoice) {
    return h(
      "li",
      { class: "row", dataset: { invoice: invoice.invoiceNumber } },
      h(
        "div",
        { class: "row-main" },
        h("p", { class: "clip", title: invoice.carrierName }, invoice.carrierName),
        h("p", { class: "row-soft" }, dayRange(invoice.periodStart, invoice.periodEnd)),
      ),
      h(
        "div",
        { class: "row-end" },
        h(
          "p",
          { dataset: { amount: invoice.totalAmount } },
          format.money(invoice.totalAmount, invoice.currency),
        ),
        statusBadge(invoice.status),
      ),
    );
  }

  return {
    element: panel.element,
    load: () =>
      panel.load(
        (signal) => api.get("/api/consumption/invoices", { page: 1, limit: SHOWN }, { signal }),
        ({ data }) => {
          if (data.length === 0) {
            panel.empty(
              "There is no invoice yet",
              "The first ones are made when a month with usage is over.",
            );
            return;
          }
          fill(list, data.map(row));
          panel.show(list);
        },
      ),
    dispose: panel.dispose,
  };
}
