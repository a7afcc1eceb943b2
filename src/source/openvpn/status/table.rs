//! Versions 2 and 3: lines that begin with what they are, separated by commas or by tabs.

use std::str;

use super::columns::Columns;
use super::{AccountName, Gathered, Rules, Session, Status, StatusFault, excerpt, seconds_of};

/// What lines begin with.
const KINDS: [&str; 7] = ["TITLE", "TIME", "HEADER", "CLIENT_LIST", "ROUTING_TABLE", "GLOBAL_STATS", "END"];

pub(super) fn parse(lines: &[&[u8]], separator: char, rules: Rules<'_>) -> Result<Status, StatusFault> {
    let [_, time, header, rest @ ..] = lines else {
        return Err(StatusFault::Torn("it has no list of clients"));
    };
    let taken_at = taken_at(time, separator)?;
    let columns = columns(header, separator)?;
    if rules.account == AccountName::UserName && columns.user_name.is_none() {
        return Err(StatusFault::NoColumn("Username"));
    }
    let mut gathered = Gathered::new(rules, taken_at);
    let mut list_is_over = false;
    for line in rest {
        match kind(line, separator)? {
            "CLIENT_LIST" if list_is_over => {
                return Err(StatusFault::Torn("a client stands after the list"));
            }
            "CLIENT_LIST" => add(line, separator, &columns, &mut gathered)?,
            "TITLE" | "TIME" | "END" => return Err(StatusFault::Torn("it begins twice")),
            _ => list_is_over = true,
        }
    }
    if !list_is_over {
        return Err(StatusFault::Torn("it ends within the list"));
    }
    gathered.finish()
}

/// What a line is. Lines of kinds that later versions may bring are no concern of ours; the end of a line is no line.
fn kind(line: &[u8], separator: char) -> Result<&str, StatusFault> {
    let end = line.iter().position(|byte| *byte == separator as u8).unwrap_or(line.len());
    let word = str::from_utf8(&line[..end]).unwrap_or_default();
    let new = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            && !KINDS.iter().any(|kind| kind.ends_with(word))
    };
    if KINDS.contains(&word) || new(word) {
        Ok(word)
    } else {
        Err(StatusFault::Torn("a line begins with nothing known"))
    }
}

fn taken_at(line: &[u8], separator: char) -> Result<chrono::DateTime<chrono::Utc>, StatusFault> {
    let text = str::from_utf8(line).unwrap_or_default();
    let mut fields = text.split(separator);
    if fields.next() != Some("TIME") {
        return Err(StatusFault::Torn("its time is missing"));
    }
    let seconds = fields.next_back().unwrap_or_default();
    seconds_of(seconds).ok_or_else(|| StatusFault::NotATime(excerpt(line)))
}

fn columns(line: &[u8], separator: char) -> Result<Columns, StatusFault> {
    let text = str::from_utf8(line).unwrap_or_default();
    let mut fields = text.split(separator);
    if (fields.next(), fields.next()) != (Some("HEADER"), Some("CLIENT_LIST")) {
        return Err(StatusFault::Torn("the names of its columns are missing"));
    }
    Columns::named(fields)
}

fn add(
    line: &[u8],
    separator: char,
    columns: &Columns,
    gathered: &mut Gathered<'_>,
) -> Result<(), StatusFault> {
    let Some(text) = gathered.text(line) else { return Ok(()) };
    let fields: Vec<&str> = text.split(separator).skip(1).collect();
    match columns.read(&fields, separator, gathered.rules.zone) {
        Ok(row) => {
            let names = [row.common_name.as_str(), row.user_name.as_str()];
            gathered.add(names, |account| Session {
                account,
                began_at: row.began_at,
                which: row.which,
                received_bytes: row.received_bytes,
                sent_bytes: row.sent_bytes,
            })
        }
        Err(why) => {
            gathered.refuse(format!("`{}`: {why}", excerpt(line)));
            Ok(())
        }
    }
}
