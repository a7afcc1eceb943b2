//! A file's rows, read by a thread of their own: parsers wait for their input.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, OnceLock};

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::domain::Iccid;
use crate::inventory::{self, RowFault};
use crate::store::sims::{IMPORT_CHUNK, SimRow};

use super::super::fields;

/// Bytes of a line of NDJSON; a SIM with every field at its longest fits.
const LINE_MAX_BYTES: u64 = 64 << 10;

#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    Csv,
    Ndjson,
}

/// Rows that are stored in one transaction, with their lines and no ICCID twice, and those at fault among them.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) rows: Vec<(u64, SimRow)>,
    pub(super) faults: Vec<RowFault>,
    /// Rows that a later one of the same SIM stands for.
    pub(super) repeated: u64,
    pub(super) last_line: u64,
}

/// The file as a whole cannot be read, at least not to its end.
#[derive(Debug)]
pub(super) enum Unreadable {
    TooLarge,
    File(String),
}

/// Sends chunk after chunk until the end of the file, or until nobody takes them.
///
/// # Errors
/// [`Unreadable`]; what was sent before stays sent.
pub(super) fn read(
    format: Format,
    body: BodyReader,
    currency: &str,
    chunks: &mpsc::Sender<Chunk>,
) -> Result<(), Unreadable> {
    let broken = body.broken.clone();
    let sent = match format {
        Format::Csv => match inventory::read_csv_lines(body) {
            Ok(rows) => send(rows.map(|row| in_currency(row, currency)), &broken, chunks),
            Err(error) => broken.get().map_or(Err(Unreadable::File(error.to_string())), |_| Ok(())),
        },
        Format::Ndjson => send(Lines::new(body), &broken, chunks),
    };
    match broken.get() {
        Some(Broken::TooLarge) => Err(Unreadable::TooLarge),
        Some(Broken::Off) => Err(Unreadable::File("the body broke off, or cannot be unpacked".into())),
        None => sent,
    }
}

fn send(
    rows: impl Iterator<Item = Result<(u64, SimRow), RowFault>>,
    broken: &OnceLock<Broken>,
    chunks: &mpsc::Sender<Chunk>,
) -> Result<(), Unreadable> {
    let (mut chunk, mut places) = (Chunk::default(), HashMap::<Iccid, usize>::new());
    for row in rows {
        // What was cut off is no row, even if it looks like one.
        if broken.get().is_some() {
            return Ok(());
        }
        match row {
            Ok((line, row)) => {
                chunk.last_line = line;
                if let Some(&at) = places.get(&row.iccid) {
                    // A SIM that stands twice: the later row counts, as it would in another chunk.
                    merge(&mut chunk.rows[at], (line, row));
                    chunk.repeated += 1;
                } else {
                    places.insert(row.iccid.clone(), chunk.rows.len());
                    chunk.rows.push((line, row));
                }
            }
            Err(fault) => {
                chunk.last_line = fault.line;
                chunk.faults.push(fault);
            }
        }
        if chunk.rows.len().max(chunk.faults.len()) >= IMPORT_CHUNK {
            places.clear();
            if chunks.blocking_send(std::mem::take(&mut chunk)).is_err() {
                return Ok(());
            }
        }
    }
    if chunk.last_line > 0 && broken.get().is_none() {
        chunks.blocking_send(chunk).ok();
    }
    Ok(())
}

/// What the later row does not state, the earlier one does.
fn merge(held: &mut (u64, SimRow), (line, later): (u64, SimRow)) {
    let earlier = std::mem::replace(&mut held.1, later);
    let row = &mut held.1;
    held.0 = line;
    row.imsi = row.imsi.take().or(earlier.imsi);
    row.msisdn = row.msisdn.take().or(earlier.msisdn);
    if row.carrier.is_none() {
        (row.carrier, row.mccmnc) = (earlier.carrier, earlier.mccmnc);
    }
    if row.rate_plan.is_none() {
        (row.rate_plan, row.price_per_mb) = (earlier.rate_plan, earlier.price_per_mb);
        (row.included_bytes, row.currency) = (earlier.included_bytes, earlier.currency);
    }
    row.data_limit_bytes = row.data_limit_bytes.or(earlier.data_limit_bytes);
    row.customer_id = row.customer_id.take().or(earlier.customer_id);
    row.status = row.status.take().or(earlier.status);
    row.device_name = row.device_name.take().or(earlier.device_name);
    row.latitude = row.latitude.or(earlier.latitude);
    row.longitude = row.longitude.or(earlier.longitude);
    row.location_name = row.location_name.take().or(earlier.location_name);
    row.cycle_day = row.cycle_day.or(earlier.cycle_day);
}

