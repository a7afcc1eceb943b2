//! Columns of records: what PostgreSQL calls them, and what Parquet does.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{Type, TypePtr};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::error::ArchiveError;

/// A type of PostgreSQL that an archive can hold, by the name that the server gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    #[serde(rename = "integer")]
    Integer,
    #[serde(rename = "bigint")]
    Bigint,
    /// Microseconds, in UTC.
    #[serde(rename = "timestamp with time zone")]
    Timestamptz,
    /// UTF-8.
    #[serde(rename = "text")]
    Text,
}

/// One column, in the order of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    pub(super) nullable: bool,
}

/// A column of the table into which an archive is read.
#[derive(Debug)]
pub(super) struct TableColumn {
    pub(super) column: Column,
    pub(super) has_default: bool,
}

impl TableColumn {
    pub(super) fn of(row: &Row) -> Result<Self, ArchiveError> {
        let (name, kind): (String, String) = (row.get("name"), row.get("type"));
        let kind = match kind.as_str() {
            "integer" => Kind::Integer,
            "bigint" => Kind::Bigint,
            "timestamp with time zone" => Kind::Timestamptz,
            "text" => Kind::Text,
            _ => return Err(ArchiveError::UnknownType { name, kind }),
        };
        let column = Column { name, kind, nullable: row.get("nullable") };
        Ok(Self { column, has_default: row.get("has_default") })
    }
}

/// Where each column of the table is in an archive; `None` for one that is not, and stays empty.
pub(super) fn layout(table: &[TableColumn], archive: &[Column]) -> Result<Vec<Option<usize>>, ArchiveError> {
    let same = |table: &Column, archived: &Column| table.name == archived.name && table.kind == archived.kind;
    let unknown = archive.iter().find(|archived| !table.iter().any(|t| same(&t.column, archived)));
    if let Some(column) = unknown {
        return Err(ArchiveError::ColumnUnknown(column.name.clone()));
    }
    table
        .iter()
        .map(|TableColumn { column, has_default }| {
            let place = archive.iter().position(|archived| same(column, archived));
            // What a default would have said of records that are older than the column is not for an archive to know.
            if place.is_none() && (!column.nullable || *has_default) {
                return Err(ArchiveError::ColumnMissing(column.name.clone()));
            }
            Ok(place)
        })
        .collect()
}

pub(super) fn schema(columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let fields = columns.iter().map(|column| {
        let (physical, logical) = match column.kind {
            Kind::Integer => (Physical::INT32, None),
            Kind::Bigint => (Physical::INT64, None),
            Kind::Timestamptz => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let repetition = if column.nullable { Repetition::OPTIONAL } else { Repetition::REQUIRED };
        let field = Type::primitive_type_builder(&column.name, physical)
            .with_repetition(repetition)
            .with_logical_type(logical)
            .build()?;
        Ok(Arc::new(field))
    });
    let fields = fields.collect::<Result<Vec<_>, ParquetError>>()?;
    Ok(Arc::new(Type::group_type_builder("usage_records").with_fields(fields).build()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: Kind, nullable: bool) -> Column {
        Column { name: name.into(), kind, nullable }
    }

    fn table(name: &str, kind: Kind, nullable: bool, has_default: bool) -> TableColumn {
        TableColumn { column: column(name, kind, nullable), has_default }
    }

    #[test]
    fn columns_are_found_by_name_and_younger_ones_stay_empty() {
        let archive = [column("b", Kind::Text, true), column("a", Kind::Bigint, false)];
        let now = [
            table("a", Kind::Bigint, false, false),
            table("new", Kind::Text, true, false),
            table("b", Kind::Text, true, false),
        ];
        assert_eq!(layout(&now, &archive).unwrap(), [Some(1), None, Some(0)]);
    }

    #[test]
    fn columns_that_would_be_lost_or_invented_are_refused() {
        let archive = [column("a", Kind::Bigint, false)];
        let refused = |columns: &[TableColumn]| layout(columns, &archive).unwrap_err().to_string();
        assert!(refused(&[table("b", Kind::Bigint, true, false)]).contains("the archive has the column `a`"));
        assert!(refused(&[table("a", Kind::Text, false, false)]).contains("with another type"));
        for (nullable, has_default) in [(false, false), (false, true), (true, true)] {
            let columns =
                [table("a", Kind::Bigint, false, false), table("new", Kind::Bigint, nullable, has_default)];
            assert!(refused(&columns).contains("the column `new`"), "{nullable} {has_default}");
        }
    }
}
