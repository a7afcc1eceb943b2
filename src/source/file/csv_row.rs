//! Cuts rows of CSV (RFC 4180) off the front of a text.
//!
//! Strict where leniency costs neighbours: a quote that is never closed makes most readers take the rows behind it for one
//! long field. Here such a row is broken, and the line after its first one begins a new row.

use std::borrow::Cow;
use std::ops::Range;

/// What stands at the front of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// A row of this many bytes, its end included; its fields were noted.
    Row(usize),
    /// The row does not end within the text.
    More,
    /// No row, and why.
    Broken(&'static str),
}

/// A field's place in the text, without its quotes.
#[derive(Debug)]
struct Field {
    place: Range<usize>,
    /// Quotes within it are doubled.
    doubled: bool,
}

/// The fields of the row that was cut last.
#[derive(Debug)]
pub(super) struct Fields {
    fields: Vec<Field>,
    delimiter: u8,
}

impl Default for Fields {
    fn default() -> Self {
        Self::delimited_by(b',')
    }
}

impl Fields {
    /// For rows whose fields are told apart by another character than a comma.
    pub(super) fn delimited_by(delimiter: u8) -> Self {
        Self { fields: Vec::new(), delimiter }
    }

    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The fields' contents, in order; `text` is the one that the row was cut from.
    pub(super) fn of<'t>(&self, text: &'t [u8]) -> impl Iterator<Item = Cow<'t, [u8]>> {
        self.fields.iter().map(move |field| {
            let content = &text[field.place.clone()];
            if field.doubled { Cow::Owned(undoubled(content)) } else { Cow::Borrowed(content) }
        })
    }

    /// Looks for a row at the front of `text`, of which nothing follows when it is `whole`.
    pub(super) fn cut(&mut self, text: &[u8], whole: bool) -> Cut {
        let delimiter = self.delimiter;
        self.fields.clear();
        let mut at = 0;
        loop {
            let field = match text.get(at) {
                Some(b'"') => quoted(text, at + 1, delimiter, whole),
                _ => Ok(plain(text, at, delimiter)),
            };
            let (field, end) = match field {
                Ok(found) => found,
                Err(cut) => return cut,
            };
            self.fields.push(field);
            match text.get(end) {
                Some(byte) if *byte == delimiter => at = end + 1,
                Some(_) => return Cut::Row(end + 1),
                None if whole => return Cut::Row(end),
                None => return Cut::More,
            }
        }
    }
}

/// A field without quotes around it, and where the delimiter, line feed or end behind it is. Blanks around it are no part of it.
fn plain(text: &[u8], start: usize, delimiter: u8) -> (Field, usize) {
    let rest = &text[start..];
    let length = rest.iter().position(|byte| *byte == delimiter || *byte == b'\n').unwrap_or(rest.len());
    let lead = rest[..length].len() - rest[..length].trim_ascii_start().len();
    let content = rest[..length].trim_ascii().len();
    let place = start + lead..start + lead + content;
    (Field { place, doubled: false }, start + length)
}

/// The same for a field behind its opening quote.
fn quoted(text: &[u8], start: usize, delimiter: u8, whole: bool) -> Result<(Field, usize), Cut> {
    let unfinished = || if whole { Cut::Broken("a quoted field is not closed") } else { Cut::More };
    let mut doubled = false;
    let mut at = start;
    let close = loop {
        at += text[at..].iter().position(|byte| *byte == b'"').ok_or_else(unfinished)?;
        if text.get(at + 1) != Some(&b'"') {
            break at;
        }
        doubled = true;
        at += 2;
    };
    let field = Field { place: start..close, doubled };
    match &text[close + 1..] {
        [] | [b'\r'] if !whole => Err(Cut::More),
        [] | [b'\n', ..] => Ok((field, close + 1)),
        [byte, ..] if *byte == delimiter => Ok((field, close + 1)),
        [b'\r'] | [b'\r', b'\n', ..] => Ok((field, close + 2)),
        _ => Err(Cut::Broken("text stands behind a closing quote")),
    }
}

fn undoubled(content: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(content.len());
    let mut parts = content.iter();
    while let Some(byte) = parts.next() {
        plain.push(*byte);
        if *byte == b'"' {
            parts.next();
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of each row, or what is wrong with the first one that is broken.
    fn rows(mut text: &[u8]) -> Result<Vec<Vec<String>>, &'static str> {
        let (mut rows, mut fields) = (Vec::new(), Fields::default());
        while !text.is_empty() {
            match fields.cut(text, true) {
                Cut::Row(length) => {
                    let row = fields.of(text).map(|field| String::from_utf8_lossy(&field).into_owned());
                    rows.push(row.collect());
                    text = &text[length..];
                }
                Cut::More => panic!("the text is whole"),
                Cut::Broken(problem) => return Err(problem),
            }
        }
        Ok(rows)
    }

    #[test]
    fn fields_are_read_as_rfc_4180_says() {
        let text = b"a, b ,\r\n\"x,\"\"y\"\"\r\nz\",,\"\"\n1,2,3";
        let expected = [vec!["a", "b", ""], vec!["x,\"y\"\r\nz", "", ""], vec!["1", "2", "3"]];
        assert_eq!(rows(text).unwrap(), expected);
        assert_eq!(rows(b"\"a\"\r").unwrap(), [["a"]]);
        assert_eq!(rows(b"a\"b,5\" pipe\n").unwrap(), [["a\"b", "5\" pipe"]]);
    }

    /// Catches reading on beyond what is at hand as if it were the end.
    #[test]
    fn a_row_that_is_not_there_yet_is_waited_for() {
        let row = b"\"a\"\"\",\"b\nc\"\r\n";
        for length in 0..row.len() {
            assert_eq!(Fields::default().cut(&row[..length], false), Cut::More, "{length}");
        }
        assert_eq!(Fields::default().cut(row, false), Cut::Row(row.len()));
    }

    /// Catches a quote that takes the rows behind it for its content.
    #[test]
    fn a_quote_that_is_not_closed_or_closed_too_early_breaks_the_row() {
        assert_eq!(rows(b"\"a,1\nb,2\n"), Err("a quoted field is not closed"));
        assert_eq!(rows(b"\"a,1\n\"b\",2\n"), Err("text stands behind a closing quote"));
        assert_eq!(rows(b"\"a\" ,1\n"), Err("text stands behind a closing quote"));
    }
}
