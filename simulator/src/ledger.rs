//! What was sent and what was acknowledged, on disk: the witness in every test that kills something.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::faults::RecordKind;

/// The identity of a record within a tenant: ICCID and `recordId`.
pub type RecordKey = (String, String);

/// When a line of the ledger has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of this process: each line is handed to the operating system.
    Process,
    /// The end of the machine: each entry is also synced to the disk. Slow.
    Machine,
}

/// An append-only NDJSON file. `sent` is written before the PUBLISH goes out and `acked` after its acknowledgement
/// came in, so that at any kill: acknowledged by the file ⊆ acknowledged by the broker, sent ⊆ sent by the file.
pub struct Ledger {
    out: Mutex<Output>,
}

enum Output {
    File {
        file: File,
        durability: Durability,
    },
    #[cfg(test)]
    Memory(Vec<u8>),
}

/// One record of a message, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRecord {
    pub iccid: String,
    pub record_id: String,
    pub total_bytes: u64,
    pub kind: RecordKind,
}

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    Sent,
    Acked,
    Refused,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    event: Event,
    iccid: Cow<'a, str>,
    record_id: Cow<'a, str>,
    total_bytes: u64,
    kind: RecordKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
}

impl Ledger {
    /// Opens `path` for appending; a line that an earlier crash tore is closed first.
    pub fn append(path: &Path, durability: Durability) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() > 0 {
            file.write_all(b"\n")?;
        }
        Ok(Self { out: Mutex::new(Output::File { file, durability }) })
    }

    /// Call before the PUBLISH goes out.
    pub(crate) fn sent(&self, topic: &str, records: &[LedgerRecord]) -> io::Result<()> {
        self.write(Event::Sent, records, Some(topic), None)
    }

    /// Call when PUBACK or PUBCOMP came in; `reason` is what MQTT 5 said about a parked record.
    pub(crate) fn acked(&self, records: &[LedgerRecord], reason: Option<&str>) -> io::Result<()> {
        self.write(Event::Acked, records, None, reason)
    }

    /// Call when the broker answered that it will not keep the message.
    pub(crate) fn refused(&self, records: &[LedgerRecord], reason: &str) -> io::Result<()> {
        self.write(Event::Refused, records, None, Some(reason))
    }

    fn write(
        &self,
        event: Event,
        records: &[LedgerRecord],
        topic: Option<&str>,
        reason: Option<&str>,
    ) -> io::Result<()> {
        let mut lines = Vec::with_capacity(records.len() * 160);
        for record in records {
            let line = Line {
                event,
                iccid: Cow::Borrowed(&record.iccid),
                record_id: Cow::Borrowed(&record.record_id),
                total_bytes: record.total_bytes,
                kind: record.kind,
                topic: topic.map(Cow::Borrowed),
                reason: reason.map(Cow::Borrowed),
            };
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        self.out.lock().unwrap_or_else(PoisonError::into_inner).write(&lines)
    }

    /// Reads a ledger file, also one whose writer was killed.
    pub fn read(path: &Path) -> io::Result<LedgerSummary> {
        LedgerSummary::read_from(BufReader::new(File::open(path)?))
    }
}

impl Output {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File { file, durability } => {
                // One write for all lines of a message: with O_APPEND it is not interleaved with another process's.
                file.write_all(lines)?;
                if *durability == Durability::Machine { file.sync_data() } else { Ok(()) }
            }
            #[cfg(test)]
            Self::Memory(bytes) => {
                bytes.extend_from_slice(lines);
                Ok(())
            }
        }
    }
}

/// What a ledger says. Malformed records are apart, because a reader may not be able to name them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LedgerSummary {
    /// Valid records handed to a connection: what is stored must be among them.
    pub sent: HashSet<RecordKey>,
    /// Valid records acknowledged at least once: every one must be stored or parked.
    pub acked: HashSet<RecordKey>,
    pub malformed_sent: HashSet<RecordKey>,
    pub malformed_acked: HashSet<RecordKey>,
    /// Records that the broker answered it will not keep.
    pub refused: HashSet<RecordKey>,
    /// `totalBytes` of each valid record as it was first sent; a conflict's other amount must never count.
    pub total_bytes: HashMap<RecordKey, u64>,
    /// Lines that are no entry: at most one for each kill of the writer.
    pub torn_lines: u64,
}

