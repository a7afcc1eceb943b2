//! Counts and sums of a dump, from what pg_restore reads of it: the data of each table as PostgreSQL's COPY has it.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::manifest::Figures;

/// The table whose rows follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    /// A partition of usage_records, with the place of total_bytes among its columns.
    Records(usize),
    Keys,
    Cycles(usize),
    Sims,
    Quarantine,
    Other,
}

/// Reads the whole of a dump's data. What is damaged shows in pg_restore's end, or here. Tables of other schemas than `schema` are of
/// other programs.
pub(super) async fn tally(mut data: impl AsyncBufRead + Unpin, schema: &str) -> io::Result<Figures> {
    let (mut figures, mut total_bytes, mut cycle_bytes) = (Figures::default(), 0, 0);
    let mut copying = None;
    let mut line = Vec::new();
    while data.read_until(b'\n', &mut line).await? > 0 {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        match copying {
            None => copying = begun(text, schema),
            // In the data itself a backslash is doubled.
            Some(_) if text == br"\." => copying = None,
            Some(Table::Records(column)) => {
                figures.records += 1;
                total_bytes += amount(text, column)?;
            }
            Some(Table::Cycles(column)) => {
                figures.cycles += 1;
                cycle_bytes += amount(text, column)?;
            }
            Some(Table::Keys) => figures.keys += 1,
            Some(Table::Sims) => figures.sims += 1,
            Some(Table::Quarantine) => figures.quarantine += 1,
            Some(Table::Other) => {}
        }
        line.clear();
    }
    if copying.is_some() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    (figures.total_bytes, figures.cycle_bytes) = (total_bytes.to_string(), cycle_bytes.to_string());
    Ok(figures)
}

/// `COPY public.usage_cycles (id, iccid, …) FROM stdin;`
fn begun(line: &[u8], schema: &str) -> Option<Table> {
    let line = std::str::from_utf8(line).ok()?;
    let (name, rest) = line.strip_prefix("COPY ")?.split_once(" (")?;
    let columns = rest.strip_suffix(") FROM stdin;")?;
    let column = |name| columns.split(", ").position(|column| column == name);
    let Some(table) = name.strip_prefix(schema).and_then(|rest| rest.strip_prefix('.')) else {
        return Some(Table::Other);
    };
    Some(match table {
        "record_keys" => Table::Keys,
        "provisioned_sims" => Table::Sims,
        "quarantine" => Table::Quarantine,
        "usage_cycles" => Table::Cycles(column("total_bytes")?),
        partition if partition.starts_with("usage_records_y") => Table::Records(column("total_bytes")?),
        _ => Table::Other,
    })
}

/// Columns are separated by tabs; a tab in a text is written as `\t`.
fn amount(row: &[u8], column: usize) -> io::Result<i128> {
    let field = row.split(|&byte| byte == b'\t').nth(column).unwrap_or_default();
    let number = std::str::from_utf8(field).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a row without its amount"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "SET x;\n\
        COPY public.tenants (id, name) FROM stdin;\n1\tdefault\n2\t\\\\.\n\\.\n\
        COPY public.usage_records_y2026m01 (id, total_bytes, iccid) FROM stdin;\n1\t5\ta\\tb\n2\t-2\tc\n\\.\n\
        COPY public.usage_records_y2026m02 (total_bytes, id) FROM stdin;\n40\t3\n\\.\n\
        COPY public.record_keys (tenant_id) FROM stdin;\n1\n1\n1\n\\.\n\
        COPY public.usage_cycles (id, total_bytes) FROM stdin;\nx\t43\n\\.\n\
        COPY public.provisioned_sims (iccid) FROM stdin;\n\\.\n\
        COPY public.quarantine (id) FROM stdin;\n9\n\\.\n\
        COPY other.quarantine (id) FROM stdin;\n7\n8\n\\.\n";

    #[tokio::test]
    async fn rows_and_amounts_are_counted_wherever_they_stand() {
        let figures = tally(DATA.as_bytes(), "public").await.unwrap();
        let expected = Figures {
            records: 3,
            total_bytes: "43".into(),
            keys: 3,
            cycles: 1,
            cycle_bytes: "43".into(),
            sims: 0,
            quarantine: 1,
        };
        assert_eq!(figures, expected);
    }

    #[tokio::test]
    async fn data_that_ends_in_the_middle_of_a_table_is_an_error() {
        let cut = &DATA[..DATA.len() - 3];
        assert_eq!(tally(cut.as_bytes(), "public").await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn an_amount_that_is_none_is_an_error() {
        let bent = DATA.replace("\t43", "\tx43");
        assert_eq!(tally(bent.as_bytes(), "public").await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
