//! The file of an archive: Parquet, written and read by row groups.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::columns::{self, Column, Kind};
use super::error::{ArchiveError, Finding};
use super::manifest::{self, Counting, Manifest, Tally};
use super::row_group::{Chunk, RowGroup, Values};

/// Higher levels take several times as long for a few percent.
const ZSTD_LEVEL: i32 = 3;

/// By these the rows stand in the file.
const ORDER: [&str; 3] = ["iccid", "period_start", "id"];

pub(super) struct Writer {
    file: SerializedFileWriter<File>,
}

impl Writer {
    pub(super) fn begin(file: File, columns: &[Column]) -> Result<Self, ParquetError> {
        let schema = columns::schema(columns)?;
        Ok(Self { file: SerializedFileWriter::new(file, schema, properties(columns)?)? })
    }

    pub(super) fn write(&mut self, group: &RowGroup) -> Result<(), ParquetError> {
        let mut rows = self.file.next_row_group()?;
        for chunk in group.chunks() {
            let mut column = rows.next_column()?.ok_or_else(|| other("it has too few columns"))?;
            let levels = chunk.levels.as_deref();
            match (column.untyped(), &chunk.values) {
                (ColumnWriter::Int32ColumnWriter(to), Values::Int(values)) => {
                    to.write_batch(values, levels, None)?
                }
                (ColumnWriter::Int64ColumnWriter(to), Values::Long(values)) => {
                    to.write_batch(values, levels, None)?
                }
                (ColumnWriter::ByteArrayColumnWriter(to), Values::Text(values)) => {
                    to.write_batch(values, levels, None)?
                }
                _ => return Err(other("a column has another type")),
            };
            column.close()?;
        }
        rows.close().map(drop)
    }

    /// Writes what the file says of itself, and returns it for syncing.
    pub(super) fn finish(mut self, manifest: String) -> Result<File, ParquetError> {
        self.file.append_key_value_metadata(KeyValue::new(manifest::KEY.to_owned(), manifest));
        self.file.into_inner()
    }
}

fn properties(columns: &[Column]) -> Result<WriterPropertiesPtr, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("simbridge ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?));
    // Numbers that differ little from their neighbours; texts and small numbers are few, and stay in dictionaries.
    for column in columns.iter().filter(|c| matches!(c.kind, Kind::Bigint | Kind::Timestamptz)) {
        let path = ColumnPath::from(column.name.as_str());
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    let place = |name: &str| columns.iter().position(|column| column.name == name);
    let sorted = ORDER.iter().map_while(|name| place(name)).map(|column| SortingColumn {
        // A table has 1,600 columns at most.
        column_idx: column as i32,
        descending: false,
        nulls_first: false,
    });
    let sorted: Vec<_> = sorted.collect();
    Ok(Arc::new(properties.set_sorting_columns(Some(sorted)).build()))
}

fn other(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

/// A file that is an archive.
pub(super) struct Reader {
    file: SerializedFileReader<File>,
    pub(super) manifest: Manifest,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, Finding> {
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Finding::Missing,
            _ => Finding::Unreadable(error.to_string()),
        })?;
        let file = SerializedFileReader::new(file).map_err(|error| Finding::NoArchive(error.to_string()))?;
        let metadata = file.metadata().file_metadata();
        let entries = metadata.key_value_metadata().into_iter().flatten();
        let manifest =
            entries.filter(|entry| entry.key == manifest::KEY).find_map(|entry| entry.value.as_deref());
        let manifest = manifest.ok_or_else(|| Finding::NoArchive("it says nothing of itself".to_owned()))?;
        let manifest = Manifest::parse(manifest)?;
        let schema =
            columns::schema(&manifest.columns).map_err(|error| Finding::NoArchive(error.to_string()))?;
        if metadata.schema() != &*schema {
            return Err(Finding::NoArchive("its columns are not those of which it tells".to_owned()));
        }
        Ok(Self { file, manifest })
    }

    /// Hands out all row groups. They hold what is in memory at once.
    pub(super) fn groups(
        &self,
        path: &Path,
        mut each: impl FnMut(RowGroup) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        for group in 0..self.file.num_row_groups() {
            let group = self.file.get_row_group(group).and_then(|rows| self.group(&*rows));
            each(group.map_err(ArchiveError::parquet("read", path))?)?;
        }
        Ok(())
    }

    fn group(&self, from: &dyn RowGroupReader) -> Result<RowGroup, ParquetError> {
        let rows = usize::try_from(from.metadata().num_rows()).map_err(|_| other("fewer than no rows"))?;
        let columns = self.manifest.columns.iter().enumerate();
        let chunks = columns.map(|(place, column)| {
            let mut chunk = Chunk::empty(column);
            let Chunk { levels, values, .. } = &mut chunk;
            match (from.get_column_reader(place)?, values) {
                (ColumnReader::Int32ColumnReader(from), Values::Int(to)) => read(from, rows, levels, to)?,
                (ColumnReader::Int64ColumnReader(from), Values::Long(to)) => read(from, rows, levels, to)?,
                (ColumnReader::ByteArrayColumnReader(from), Values::Text(to)) => {
                    read(from, rows, levels, to)?
                }
                _ => return Err(other("a column has another type")),
            }
            Ok(chunk)
        });
        Ok(RowGroup::of(chunks.collect::<Result<_, _>>()?, rows))
    }

    /// Counts all that the file holds.
    pub(super) fn tally(&self, path: &Path) -> Result<Tally, ArchiveError> {
        let damaged = |finding| ArchiveError::Damaged { path: path.to_owned(), finding };
        let mut counting = Counting::of(&self.manifest.columns).map_err(damaged)?;
        self.groups(path, |group| counting.add(&group))?;
        Ok(counting.tally())
    }
}

fn read<T: DataType>(
    mut from: ColumnReaderImpl<T>,
    rows: usize,
    levels: &mut Option<Vec<i16>>,
    values: &mut Vec<T::T>,
) -> Result<(), ParquetError> {
    match from.read_records(rows, levels.as_mut(), None, values)? {
        (read, ..) if read == rows => Ok(()),
        (read, ..) => Err(other(&format!("a column has {read} values in place of {rows}"))),
    }
}
