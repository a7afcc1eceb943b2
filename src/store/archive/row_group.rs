//! Records between PostgreSQL and Parquet: rows as binary COPY has them on one side, columns on the other.

use bytes::{Buf, Bytes};
use parquet::data_type::ByteArray;

use super::columns::{Column, Kind};
use super::error::ArchiveError;

/// Rows that are read or written together. With usual records some 15 MB; three of them are under way at most.
pub(super) const ROWS: usize = 32_768;

/// From 1 January 1970, where Parquet counts from, to 1 January 2000, where PostgreSQL does.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Values of one column without those that are NULL.
#[derive(Debug, PartialEq)]
pub(super) enum Values {
    Int(Vec<i32>),
    /// Also moments, in microseconds since 1970.
    Long(Vec<i64>),
    Text(Vec<ByteArray>),
}

#[derive(Debug, PartialEq)]
pub(super) struct Chunk {
    kind: Kind,
    /// For each row 1, or 0 when it is NULL; `None` when the column can have no NULL.
    pub(super) levels: Option<Vec<i16>>,
    pub(super) values: Values,
}

impl Chunk {
    pub(super) fn empty(column: &Column) -> Self {
        let values = match column.kind {
            Kind::Integer => Values::Int(Vec::new()),
            Kind::Bigint | Kind::Timestamptz => Values::Long(Vec::new()),
            Kind::Text => Values::Text(Vec::new()),
        };
        Self { kind: column.kind, levels: column.nullable.then(Vec::new), values }
    }

    fn push(&mut self, field: Option<Bytes>) -> Result<(), ArchiveError> {
        match (&mut self.levels, &field) {
            (Some(levels), field) => levels.push(i16::from(field.is_some())),
            (None, None) => return Err(ArchiveError::Protocol("NULL in a column that has none")),
            (None, Some(_)) => {}
        }
        let Some(field) = field else { return Ok(()) };
        let wrong = |_| ArchiveError::Protocol("a number of another size");
        match (&mut self.values, self.kind) {
            (Values::Int(values), _) => {
                values.push(i32::from_be_bytes(field[..].try_into().map_err(wrong)?));
            }
            (Values::Long(values), kind) => {
                let number = i64::from_be_bytes(field[..].try_into().map_err(wrong)?);
                values.push(if kind == Kind::Timestamptz { unix_micros(number)? } else { number });
            }
            (Values::Text(values), _) => values.push(field.into()),
        }
        Ok(())
    }

    /// Appends one value as binary COPY has it.
    fn put(&self, index: usize, tuple: &mut Vec<u8>) -> Result<(), ArchiveError> {
        match &self.values {
            Values::Int(values) => put_field(tuple, &values[index].to_be_bytes()),
            Values::Long(values) if self.kind == Kind::Timestamptz => {
                let micros = values[index].checked_sub(EPOCH_MICROS);
                let micros = micros.ok_or(ArchiveError::Protocol("a moment beyond all bounds"))?;
                put_field(tuple, &micros.to_be_bytes());
            }
            Values::Long(values) => put_field(tuple, &values[index].to_be_bytes()),
            Values::Text(values) => put_field(tuple, values[index].data()),
        }
        Ok(())
    }
}

fn put_field(tuple: &mut Vec<u8>, field: &[u8]) {
    // The server sends fields of up to 1 GiB.
    tuple.extend_from_slice(&(field.len() as i32).to_be_bytes());
    tuple.extend_from_slice(field);
}

/// `infinity` and `-infinity` have no place in Parquet.
fn unix_micros(postgres: i64) -> Result<i64, ArchiveError> {
    let finite = (postgres != i64::MIN).then_some(postgres);
    finite
        .and_then(|micros| micros.checked_add(EPOCH_MICROS))
        .ok_or(ArchiveError::Protocol("a moment that is infinite"))
}

/// Some rows, by columns.
#[derive(Debug, PartialEq)]
pub(super) struct RowGroup {
    chunks: Vec<Chunk>,
    rows: usize,
}

impl RowGroup {
    pub(super) fn empty(columns: &[Column]) -> Self {
        Self { chunks: columns.iter().map(Chunk::empty).collect(), rows: 0 }
    }

    pub(super) fn of(chunks: Vec<Chunk>, rows: usize) -> Self {
        Self { chunks, rows }
    }

    pub(super) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Takes a row as binary COPY has it. `places` says for each field of it which column it is; what is no column of this
    /// group is left out.
    pub(super) fn push(&mut self, mut tuple: Bytes, places: &[Option<usize>]) -> Result<(), ArchiveError> {
        const CUT: ArchiveError = ArchiveError::Protocol("a row that is cut off");
        if tuple.remaining() < 2 || usize::try_from(tuple.get_i16()) != Ok(places.len()) {
            return Err(ArchiveError::Protocol("a row with another number of columns"));
        }
        for place in places {
            if tuple.remaining() < 4 {
                return Err(CUT);
            }
            let length = tuple.get_i32();
            let field = match usize::try_from(length) {
                Ok(length) if length <= tuple.remaining() => Some(tuple.split_to(length)),
                Err(_) if length == -1 => None,
                _ => return Err(CUT),
            };
            if let Some(place) = place {
                self.chunks[*place].push(field)?;
            }
        }
        if tuple.has_remaining() {
            return Err(ArchiveError::Protocol("more than a row"));
        }
        self.rows += 1;
        Ok(())
    }

