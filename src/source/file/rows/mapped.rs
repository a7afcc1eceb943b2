//! Rows of files of other systems, read by a mapping.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::domain::{Rejection, RejectionCode};
use crate::source::file::ImportError;
use crate::source::file::csv_row::Fields;
use crate::source::file::input::Input;
use crate::source::file::mapped::{MappedRecord, Sim};
use crate::source::file::mapping::{FileMapping, Layout};

use super::{Front, HeaderFault, MAX_ROW, Row, Rows, Shape, Table, sim};

/// The columns of a file that a mapping reads.
pub(super) struct MappedColumns {
    mapping: Arc<FileMapping>,
    /// Column of each place.
    columns: Vec<usize>,
    /// How many columns the header names; `None` without one.
    width: Option<usize>,
}

impl MappedColumns {
    /// Why a row of so many fields is none of its rows.
    pub(super) fn refusal(&self, fields: usize) -> Option<String> {
        let needed = self.columns.iter().max().map_or(0, |last| last + 1);
        match self.width {
            Some(width) if fields != width => Some(format!("has {fields} fields, and the header {width}")),
            None if fields < needed => {
                Some(format!("has {fields} fields, and the mapping names column {needed}"))
            }
            _ => None,
        }
    }

    /// The record of a row of valid UTF-8, which `refusal` let pass.
    pub(super) fn record(&self, fields: &Fields, text: &[u8]) -> Result<MappedRecord, Rejection> {
        let cells: Vec<Cow<'_, [u8]>> = fields.of(text).collect();
        let texts: Vec<Cow<'_, str>> =
            self.columns.iter().map(|column| String::from_utf8_lossy(&cells[*column])).collect();
        self.mapping.record(&texts, cells.iter())
    }
}

impl Rows {
    /// Begins to read a file of another system, up to the end of its header.
    pub(in crate::source::file) async fn open_mapped(
        input: Input,
        mapping: Arc<FileMapping>,
    ) -> Result<Self, ImportError> {
        let mut rows = Self::begin(input).await?;
        let (delimiter, has_header) = match mapping.layout {
            Layout::Ndjson => {
                rows.shape = Shape::Lines(mapping);
                return Ok(rows);
            }
            Layout::Csv { delimiter, header } => (delimiter, header),
        };
        let mut fields = Fields::delimited_by(delimiter);
        let (columns, width) = if has_header {
            let names = rows.read_names(&mapping, &mut fields).await?;
            let columns = mapping.places.columns(&names, &mapping.name);
            (columns.map_err(|fault| rows.header_fault(fault))?, Some(names.len()))
        } else {
            (mapping.places.numbers(), None)
        };
        rows.shape = Shape::Csv { table: Table::Mapped(MappedColumns { mapping, columns, width }), fields };
        Ok(rows)
    }

    /// The names in the header, behind lines that are blank or ignored.
    async fn read_names(
        &mut self,
        mapping: &FileMapping,
        fields: &mut Fields,
    ) -> Result<Vec<String>, ImportError> {
        loop {
            let line_end = self.buffer.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
            let Some(length) = line_end.or(self.at_end.then_some(self.buffer.len())) else {
                if self.buffer.len() > MAX_ROW {
                    return Err(self.header_fault(HeaderFault::Unreadable("it is longer than 1 MiB")));
                }
                self.fill().await?;
                continue;
            };
            let line = &self.buffer[..length];
            if length == 0 || !(line.trim_ascii().is_empty() || mapping.ignores(line)) {
                break;
            }
            self.drop_front(length);
        }
        let length = self.cut_header(fields).await?;
        let read: Result<Vec<String>, _> =
            fields.of(&self.buffer).map(|name| String::from_utf8(name.into_owned())).collect();
        let Ok(names) = read else {
            return Err(self.header_fault(HeaderFault::Unreadable("it is not UTF-8")));
        };
        self.drop_front(length);
        Ok(names.into_iter().map(|name| name.trim().to_owned()).collect())
    }

    /// Whether the mapping says that the line at the front is no row.
    pub(super) fn is_ignored(&self, length: usize) -> bool {
        match &self.shape {
            Shape::Csv { table: Table::Mapped(columns), .. } => {
                columns.mapping.ignores(&self.buffer[..length])
            }
            Shape::Lines(mapping) => mapping.ignores(&self.buffer[..length]),
            Shape::Ndjson | Shape::Csv { .. } => false,
        }
    }

    /// A line of NDJSON.
    pub(super) fn mapped_line(&mut self, mapping: &FileMapping, length: usize) -> Front {
        let line = self.buffer[..length].trim_ascii();
        let made = match serde_json::from_slice::<Value>(line) {
            Err(error) => {
                Err(Rejection::new(RejectionCode::Malformed, "", format!("the line is not JSON: {error}")))
            }
            Ok(value) => texts(mapping, &value).and_then(|texts| mapping.record(&texts, [line].iter())),
        };
        self.mapped_row(length, made)
    }

    /// Takes the row at the front, of which a record was made, or none.
    pub(super) fn mapped_row(&mut self, length: usize, made: Result<MappedRecord, Rejection>) -> Front {
        let line = self.position.lines + 1;
        let raw = self.take_front(length);
        Front::Row(match made {
            Ok(MappedRecord { json, sim: Sim::Iccid(iccid) }) => {
                Row { line, payload: json, sim: sim(iccid.as_bytes()), account: None, refused: None }
            }
            Ok(MappedRecord { json, sim: Sim::Account(account) }) => {
                Row { line, payload: json, sim: 0, account: Some(account), refused: None }
            }
            Err(rejection) => {
                // A copy: what is parked must not hold a block of the file.
                let payload = Bytes::copy_from_slice(raw.trim_ascii_end());
                Row { line, payload, sim: 0, account: None, refused: Some(rejection) }
            }
        })
    }
}

/// What stands at each pointer; nothing where there is nothing, or null.
fn texts<'v>(mapping: &FileMapping, value: &'v Value) -> Result<Vec<Cow<'v, str>>, Rejection> {
    let text = |pointer: &str| match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(Cow::Borrowed("")),
        Some(Value::String(text)) => Ok(Cow::Borrowed(text.as_str())),
        Some(Value::Number(number)) => Ok(Cow::Owned(number.to_string())),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            let problem = format!("{pointer} is neither text nor a number");
            Err(Rejection::new(RejectionCode::Invalid, "", problem))
        }
    };
    mapping.places.names().map(text).collect()
}
