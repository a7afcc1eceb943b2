//! Rows of `COPY … FROM STDIN (FORMAT binary)`, in pieces that are worth a wake-up: each takes the connection's task, the socket and
//! the server another turn, and the 4 KB that `BinaryCopyInWriter` sends at once are twenty rows (ADR 0032).

use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::CopyInSink;
use tokio_postgres::types::{IsNull, ToSql, Type};

use crate::traces::Span;

use super::StoreError;
use super::statement::tell;

/// Bytes of rows that are sent together.
const PIECE_BYTES: usize = 64 << 10;

/// Signature, flags and length of the header's extension (PostgreSQL manual, COPY, "Binary Format").
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: i16 = -1;
const NULL: i32 = -1;

/// Rows on their way. One that is dropped before [`Copy::finish`] has changed nothing and fails its transaction.
pub(super) struct Copy {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    types: &'static [Type],
    piece: BytesMut,
    span: Span,
}

impl Copy {
    pub(super) fn begin(sink: CopyInSink<Bytes>, types: &'static [Type], span: Span) -> Self {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        piece.put_slice(HEADER);
        Self { sink: Box::pin(sink), types, piece, span }
    }

    /// A value for each column.
    pub(super) async fn row(&mut self, row: &[&(dyn ToSql + Sync)]) -> Result<(), StoreError> {
        append(&mut self.piece, self.types, row);
        if self.piece.len() < PIECE_BYTES {
            return Ok(());
        }
        let sent = self.sink.send(self.piece.split().freeze()).await.map_err(StoreError::from);
        self.piece.reserve(PIECE_BYTES + PIECE_BYTES / 8);
        tell(&self.span, &sent);
        sent
    }

    /// Returns the number of rows.
    pub(super) async fn finish(mut self) -> Result<u64, StoreError> {
        self.piece.put_i16(TRAILER);
        let finished = async {
            self.sink.send(self.piece.split().freeze()).await?;
            Ok(self.sink.as_mut().finish().await?)
        }
        .await;
        if let Ok(rows) = &finished {
            self.span.note("simbridge.rows.changed", *rows);
        }
        tell(&self.span, &finished);
        finished
    }
}

/// The number of columns, then each value behind its length.
fn append(piece: &mut BytesMut, types: &[Type], row: &[&(dyn ToSql + Sync)]) {
    // A short row would reach the server as bad data, and be blamed on its record.
    assert_eq!(row.len(), types.len());
    piece.put_i16(types.len() as i16);
    for (value, kind) in row.iter().zip(types) {
        let at = piece.len();
        piece.put_i32(NULL);
        // The types are those of the statement, which its first test would tell; no text is as long as 2 GB, and chrono's years all fit
        // the server's microseconds.
        let null = value.to_sql_checked(kind, piece).expect("a value of its column's type");
        if let IsNull::No = null {
            let length = (piece.len() - at - size_of::<i32>()) as i32;
            piece[at..at + size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches a length that counts itself, and a null with a length.
    #[test]
    fn a_row_is_its_columns_each_behind_its_length() {
        let mut piece = BytesMut::new();
        append(&mut piece, &[Type::INT4, Type::TEXT, Type::TEXT], &[&7_i32, &None::<&str>, &"ab"]);
        let expected: &[u8] = b"\0\x03\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\0\0\x02ab";
        assert_eq!(&piece[..], expected);
    }
}