    /// Hands out each row as binary COPY has it, with the columns that `layout` names; `None` is NULL.
    pub(super) fn tuples(
        &self,
        layout: &[Option<usize>],
        mut each: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let mut next = vec![0; self.chunks.len()];
        let mut tuple = Vec::new();
        // A table has 1,600 columns at most.
        let fields = (layout.len() as i16).to_be_bytes();
        for row in 0..self.rows {
            tuple.clear();
            tuple.extend_from_slice(&fields);
            for place in layout {
                let chunk = place.map(|place| (place, &self.chunks[place]));
                match chunk.filter(|(_, c)| c.levels.as_ref().is_none_or(|levels| levels[row] == 1)) {
                    Some((place, chunk)) => {
                        chunk.put(next[place], &mut tuple)?;
                        next[place] += 1;
                    }
                    None => tuple.extend_from_slice(&(-1_i32).to_be_bytes()),
                }
            }
            each(&tuple)?;
        }
        Ok(())
    }

    /// The values of a column of numbers or moments that has no NULL; `None` when it is none.
    pub(super) fn numbers(&self, column: usize) -> Option<&[i64]> {
        match self.chunks.get(column)? {
            Chunk { levels: None, values: Values::Long(values), .. } => Some(values),
            _ => None,
        }
    }
}

/// Every column in its place.
pub(super) fn in_order(columns: usize) -> Vec<Option<usize>> {
    (0..columns).map(Some).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [(Kind, bool); 6] = [
        (Kind::Bigint, false),
        (Kind::Integer, true),
        (Kind::Timestamptz, false),
        (Kind::Text, false),
        (Kind::Text, true),
        (Kind::Timestamptz, true),
    ];

    fn columns() -> Vec<Column> {
        let named = KINDS.iter().enumerate();
        named
            .map(|(n, (kind, nullable))| Column { name: n.to_string(), kind: *kind, nullable: *nullable })
            .collect()
    }

    fn tuple(fields: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut tuple = (fields.len() as i16).to_be_bytes().to_vec();
        for field in fields {
            match field {
                Some(field) => put_field(&mut tuple, field),
                None => tuple.extend_from_slice(&(-1_i32).to_be_bytes()),
            }
        }
        tuple
    }

    /// A row of numbers as binary COPY has it.
    pub(crate) fn numbers(row: &[i64]) -> Bytes {
        let fields: Vec<_> = row.iter().map(|n| Some(n.to_be_bytes().to_vec())).collect();
        tuple(&fields).into()
    }

    fn moment() -> impl Strategy<Value = Vec<u8>> {
        (i64::MIN + 1..i64::MAX - EPOCH_MICROS).prop_map(|micros| micros.to_be_bytes().to_vec())
    }

    prop_compose! {
        fn row()(a in any::<i64>(), b in any::<Option<i32>>(), c in moment(), d in ".{0,9}", e in any::<Option<String>>(),
                 f in proptest::option::of(moment())) -> Vec<u8> {
            tuple(&[Some(a.to_be_bytes().to_vec()), b.map(|b| b.to_be_bytes().to_vec()), Some(c), Some(d.into_bytes()),
                    e.map(String::into_bytes), f])
        }
    }

    proptest! {
        /// Catches values that stand beside their row after a NULL, and a text that is empty taken for one.
        #[test]
        fn rows_come_out_as_they_went_in(rows in proptest::collection::vec(row(), 0..20)) {
            let (columns, places) = (columns(), in_order(KINDS.len()));
            let mut group = RowGroup::empty(&columns);
            for row in &rows {
                group.push(row.clone().into(), &places).unwrap();
            }
            let mut out = Vec::new();
            group.tuples(&places, |tuple| { out.push(tuple.to_vec()); Ok(()) }).unwrap();
            prop_assert_eq!(out, rows);
        }
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let places = in_order(1);
        let column = [Column { name: "a".into(), kind: Kind::Bigint, nullable: false }];
        let refused =
            |tuple: Vec<u8>| RowGroup::empty(&column).push(tuple.into(), &places).unwrap_err().to_string();
        let whole = tuple(&[Some(7_i64.to_be_bytes().to_vec())]);
        for cut in 0..whole.len() {
            refused(whole[..cut].to_vec());
        }
        assert!(refused([whole, vec![0]].concat()).contains("more than a row"));
        assert!(refused(tuple(&[None])).contains("NULL"));
        assert!(refused(tuple(&[Some(vec![1, 2])])).contains("another size"));
    }

    #[test]
    fn infinite_moments_are_refused() {
        for infinite in [i64::MAX, i64::MIN] {
            assert!(unix_micros(infinite).is_err());
        }
    }
}