/// Plans of another currency than their tenant's cannot be stored.
fn in_currency(row: Result<(u64, SimRow), RowFault>, currency: &str) -> Result<(u64, SimRow), RowFault> {
    let (line, row) = row?;
    if row.currency.as_deref().is_some_and(|stated| stated != currency) {
        return Err(RowFault {
            line,
            problem: format!("currency must be {currency}, in which the tenant bills"),
        });
    }
    Ok((line, row))
}

/// One JSON object a line.
struct Lines {
    input: BufReader<BodyReader>,
    line: u64,
}

impl Lines {
    fn new(body: BodyReader) -> Self {
        Self { input: BufReader::new(body), line: 0 }
    }

    /// The next line without what is beyond the longest, and whether it was too long; `None` at the end.
    fn next_line(&mut self) -> io::Result<Option<(Vec<u8>, bool)>> {
        let mut line = Vec::new();
        if (&mut self.input).take(LINE_MAX_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let mut ended = line.ends_with(b"\n");
        let too_long = !ended && line.len() as u64 == LINE_MAX_BYTES;
        let mut rest = Vec::new();
        while too_long && !ended {
            rest.clear();
            let read = (&mut self.input).take(LINE_MAX_BYTES).read_until(b'\n', &mut rest)?;
            ended = read == 0 || rest.ends_with(b"\n");
        }
        Ok(Some((line, too_long)))
    }
}

impl Iterator for Lines {
    type Item = Result<(u64, SimRow), RowFault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // Whoever reads on asks the body what broke it.
            let (text, too_long) = self.next_line().ok()??;
            self.line += 1;
            let line = self.line;
            let fault = |problem: String| Some(Err(RowFault { line, problem }));
            if too_long {
                return fault(format!("has more than {LINE_MAX_BYTES} bytes"));
            }
            let text = text.trim_ascii();
            let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
            if text.is_empty() {
                continue;
            }
            return match serde_json::from_slice::<Value>(text).map(|value| fields::whole_sim(&value)) {
                Ok(Ok(row)) => Some(Ok((line, row))),
                Ok(Err(faults)) => fault(fields::in_words(faults)),
                Err(_) => fault("is not JSON".into()),
            };
        }
    }
}

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug)]
enum Broken {
    TooLarge,
    Off,
}

/// A body as a thread reads it.
pub(super) struct BodyReader {
    stream: BodyDataStream,
    piece: Bytes,
    /// Bytes that may follow.
    left: usize,
    broken: Arc<OnceLock<Broken>>,
    runtime: Handle,
}

impl BodyReader {
    pub(super) fn new(body: Body, max_bytes: usize) -> Self {
        Self {
            stream: body.into_data_stream(),
            piece: Bytes::new(),
            left: max_bytes,
            broken: Arc::default(),
            runtime: Handle::current(),
        }
    }

    fn fail(&self, why: Broken) -> io::Error {
        self.broken.set(why).ok();
        io::Error::other("the body cannot be read on")
    }
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                None => return Ok(0),
                Some(Err(_)) => return Err(self.fail(Broken::Off)),
                Some(Ok(piece)) if piece.len() > self.left => return Err(self.fail(Broken::TooLarge)),
                Some(Ok(piece)) => {
                    self.left -= piece.len();
                    self.piece = piece;
                }
            }
        }
        let length = into.len().min(self.piece.len());
        into[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}
