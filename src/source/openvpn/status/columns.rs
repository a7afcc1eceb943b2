use chrono::{DateTime, Utc};

use crate::source::openvpn::zone::Zone;

use super::{StatusFault, bytes_of, seconds_of};

/// Commas in names beyond which a line is not understood.
const EXTRA_MAX: usize = 64;

/// Where the columns of the list stand; servers of different versions have different ones. The common name is the first.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) user_name: Option<usize>,
    received: usize,
    sent: usize,
    since_seconds: Option<usize>,
    since_text: Option<usize>,
    client_id: Option<usize>,
    peer_id: Option<usize>,
    count: usize,
}

/// A client as its line tells it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) common_name: String,
    /// Empty where the server does not tell it.
    pub(super) user_name: String,
    pub(super) began_at: DateTime<Utc>,
    pub(super) which: String,
    pub(super) received_bytes: i64,
    pub(super) sent_bytes: i64,
}

impl Columns {
    pub(super) fn named<'n>(names: impl Iterator<Item = &'n str>) -> Result<Self, StatusFault> {
        let names: Vec<&str> = names.collect();
        let find = |name: &str| names.iter().position(|column| *column == name);
        let need = |name: &'static str| find(name).ok_or(StatusFault::NoColumn(name));
        if need("Common Name")? != 0 {
            return Err(StatusFault::NoColumn("Common Name"));
        }
        let (since_seconds, since_text) = (find("Connected Since (time_t)"), find("Connected Since"));
        if since_seconds.or(since_text).is_none() {
            return Err(StatusFault::NoColumn("Connected Since"));
        }
        Ok(Self {
            user_name: find("Username"),
            received: need("Bytes Received")?,
            sent: need("Bytes Sent")?,
            since_seconds,
            since_text,
            client_id: find("Client ID"),
            peer_id: find("Peer ID"),
            count: names.len(),
        })
    }

    /// The client of a line. Names may hold the separator: then the line is understood in the one way in which it makes sense.
    pub(super) fn read(&self, fields: &[&str], separator: char, zone: &Zone) -> Result<Row, &'static str> {
        let extra = fields.len().checked_sub(self.count).ok_or("columns are missing")?;
        if extra > EXTRA_MAX {
            return Err("too many columns");
        }
        let least = if self.user_name.is_some() { 0 } else { extra };
        let mut ways =
            (least..=extra).filter_map(|in_name| self.split(fields, separator, extra, in_name, zone));
        match (ways.next(), ways.next()) {
            (Some(row), None) => Ok(row),
            (None, _) => Err("bytes or time are no numbers"),
            (Some(_), Some(_)) => {
                Err("its names hold commas, and it could be read in two ways; use `status-version 3`")
            }
        }
    }

    /// With `in_name` of the `extra` separators in the common name, the others in the user name.
    fn split(
        &self,
        fields: &[&str],
        separator: char,
        extra: usize,
        in_name: usize,
        zone: &Zone,
    ) -> Option<Row> {
        let joined = |from: usize, to: usize| fields[from..=to].join(&separator.to_string());
        let place = |column: usize| match self.user_name {
            Some(user) if column > user => column + extra,
            _ => column + in_name,
        };
        let field = |column: usize| fields[place(column)];
        let began_at = match (self.since_seconds, self.since_text) {
            (Some(column), _) => seconds_of(field(column)),
            (None, Some(column)) => zone.moment(field(column), None),
            (None, None) => None,
        }?;
        let number = |column: Option<usize>| match column.map(field) {
            Some(text) if !text.is_empty() => bytes_of(text).map(|_| Some(text)),
            // Servers that were built without the management interface leave it empty.
            _ => Some(None),
        };
        let which = match (number(self.client_id)?, number(self.peer_id)?) {
            (Some(client), _) => format!("{}.{client}", began_at.timestamp()),
            (None, Some(peer)) => format!("{}.p{peer}", began_at.timestamp()),
            (None, None) => began_at.timestamp().to_string(),
        };
        Some(Row {
            common_name: joined(0, in_name),
            user_name: self.user_name.map(|user| joined(user + in_name, user + extra)).unwrap_or_default(),
            began_at,
            which,
            received_bytes: bytes_of(field(self.received))?,
            sent_bytes: bytes_of(field(self.sent))?,
        })
    }
}
