//! What the columns of a CSV file are, and how a row becomes the JSON record that devices send: from there on it takes the
//! same way as any other record.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

use super::csv_row::Fields;

/// Longest header name that a message repeats.
const SHOWN: usize = 60;

/// A column that a header may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    /// Name of the record's field.
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Text of the record itself.
    Text,
    /// A number within `usage`.
    Amount,
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text }
}

const fn amount(name: &'static str) -> Column {
    Column { name, kind: Kind::Amount }
}

const KNOWN: [Column; 12] = [
    text("recordId"),
    text("iccid"),
    text("periodStart"),
    text("periodEnd"),
    amount("totalBytes"),
    amount("dataUploadBytes"),
    amount("dataDownloadBytes"),
    amount("smsCount"),
    amount("voiceSeconds"),
    text("source"),
    text("mccmnc"),
    text("corrects"),
];
const REQUIRED: [&str; 4] = ["recordId", "iccid", "periodStart", "periodEnd"];

/// The header of a CSV file cannot be used; nothing of the file was stored.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeaderFault {
    #[error("the file is empty, and CSV begins with a header")]
    Missing,
    #[error("the header cannot be read: {0}")]
    Unreadable(&'static str),
    #[error("the header names `{0}`, which is no column of usage history; it knows {list}", list = known())]
    Unknown(String),
    #[error("the header names {0} twice")]
    Repeated(&'static str),
    #[error("the header names no column {0}; it knows {list}", list = known())]
    Lacking(&'static str),
    #[error(
        "the header names no column of an amount: totalBytes, dataUploadBytes and dataDownloadBytes, smsCount or voiceSeconds"
    )]
    NoAmount,
    #[error("the header lacks {lacking}, which the mapping `{mapping}` names; it has {names}")]
    NotAsMapped { mapping: String, lacking: String, names: String },
    #[error("the header names `{0}` twice, and the mapping means one of them")]
    MappedTwice(String),
}

fn known() -> String {
    let names: Vec<&str> = KNOWN.iter().map(|column| column.name).collect();
    format!("{} (or record_id, …)", names.join(", "))
}

/// The columns of a file, in its order.
#[derive(Debug)]
pub(super) struct Columns {
    columns: Vec<Column>,
    iccid: usize,
}

impl Columns {
    /// Reads the header, whose fields were cut from `text`.
    pub(super) fn of_header(fields: &Fields, text: &[u8]) -> Result<Self, HeaderFault> {
        let mut columns: Vec<Column> = Vec::with_capacity(fields.len());
        for name in fields.of(text) {
            let name = str::from_utf8(&name).map_err(|_| HeaderFault::Unreadable("it is not UTF-8"))?;
            let plain = plain_name(name);
            let column = KNOWN.into_iter().find(|column| plain_name(column.name) == plain);
            let column =
                column.ok_or_else(|| HeaderFault::Unknown(name.trim().chars().take(SHOWN).collect()))?;
            if columns.contains(&column) {
                return Err(HeaderFault::Repeated(column.name));
            }
            columns.push(column);
        }
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        if let Some(lacking) = REQUIRED.into_iter().find(|name| place(name).is_none()) {
            return Err(HeaderFault::Lacking(lacking));
        }
        if !columns.iter().any(|column| column.kind == Kind::Amount) {
            return Err(HeaderFault::NoAmount);
        }
        let iccid = place("iccid").expect("it is one of the required columns");
        Ok(Self { columns, iccid })
    }

    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    /// Which field of a row is the ICCID.
    pub(super) fn iccid(&self) -> usize {
        self.iccid
    }

    /// Writes a row of valid UTF-8 as the JSON record that it stands for. An empty field is one that is not stated.
    pub(super) fn write_json(&self, fields: &Fields, text: &[u8], json: &mut BytesMut) {
        json.put_u8(b'{');
        self.write_members(fields, text, Kind::Text, json);
        if json.last() != Some(&b'{') {
            json.put_u8(b',');
        }
        json.put_slice(b"\"usage\":{");
        self.write_members(fields, text, Kind::Amount, json);
        json.put_slice(b"}}");
    }

