// Raw records of a SIM, newest first. Pages follow each other by cursors: nothing is shown twice, whatever comes in meanwhile.

import { h } from "../dom.js";
import { duration } from "../format.js";
import { networkNames } from "../networks.js";
import { createPanel } from "../panel.js";
import { createTable } from "../table.js";

const PAGE_ROWS = 15;

export function createRecordsPanel({ api, format, setQuery }) {
  const panel = createPanel({
    name: "records",
    title: "Records",
    note: "Newest first, as they were sent.",
    shape: "table",
    size: "m",
  });
  let names = new Map();
  // Where pages begin that were seen; the first one begins nowhere.
  let begins = [null];
  let next = null;
  const table = createTable({
    name: "records",
    title: "Records",
    remote: true,
    pageSize: PAGE_ROWS,
    columns: columns(format, (code) => names.get(code) ?? code),
    rowData: (row) => ({ record: row.recordId }),
    onState: ({ page }) => turn(page),
  });

  function turn(page) {
    if (page > begins.length) begins = [...begins, next];
    setQuery({ records: begins[page - 1] });
  }

  function draw([answer, found], cursor) {
    names = found;
    next = answer.nextCursor;
    if (answer.records.length === 0 && cursor === null) {
      panel.empty("There is no record", "Raw records that were kept for long enough are removed; sums stay.");
      return;
    }
    const page = begins.indexOf(cursor) + 1;
    panel.show(table.element);
    table.update(answer.records, { total: null, page, pages: next ? page + 1 : page });
  }

  return {
    element: panel.element,
    dispose: panel.dispose,
    load(path, cursor) {
      // A link from elsewhere leads to a page in the middle: what comes before it is the newest one.
      if (!begins.includes(cursor)) begins = [null, cursor];
      return panel.load(
        async (signal) => {
          const answer = await api.get(`${path}/usage/records`, { limit: PAGE_ROWS, cursor }, { signal });
          const codes = answer.records.map((row) => row.mccmnc).filter(Boolean);
          return [answer, await networkNames(api, codes, signal)];
        },
        (answers) => draw(answers, cursor),
      );
    },
  };
}

function columns(format, network) {
  const amount = (key, title, read, hide) => ({
    key,
    title,
    numeric: true,
    hide,
    value: read,
    cell: (row) => format.bytes(read(row)),
    data: (row) => ({ bytes: read(row) }),
  });
  return [
    { key: "period", title: "Period", value: (row) => row.periodStart, cell: (row) => period(row, format) },
    {
      key: "id",
      title: "Record",
      hide: "narrow",
      grow: true,
      value: (row) => row.recordId,
      cell: (row) => [
        h("span", { class: "code record-id", title: row.recordId }, row.recordId),
        row.corrects && h("span", { class: "cell-soft" }, `corrects ${row.corrects}`),
      ],
    },
    {
      key: "network",
      title: "Network",
      hide: "narrow",
      value: (row) => row.mccmnc,
      cell: (row) => (row.mccmnc ? network(row.mccmnc) : "\u2013"),
    },
    { key: "others", title: "SMS, voice", hide: "narrow", value: () => "", cell: (row) => others(row.usage) },
    amount("download", "Download", (row) => row.usage.dataDownloadBytes, "narrow"),
    amount("upload", "Upload", (row) => row.usage.dataUploadBytes, "narrow"),
    amount("total", "Total", (row) => row.usage.totalBytes),
    {
      key: "stored",
      title: "Stored",
      numeric: true,
      hide: "narrow",
      value: (row) => row.processedAt,
      cell: (row) =>
        h(
          "time",
          { datetime: row.processedAt, title: format.dateTime(row.processedAt) },
          format.ago(row.processedAt),
        ),
    },
  ];
}

function period({ periodStart, periodEnd }, format) {
  const seconds = (Date.parse(periodEnd) - Date.parse(periodStart)) / 1000;
  return [
    h("time", { class: "cell-main", datetime: periodStart }, format.moment(periodStart)),
    h("span", { class: "cell-soft" }, seconds > 0 ? `for ${duration(seconds)}` : "at this moment"),
  ];
}

function others({ smsCount, voiceSeconds }) {
  const parts = [smsCount !== 0 && `${smsCount} SMS`, voiceSeconds !== 0 && duration(voiceSeconds)].filter(
    Boolean,
  );
  return parts.length > 0 ? parts.join(", ") : "\u2013";
}