impl LedgerSummary {
    /// Sums up the lines of `input`.
    pub fn read_from(mut input: impl BufRead) -> io::Result<Self> {
        let mut summary = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if input.read_until(b'\n', &mut line)? == 0 {
                return Ok(summary);
            }
            match serde_json::from_slice::<Line<'_>>(&line) {
                Ok(entry) => summary.add(entry),
                Err(_) if line.trim_ascii().is_empty() => {}
                Err(_) => summary.torn_lines += 1,
            }
        }
    }

    fn add(&mut self, line: Line<'_>) {
        let key = (line.iccid.into_owned(), line.record_id.into_owned());
        let malformed = line.kind == RecordKind::Malformed;
        match (line.event, malformed) {
            (Event::Sent, true) => drop(self.malformed_sent.insert(key)),
            (Event::Sent, false) => {
                if line.kind != RecordKind::Conflict {
                    self.total_bytes.entry(key.clone()).or_insert(line.total_bytes);
                }
                self.sent.insert(key);
            }
            (Event::Acked, true) => drop(self.malformed_acked.insert(key)),
            (Event::Acked, false) => drop(self.acked.insert(key)),
            (Event::Refused, _) => drop(self.refused.insert(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, kind: RecordKind, total_bytes: u64) -> LedgerRecord {
        LedgerRecord { iccid: "8941".to_owned(), record_id: id.to_owned(), total_bytes, kind }
    }

    fn key(id: &str) -> RecordKey {
        ("8941".to_owned(), id.to_owned())
    }

    fn written(steps: impl FnOnce(&Ledger)) -> Vec<u8> {
        let ledger = Ledger { out: Mutex::new(Output::Memory(Vec::new())) };
        steps(&ledger);
        match ledger.out.into_inner().unwrap() {
            Output::Memory(bytes) => bytes,
            Output::File { .. } => unreachable!("the test wrote to memory"),
        }
    }

    #[test]
    fn what_was_written_reads_back() {
        let bytes = written(|ledger| {
            ledger
                .sent("t", &[record("a", RecordKind::Good, 5), record("m", RecordKind::Malformed, 1)])
                .unwrap();
            ledger.sent("t", &[record("a", RecordKind::Conflict, 9)]).unwrap();
            ledger.sent("t", &[record("b", RecordKind::Late, 7)]).unwrap();
            ledger.acked(&[record("a", RecordKind::Good, 5)], None).unwrap();
            ledger.acked(&[record("m", RecordKind::Malformed, 1)], Some("PayloadFormatInvalid")).unwrap();
            ledger.refused(&[record("b", RecordKind::Late, 7)], "NotAuthorized").unwrap();
        });
        let summary = LedgerSummary::read_from(bytes.as_slice()).unwrap();
        let expected = LedgerSummary {
            sent: HashSet::from([key("a"), key("b")]),
            acked: HashSet::from([key("a")]),
            malformed_sent: HashSet::from([key("m")]),
            malformed_acked: HashSet::from([key("m")]),
            refused: HashSet::from([key("b")]),
            total_bytes: HashMap::from([(key("a"), 5), (key("b"), 7)]),
            torn_lines: 0,
        };
        assert_eq!(summary, expected);
    }

    #[test]
    fn a_torn_last_line_is_counted_and_the_rest_is_kept() {
        let mut bytes = written(|ledger| {
            ledger.sent("t", &[record("a", RecordKind::Good, 5), record("b", RecordKind::Good, 5)]).unwrap();
        });
        let whole = bytes.len();
        for cut in 1..whole {
            let summary = LedgerSummary::read_from(&bytes[..cut]).unwrap();
            assert!(summary.sent.len() <= 2 && summary.torn_lines <= 1, "cut at {cut}");
        }
        bytes.truncate(whole - 3);
        let summary = LedgerSummary::read_from(bytes.as_slice()).unwrap();
        assert_eq!((summary.sent, summary.torn_lines), (HashSet::from([key("a")]), 1));
    }
}