    fn write_members(&self, fields: &Fields, text: &[u8], kind: Kind, json: &mut BytesMut) {
        let mut first = true;
        for (column, content) in self.columns.iter().zip(fields.of(text)) {
            if column.kind != kind || content.is_empty() {
                continue;
            }
            if !std::mem::take(&mut first) {
                json.put_u8(b',');
            }
            json.put_u8(b'"');
            json.put_slice(column.name.as_bytes());
            json.put_slice(b"\":");
            if kind == Kind::Amount && is_number(&content) {
                json.put_slice(&content);
            } else {
                put_string(&content, json);
            }
        }
    }
}

/// `record_id`, `recordId` and `RecordID` are one name.
fn plain_name(name: &str) -> String {
    name.trim().chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether JSON takes it for a number; whether it is a fitting one, the decoder says.
fn is_number(content: &[u8]) -> bool {
    let digits = content.strip_prefix(b"-").unwrap_or(content);
    match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn put_string(content: &[u8], json: &mut BytesMut) {
    json.put_u8(b'"');
    for byte in content {
        match byte {
            b'"' | b'\\' => json.put_slice(&[b'\\', *byte]),
            // RFC 8259: control characters are escaped.
            0..0x20 => json.put_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => json.put_u8(*byte),
        }
    }
    json.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use super::super::csv_row::Cut;
    use super::*;

    fn header(text: &str) -> Result<Columns, HeaderFault> {
        let mut fields = Fields::default();
        assert!(matches!(fields.cut(text.as_bytes(), true), Cut::Row(_)));
        Columns::of_header(&fields, text.as_bytes())
    }

    fn json(header_text: &str, row: &str) -> String {
        let columns = header(header_text).unwrap();
        let (mut fields, mut json) = (Fields::default(), BytesMut::new());
        assert!(matches!(fields.cut(row.as_bytes(), true), Cut::Row(_)));
        columns.write_json(&fields, row.as_bytes(), &mut json);
        String::from_utf8(json.to_vec()).unwrap()
    }

    #[test]
    fn both_spellings_of_a_header_are_understood_in_any_order() {
        let snake = "total_bytes,record_id,iccid,period_start,period_end,sms_count";
        let camel = "totalBytes,recordId,ICCID, periodStart,\"periodEnd\",smsCount\r\n";
        assert_eq!(header(snake).unwrap().columns, header(camel).unwrap().columns);
        assert_eq!(header(snake).unwrap().iccid(), 2);
    }

    #[test]
    fn a_header_that_does_not_fit_is_refused_with_what_would() {
        let refused = |text| header(text).unwrap_err().to_string();
        assert!(refused("recordId,colour").starts_with("the header names `colour`, which is no column"));
        assert!(refused("recordId,colour").contains("voiceSeconds, source"));
        assert_eq!(refused("recordId,record_id"), "the header names recordId twice");
        assert!(refused("record_id,iccid,period_end").starts_with("the header names no column periodStart"));
        assert!(refused("recordId,iccid,periodStart,periodEnd,source").contains("no column of an amount"));
    }

    #[test]
    fn a_row_becomes_the_record_that_a_device_would_send() {
        let names = "recordId,iccid,periodStart,periodEnd,totalBytes,smsCount,source,corrects";
        assert_eq!(
            json(names, "\"a\"\"b\\\",894,t0,t1,12,,é\u{1},\r\n"),
            r#"{"recordId":"a\"b\\","iccid":"894","periodStart":"t0","periodEnd":"t1","source":"é\u0001","usage":{"totalBytes":12}}"#
        );
    }

    /// Catches text in place of a number that breaks out of the JSON around it, and a number that is mended on the way.
    #[test]
    fn what_is_no_integer_is_left_to_the_decoder_as_text() {
        let names = "recordId,iccid,periodStart,periodEnd,totalBytes";
        for (amount, written) in
            [("-5", "-5"), ("007", "\"007\""), ("1.5", "\"1.5\""), ("1}", "\"1}\""), ("-", "\"-\"")]
        {
            let expected = format!(r#"{{"usage":{{"totalBytes":{written}}}}}"#);
            assert_eq!(json(names, &format!(",,,,{amount}")), expected);
        }
    }
}
