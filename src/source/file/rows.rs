//! From the bytes of a file to payloads, stretch by stretch, in bounded memory.

mod mapped;

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use crate::domain::{Rejection, RejectionCode};

use super::columns::{Columns, HeaderFault};
use super::csv_row::{Cut, Fields};
use super::input::Input;
use super::mapping::FileMapping;
use super::{Format, ImportError};
use mapped::MappedColumns;

/// Bytes of one read: some 1,000 rows, few enough that saved progress is never far behind.
const BLOCK: usize = 256 << 10;
/// Longest row. A record takes about 300 bytes and can hardly exceed 2 KB, so this is none, and memory has to be bounded.
const MAX_ROW: usize = 1 << 20;
/// What is kept of a row that is longer: enough to find it again.
const KEPT: usize = 4 << 10;
/// What the names and marks of JSON add to a row of CSV.
const JSON_NAMES: usize = 256;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A place in a file, between two rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) bytes: u64,
    pub(super) lines: u64,
}

/// One row as the pipeline takes it.
#[derive(Debug)]
pub(super) struct Row {
    /// Number of its first line; the first line of a file is 1.
    pub(super) line: u64,
    pub(super) payload: Bytes,
    /// Stands for the SIM, as far as one is seen without decoding the payload.
    pub(super) sim: u64,
    /// Stands for the SIM where the payload does not name one yet.
    pub(super) account: Option<String>,
    /// Why it is no row.
    pub(super) refused: Option<Rejection>,
}

/// Some rows and where they end.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) rows: Vec<Row>,
    pub(super) end: Position,
}

enum Shape {
    Ndjson,
    Csv {
        table: Table,
        fields: Fields,
    },
    /// Lines of JSON of another system.
    Lines(Arc<FileMapping>),
}

/// What the columns of CSV are.
enum Table {
    Own(Columns),
    Mapped(MappedColumns),
}

impl Table {
    /// Why a row of so many fields is none of its rows.
    fn refusal(&self, fields: usize) -> Option<String> {
        let problem = match self {
            Self::Own(columns) if fields != columns.len() => {
                format!("has {fields} fields, and the header {}", columns.len())
            }
            Self::Own(_) => return None,
            Self::Mapped(columns) => return columns.refusal(fields),
        };
        Some(problem)
    }
}

/// What stands at the front of the buffer.
enum Front {
    Row(Row),
    /// A blank line, which is passed over.
    Blank,
    /// Not all of a row.
    More,
}

/// The rows of a file that are still to be read.
pub(super) struct Rows {
    input: Input,
    shape: Shape,
    buffer: BytesMut,
    /// Nothing follows what is in the buffer.
    at_end: bool,
    /// Where the buffer begins.
    position: Position,
    /// The buffer begins within a line that was too long.
    within_long_line: bool,
    /// Records made of rows of CSV.
    json: BytesMut,
}

impl Rows {
    /// Begins to read: finds out the format, unless it is stated, and reads the header of CSV.
    pub(super) async fn open(input: Input, stated: Option<Format>) -> Result<Self, ImportError> {
        let mut rows = Self::begin(input).await?;
        let seen = match rows.first_byte().await? {
            Some(b'{' | b'[') | None => Format::Ndjson,
            Some(_) => Format::Csv,
        };
        if stated.unwrap_or(seen) == Format::Csv {
            rows.read_header().await?;
        }
        Ok(rows)
    }

    async fn begin(input: Input) -> Result<Self, ImportError> {
        let mut rows = Self {
            input,
            shape: Shape::Ndjson,
            buffer: BytesMut::with_capacity(BLOCK),
            at_end: false,
            position: Position::default(),
            within_long_line: false,
            json: BytesMut::new(),
        };
        while !rows.at_end && rows.buffer.len() < BYTE_ORDER_MARK.len() {
            rows.fill().await?;
        }
        if rows.buffer.starts_with(BYTE_ORDER_MARK) {
            rows.drop_front(BYTE_ORDER_MARK.len());
        }
        Ok(rows)
    }

