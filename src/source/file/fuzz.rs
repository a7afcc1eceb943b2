//! A door for fuzzing: the rows of a file.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;

use super::Format;
use super::input::Input;
use super::mapping::FileMapping;
use super::rows::Rows;

/// Cuts a file into rows, with a mapping or as one of simbridge's own; `take` gets the payload of each that is one.
pub fn rows(
    mapping: Option<Arc<FileMapping>>,
    format: Option<Format>,
    file: Vec<u8>,
    mut take: impl FnMut(&Bytes),
) {
    let length = file.len() as u64;
    let input = Input::stream("fuzz", Cursor::new(file));
    let opened = match mapping {
        Some(mapping) => Rows::open_mapped(input, mapping).now_or_never(),
        None => Rows::open(input, format).now_or_never(),
    };
    let Ok(mut rows) = opened.expect("memory does not wait") else { return };
    let (mut line, mut end) = (0, 0);
    while let Some(stretch) =
        rows.next().now_or_never().expect("memory does not wait").expect("memory is read")
    {
        for row in stretch.rows {
            assert!(row.line > line, "rows follow each other");
            line = row.line;
            if row.refused.is_none() {
                take(&row.payload);
            }
        }
        assert!(stretch.end.bytes > end && stretch.end.bytes <= length, "a stretch ends behind its rows");
        end = stretch.end.bytes;
    }
}
