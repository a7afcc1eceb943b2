// Members of a pool: what each used of it, and of its own limit where it has one.

import { progressBar } from "../charts/progress.js";
import { h } from "../dom.js";
import { createPanel } from "../panel.js";
import { createTable } from "../table.js";
import { exact } from "../usage.js";

const PAGE_ROWS = 25;
const BY_USAGE = "-usedBytes";
const BY_ICCID = "iccid";
/** Beyond this the API sorts by ICCID alone. */
const SORTED_BY_USAGE_AT_MOST = 1_000;

export function createPoolMembersPanel(context) {
  const { api, format, setQuery } = context;
  const panel = createPanel({ name: "pool-members", title: "Members", note: "\u00a0", shape: "table", size: "l" });
  let [table, few] = [null, true];

  /** Those that used most come first, where there are few enough to be sorted so. */
  const usual = () => (few ? BY_USAGE : BY_ICCID);

  const make = () =>
    createTable({
      name: "pool-members",
      title: "Members",
      remote: true,
      pageSize: PAGE_ROWS,
      columns: columns(format, few),
      rowData: (row) => ({ iccid: row.iccid }),
      onState({ sort, page }) {
        // Each has one direction: the largest first, and ICCIDs as they rise.
        const chosen = sort.endsWith("usedBytes") ? BY_USAGE : BY_ICCID;
        setQuery({ sort: chosen === usual() ? null : chosen, page: page > 1 ? page : null });
      },
    });

  function draw({ members, pagination: { total, page, totalPages } }) {
    if (total === 0) {
      panel.note("");
      panel.empty("There is no member yet", "Add SIMs with `simbridge pools add`, or over the API.");
      return;
    }
    if (page > totalPages) return setQuery({ page: totalPages }, { replace: true });
    panel.note(`${format.number(total)} in this period`);
    panel.show(table.element);
    table.update(members, { total, page, pages: totalPages });
  }

  /** With those that left in the period there may be too many to be sorted by what they used. */
  async function ask(path, asked, signal) {
    try {
      return await api.get(path, asked, { signal });
    } catch (failure) {
      if (asked.sort !== BY_USAGE || !failure.details?.some(({ field }) => field === "sort")) throw failure;
      table.setState({ sort: BY_ICCID });
      return api.get(path, { ...asked, sort: BY_ICCID }, { signal });
    }
  }

  return {
    element: panel.element,
    dispose: panel.dispose,
    /** Of a pool with so many members. */
    load(path, memberCount) {
      if (table === null) {
        few = memberCount <= SORTED_BY_USAGE_AT_MOST;
        table = make();
      }
      const { query } = context;
      const sort = few && [BY_USAGE, BY_ICCID].includes(query.get("sort")) ? query.get("sort") : usual();
      const page = Math.max(1, Number.parseInt(query.get("page"), 10) || 1);
      table.setState({ sort, page });
      const asked = { period: query.get("period"), sort, page, limit: PAGE_ROWS };
      return panel.load((signal) => ask(`${path}/members`, asked, signal), draw);
    },
  };
}

function columns(format, few) {
  const since = ({ joinedOn, leftOn }) =>
    leftOn === null ? `since ${format.days(joinedOn)}` : `left on ${format.days(leftOn)}`;
  const own = ({ percentOfLimit }) =>
    percentOfLimit === null ? "" : `${format.percent(percentOfLimit, { digits: 0 })} of its own limit`;
  return [
    {
      key: "iccid",
      title: "SIM (ICCID)",
      sortable: true,
      value: (row) => row.iccid,
      cell: (row) => [
        row.simId === null
          ? h("span", { class: "code" }, row.iccid)
          : h("a", { class: "code", href: `/sims/${encodeURIComponent(row.iccid)}` }, row.iccid),
        h("span", { class: "cell-soft narrow-only" }, row.deviceName ?? ""),
      ],
    },
    { key: "device", title: "Device", hide: "narrow", value: (row) => row.deviceName, cell: (row) => row.deviceName ?? "\u2013" },
    { key: "since", title: "Member", hide: "narrow", value: (row) => row.joinedOn, cell: since },
    {
      key: "usedBytes",
      title: "Used",
      sortable: few,
      numeric: true,
      value: (row) => row.usedBytes,
      cell: (row) => [
        h("span", { class: "cell-main" }, format.bytes(row.usedBytes)),
        h("span", { class: "cell-soft" }, `${format.percent(row.percentOfPool, { digits: 1 })} of the pool`),
        h("span", { class: "cell-soft narrow-only" }, own(row)),
      ],
      data: (row) => ({ bytes: exact(row, "usedBytes"), share: row.percentOfPool }),
    },
    {
      key: "limit",
      title: "Of own limit",
      numeric: true,
      hide: "narrow",
      value: (row) => row.percentOfLimit,
      cell: (row) =>
        progressBar({
          used: exact(row, "usedBytes"),
          limit: row.limitBytes ?? 0,
          label: `Own limit of ${row.iccid}`,
          none: "None of its own",
          testid: "member-usage-bar",
        }),
      data: (row) => ({ limit: row.limitBytes ?? "" }),
    },
  ];
}