    /// The first byte that is no blank; everything before it is dropped.
    async fn first_byte(&mut self) -> Result<Option<u8>, ImportError> {
        loop {
            let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.drop_front(blank);
            if self.at_end || !self.buffer.is_empty() {
                return Ok(self.buffer.first().copied());
            }
            self.fill().await?;
        }
    }

    async fn read_header(&mut self) -> Result<(), ImportError> {
        let mut fields = Fields::default();
        let length = self.cut_header(&mut fields).await?;
        let columns = Columns::of_header(&fields, &self.buffer).map_err(|fault| self.header_fault(fault))?;
        self.drop_front(length);
        self.shape = Shape::Csv { table: Table::Own(columns), fields };
        Ok(())
    }

    /// Cuts the header, of so many bytes, off the front.
    async fn cut_header(&mut self, fields: &mut Fields) -> Result<usize, ImportError> {
        loop {
            let fault = match fields.cut(&self.buffer, self.at_end) {
                Cut::Row(0) => HeaderFault::Missing,
                Cut::Row(length) => return Ok(length),
                Cut::Broken(problem) => HeaderFault::Unreadable(problem),
                Cut::More if self.buffer.len() > MAX_ROW => {
                    HeaderFault::Unreadable("it is longer than 1 MiB")
                }
                Cut::More => {
                    self.fill().await?;
                    continue;
                }
            };
            return Err(self.header_fault(fault));
        }
    }

    fn header_fault(&self, fault: HeaderFault) -> ImportError {
        ImportError::Header { name: self.input.name.clone(), fault }
    }

    pub(super) fn input(&self) -> &Input {
        &self.input
    }

    /// Goes on at `position`, where a row begins.
    pub(super) async fn resume(&mut self, position: Position) -> Result<(), ImportError> {
        if position.bytes > self.position.bytes {
            self.input.seek(position.bytes).await?;
            self.buffer.clear();
            self.at_end = false;
            self.position = position;
        }
        Ok(())
    }

