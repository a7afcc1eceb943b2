//! Version 1: five columns, and times by the server's wall clock.

use std::collections::HashMap;
use std::str;

use chrono::{DateTime, TimeDelta, Utc};

use super::{AccountName, Gathered, Rules, Session, Status, StatusFault, bytes_of, excerpt};

const COLUMNS: &[u8] = b"Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since";
/// No two zones are less than 15 minutes apart; a file that was copied may be some minutes younger than what it says.
const ZONES_APART: TimeDelta = TimeDelta::minutes(12);

pub(super) fn parse(
    lines: &[&[u8]],
    rules: Rules<'_>,
    written_at: Option<DateTime<Utc>>,
) -> Result<Status, StatusFault> {
    let [_, updated, columns, rest @ ..] = lines else {
        return Err(StatusFault::Torn("it has no list of clients"));
    };
    let says = taken_at(updated, rules, written_at)?;
    if *columns != COLUMNS {
        return Err(StatusFault::NoColumn("Common Name"));
    }
    if rules.account == AccountName::UserName {
        return Err(StatusFault::NoUserNames);
    }
    let position = |title: &[u8]| rest.iter().position(|line| *line == title);
    let (Some(routing), Some(global)) = (position(b"ROUTING TABLE"), position(b"GLOBAL STATS")) else {
        return Err(StatusFault::Torn("a part of it is missing"));
    };
    if routing > global {
        return Err(StatusFault::Torn("its parts are not in order"));
    }
    let names = names_of_routes(&rest[routing..global]);
    let mut gathered = Gathered::new(rules, says);
    for line in &rest[..routing] {
        add(line, &names, &mut gathered)?;
    }
    gathered.finish()
}

fn taken_at(
    line: &[u8],
    rules: Rules<'_>,
    written_at: Option<DateTime<Utc>>,
) -> Result<DateTime<Utc>, StatusFault> {
    let text = line.strip_prefix(b"Updated,").ok_or(StatusFault::Torn("its time is missing"))?;
    let moment = str::from_utf8(text).ok().and_then(|text| rules.zone.moment(text, written_at));
    let says = moment.ok_or_else(|| StatusFault::NotATime(excerpt(text)))?;
    match written_at {
        // In another zone all usage would lie hours off, and a session would be another one after the setting is mended.
        Some(written) if (written - says).abs() > ZONES_APART => {
            Err(StatusFault::OtherZone { says, written })
        }
        _ => Ok(says),
    }
}

/// Common names by real address, as the routes tell them.
fn names_of_routes<'l>(lines: &[&'l [u8]]) -> HashMap<&'l str, &'l str> {
    let lines = lines.iter().filter_map(|line| str::from_utf8(line).ok());
    let route = |line: &'l str| {
        let (_, rest) = line.split_once(',')?;
        let (rest, _last_used) = rest.rsplit_once(',')?;
        let (name, address) = rest.rsplit_once(',')?;
        Some((address, name))
    };
    lines.filter_map(route).collect()
}

fn add(line: &[u8], names: &HashMap<&str, &str>, gathered: &mut Gathered<'_>) -> Result<(), StatusFault> {
    let Some(text) = gathered.text(line) else { return Ok(()) };
    // Only the name may hold commas, and it stands first.
    let mut fields = text.rsplitn(5, ',');
    let mut next = || fields.next().ok_or(StatusFault::Torn("a client's line is not whole"));
    let (since, sent, received, address, name) = (next()?, next()?, next()?, next()?, next()?);
    // A line that was cut in front still looks like one, of somebody else; so what the routes do not know does not count. Who has
    // no route has sent nothing through the tunnel yet.
    match names.get(address) {
        None => return Ok(()),
        Some(routed) if *routed != name => return Err(StatusFault::Torn("a client has two names")),
        Some(_) => {}
    }
    let amounts = bytes_of(received).zip(bytes_of(sent));
    let (Some((received_bytes, sent_bytes)), Some(began_at)) =
        (amounts, gathered.rules.zone.moment(since, None))
    else {
        gathered.refuse(format!("`{}` has no bytes or no time", excerpt(line)));
        return Ok(());
    };
    let which = began_at.timestamp().to_string();
    gathered.add([name, ""], |account| Session { account, began_at, which, received_bytes, sent_bytes })
}