    /// The next rows; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Stretch>, ImportError> {
        let mut rows = Vec::new();
        loop {
            match self.front() {
                Front::Row(row) => rows.push(row),
                Front::Blank => {}
                // A stretch ends between two rows: the next import may have to begin there.
                Front::More if (rows.is_empty() || self.within_long_line) && !self.at_end => {
                    self.fill().await?;
                }
                Front::More => break,
            }
        }
        Ok((!rows.is_empty()).then_some(Stretch { rows, end: self.position }))
    }

    async fn fill(&mut self) -> Result<(), ImportError> {
        self.buffer.reserve(BLOCK);
        self.at_end = self.input.read(&mut self.buffer).await? == 0;
        Ok(())
    }

    fn front(&mut self) -> Front {
        let line_end = self.buffer.iter().position(|byte| *byte == b'\n');
        if self.within_long_line {
            self.drop_front(line_end.map_or(self.buffer.len(), |end| end + 1));
            self.within_long_line = line_end.is_none();
            return if self.within_long_line { Front::More } else { Front::Blank };
        }
        let Some(length) = line_end.map(|end| end + 1).or(self.at_end.then_some(self.buffer.len())) else {
            return if self.buffer.len() > MAX_ROW { self.too_long(self.buffer.len()) } else { Front::More };
        };
        if self.buffer[..length].trim_ascii().is_empty() || self.is_ignored(length) {
            self.drop_front(length);
            return if length == 0 { Front::More } else { Front::Blank };
        }
        if length > MAX_ROW {
            return self.too_long(length);
        }
        match &mut self.shape {
            Shape::Ndjson => self.record(length),
            Shape::Lines(mapping) => {
                let mapping = mapping.clone();
                self.mapped_line(&mapping, length)
            }
            Shape::Csv { table, fields } => match fields.cut(&self.buffer, self.at_end) {
                Cut::Row(whole) => match table.refusal(fields.len()) {
                    None => self.csv_row(whole),
                    Some(problem) => self.refuse(length, length, problem),
                },
                Cut::Broken(problem) => self.refuse(length, length, problem.into()),
                Cut::More if self.buffer.len() > MAX_ROW => {
                    self.refuse(length, length, "a quoted field is not closed within 1 MiB".into())
                }
                Cut::More => Front::More,
            },
        }
    }

    /// A line of NDJSON: the payload as it stands there.
    fn record(&mut self, length: usize) -> Front {
        let line = self.position.lines + 1;
        let payload = self.take_front(length);
        let payload = payload.slice_ref(payload.trim_ascii());
        let sim = sim(stated_iccid(&payload));
        Front::Row(Row { line, payload, sim, account: None, refused: None })
    }

    fn csv_row(&mut self, length: usize) -> Front {
        if str::from_utf8(&self.buffer[..length]).is_err() {
            return self.refuse(length, length, "is not UTF-8".into());
        }
        let (columns, fields) = match &self.shape {
            Shape::Csv { table: Table::Own(columns), fields } => (columns, fields),
            Shape::Csv { table: Table::Mapped(columns), fields } => {
                let made = columns.record(fields, &self.buffer);
                return self.mapped_row(length, made);
            }
            Shape::Ndjson | Shape::Lines(_) => unreachable!("only CSV has such rows"),
        };
        // A block at a time, not what the next few bytes need: this is done for each row.
        if self.json.capacity() < length + JSON_NAMES {
            self.json.reserve(BLOCK);
        }
        columns.write_json(fields, &self.buffer, &mut self.json);
        let sim = sim(&fields.of(&self.buffer).nth(columns.iccid()).unwrap_or_default());
        let line = self.position.lines + 1;
        let payload = self.json.split().freeze();
        self.drop_front(length);
        Front::Row(Row { line, payload, sim, account: None, refused: None })
    }

    fn too_long(&mut self, length: usize) -> Front {
        self.within_long_line = self.buffer[length - 1] != b'\n';
        self.refuse(length, KEPT, format!("is longer than 1 MiB; its first {KEPT} bytes are kept"))
    }

    /// Takes `length` bytes that are no row, of which some are kept.
    fn refuse(&mut self, length: usize, kept: usize, problem: String) -> Front {
        let line = self.position.lines + 1;
        let payload = self.take_front(length);
        let kept = payload.len().min(kept);
        // A copy: what is parked must not hold a megabyte.
        let payload = Bytes::copy_from_slice(payload[..kept].trim_ascii_end());
        let refused = Some(Rejection::new(RejectionCode::Malformed, "", format!("the line {problem}")));
        Front::Row(Row { line, payload, sim: 0, account: None, refused })
    }

    fn take_front(&mut self, length: usize) -> Bytes {
        self.advance(length);
        self.buffer.split_to(length).freeze()
    }

    fn drop_front(&mut self, length: usize) {
        self.advance(length);
        self.buffer.advance(length);
    }

    fn advance(&mut self, length: usize) {
        self.position.bytes += length as u64;
        self.position.lines += self.buffer[..length].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
}

pub(super) fn sim(iccid: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(iccid);
    hasher.finish()
}

/// The digits behind the first `"iccid":` of a JSON text; empty when there is none. Only the order of rows hangs on it.
fn stated_iccid(json: &[u8]) -> &[u8] {
    const NAME: &[u8] = b"\"iccid\"";
    let Some(name) = json.windows(NAME.len()).position(|window| window == NAME) else { return &[] };
    let behind = &json[name + NAME.len()..];
    let lead = behind.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b':' | b'"')).count();
    let digits = &behind[lead..];
    &digits[..digits.iter().take_while(|byte| byte.is_ascii_digit()).count()]
}
