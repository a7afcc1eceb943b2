//! What an Accounting-Request says (RFC 2866, RFC 2869, 3GPP TS 29.061).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use super::packet::{Attribute, Malformed, Packet, hexadecimal};
use crate::source::readings::{Reading, SESSION_ID_MAX_CHARS};

const USER_NAME: u8 = 1;
const NAS_IP_ADDRESS: u8 = 4;
const CALLING_STATION_ID: u8 = 31;
const NAS_IDENTIFIER: u8 = 32;
const ACCT_STATUS_TYPE: u8 = 40;
const ACCT_DELAY_TIME: u8 = 41;
const ACCT_INPUT_OCTETS: u8 = 42;
const ACCT_OUTPUT_OCTETS: u8 = 43;
const ACCT_SESSION_ID: u8 = 44;
const ACCT_SESSION_TIME: u8 = 46;
const ACCT_INPUT_GIGAWORDS: u8 = 52;
const ACCT_OUTPUT_GIGAWORDS: u8 = 53;
const EVENT_TIMESTAMP: u8 = 55;
const CHARGEABLE_USER_IDENTITY: u8 = 89;
const NAS_IPV6_ADDRESS: u8 = 95;
const VENDOR_3GPP: u32 = 10_415;
const IMSI_3GPP: u8 = 1;
const SGSN_MCC_MNC_3GPP: u8 = 18;

/// How far ahead an Event-Timestamp may lie: a clock that is not set better tells nothing.
const AHEAD: TimeDelta = TimeDelta::minutes(5);
/// How far back Event-Timestamp and Acct-Delay-Time may lie: as long as what stores requests may have kept them. A NAS that
/// begins in 1970 lies further back.
const BACK: TimeDelta = TimeDelta::days(7);

/// Characters of the part of a session id that names the NAS.
const ORIGIN_MAX_CHARS: usize = 50;

/// An attribute that may name the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountAttribute {
    Imsi3gpp,
    CallingStationId,
    UserName,
    ChargeableUserIdentity,
}

impl AccountAttribute {
    const ALL: [Self; 4] =
        [Self::Imsi3gpp, Self::CallingStationId, Self::UserName, Self::ChargeableUserIdentity];

    fn as_str(self) -> &'static str {
        match self {
            Self::Imsi3gpp => "3GPP-IMSI",
            Self::CallingStationId => "Calling-Station-Id",
            Self::UserName => "User-Name",
            Self::ChargeableUserIdentity => "Chargeable-User-Identity",
        }
    }

    fn key(self) -> (u32, u8) {
        match self {
            Self::Imsi3gpp => (VENDOR_3GPP, IMSI_3GPP),
            Self::CallingStationId => (0, CALLING_STATION_ID),
            Self::UserName => (0, USER_NAME),
            Self::ChargeableUserIdentity => (0, CHARGEABLE_USER_IDENTITY),
        }
    }
}

/// A text that names no attribute of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAccountAttribute;

impl fmt::Display for NoAccountAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = AccountAttribute::ALL.map(AccountAttribute::as_str).join(", ");
        write!(f, "can name {names}")
    }
}

impl FromStr for AccountAttribute {
    type Err = NoAccountAttribute;

    fn from_str(text: &str) -> Result<Self, NoAccountAttribute> {
        Self::ALL.into_iter().find(|attribute| attribute.as_str() == text).ok_or(NoAccountAttribute)
    }
}

/// What a request is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Session(SessionReport),
    /// Accounting-On or -Off: sessions whose ids begin with `origin` have ended.
    Restart {
        origin: String,
        at: DateTime<Utc>,
    },
    /// Of a kind that has no usage; it is answered.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Start,
    Interim,
    Stop,
}

/// What is told of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionReport {
    pub(super) event: Event,
    /// With the counters as they stand in the packet. `began_at` is that of `taken_at` where the session's time is not told.
    pub(super) reading: Reading,
    /// Counters were told at all; no Start has them.
    pub(super) counted: bool,
    /// Of input and output: Gigawords were told, so it does not wrap.
    pub(super) wide: [bool; 2],
    /// Acct-Session-Time was told.
    pub(super) timed: bool,
}

/// Where and when a request arrived, and what its source makes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'c> {
    pub(super) source: &'c str,
    pub(super) client: &'c str,
    pub(super) sender: IpAddr,
    pub(super) received_at: DateTime<Utc>,
    pub(super) account: &'c [AccountAttribute],
}

/// What a packet says; the second is true when its Event-Timestamp cannot be.
pub(super) fn read(packet: Packet<'_>, context: &Context<'_>) -> Result<(Report, bool), Malformed> {
    let fields = Fields { packet };
    let status = fields.number(ACCT_STATUS_TYPE)?.ok_or(Malformed::NoStatus)?;
    let (at, clock_ignored) = fields.taken_at(context.received_at)?;
    let report = match status {
        1 => Report::Session(fields.session(Event::Start, at, context)?),
        2 => Report::Session(fields.session(Event::Stop, at, context)?),
        3 => Report::Session(fields.session(Event::Interim, at, context)?),
        7 | 8 => Report::Restart { origin: fields.origin(context)?, at },
        _ => Report::Nothing,
    };
    Ok((report, clock_ignored))
}

struct Fields<'p> {
    packet: Packet<'p>,
}

impl<'p> Fields<'p> {
    /// Where one stands twice, the first counts.
    fn find(&self, key: (u32, u8)) -> Option<Attribute<'p>> {
        self.packet.attributes().find(|attribute| (attribute.vendor, attribute.kind) == key)
    }

    fn number(&self, kind: u8) -> Result<Option<u32>, Malformed> {
        self.find((0, kind)).map(|attribute| attribute.number()).transpose()
    }

    fn text(&self, key: (u32, u8)) -> Option<String> {
        self.find(key).map(|attribute| attribute.text()).filter(|text| !text.is_empty())
    }

    /// When it happened: as the NAS says by its clock, else as long ago as it has been trying. In milliseconds, like record ids.
    fn taken_at(&self, received_at: DateTime<Utc>) -> Result<(DateTime<Utc>, bool), Malformed> {
        let received_at = received_at.trunc_subsecs(3);
        let possible = |at: &DateTime<Utc>| (received_at - BACK..=received_at + AHEAD).contains(at);
        let delay = TimeDelta::seconds(self.number(ACCT_DELAY_TIME)?.unwrap_or(0).into());
        let tried = Some(received_at - delay).filter(possible).unwrap_or(received_at);
        let Some(event) = self.number(EVENT_TIMESTAMP)? else { return Ok((tried, false)) };
        let event = DateTime::from_timestamp(event.into(), 0).filter(possible);
        Ok((event.unwrap_or(tried), event.is_none()))
    }

    fn session(
        &self,
        event: Event,
        taken_at: DateTime<Utc>,
        context: &Context<'_>,
    ) -> Result<SessionReport, Malformed> {
        let which = self.text((0, ACCT_SESSION_ID)).ok_or(Malformed::NoSession)?;
        let (upload, upload_wide) = self.counter(ACCT_INPUT_OCTETS, ACCT_INPUT_GIGAWORDS)?;
        let (download, download_wide) = self.counter(ACCT_OUTPUT_OCTETS, ACCT_OUTPUT_GIGAWORDS)?;
        let lasted = self.number(ACCT_SESSION_TIME)?.filter(|_| event != Event::Start);
        let account = context.account.iter().find_map(|attribute| self.text(attribute.key()));
        let network = self.text((VENDOR_3GPP, SGSN_MCC_MNC_3GPP));
        let reading = Reading {
            account: account.unwrap_or_default(),
            session_id: session_id(&self.origin(context)?, &which),
            upload_bytes: upload.unwrap_or(0),
            download_bytes: download.unwrap_or(0),
            began_at: taken_at - TimeDelta::seconds(lasted.unwrap_or(0).into()),
            before: None,
            taken_at,
            // What is no network must not cost the usage.
            mccmnc: network
                .filter(|code| matches!(code.len(), 5 | 6) && code.bytes().all(|c| c.is_ascii_digit())),
            from: None,
        };
        let counted = event != Event::Start && (upload.is_some() || download.is_some());
        let wide = [upload_wide, download_wide];
        Ok(SessionReport { event, reading, counted, wide, timed: lasted.is_some() })
    }

    /// Bytes, and whether Gigawords were told. Beyond 2^63 the record is parked anyway, as what is beyond 2^45 is.
    fn counter(&self, octets: u8, gigawords: u8) -> Result<(Option<i64>, bool), Malformed> {
        let (low, high) = (self.number(octets)?, self.number(gigawords)?);
        let bytes = u64::from(high.unwrap_or(0)) << 32 | u64::from(low.unwrap_or(0));
        Ok((low.or(high).map(|_| i64::try_from(bytes).unwrap_or(i64::MAX)), high.is_some()))
    }

    /// Names the NAS, the same in all that it sends: what ids of its sessions begin with. The client is a part of it, because
    /// the NAS of two networks may have one address or name; where it sends from is not, because it may fail over.
    fn origin(&self, context: &Context<'_>) -> Result<String, Malformed> {
        let ipv4 = self.find((0, NAS_IP_ADDRESS)).map(|address| address.ipv4()).transpose()?;
        let ipv6 = self.find((0, NAS_IPV6_ADDRESS)).map(|address| address.ipv6()).transpose()?;
        let address = ipv4.map(IpAddr::from).or(ipv6.map(IpAddr::from)).map(|address| address.to_string());
        let parts = [self.text((0, NAS_IDENTIFIER)), address];
        let nas = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
        // RFC 2866, 4.1 wants one of them; who leaves both out is known by where it sends from.
        let nas = if nas.is_empty() { context.sender.to_string() } else { nas };
        // A colon ends the name of the NAS.
        let nas = nas.replace('%', "%25").replace(':', "%3A");
        let Context { source, client, .. } = context;
        let plain = format!("{source}:{client}:{nas}");
        if plain.chars().count() <= ORIGIN_MAX_CHARS {
            return Ok(plain);
        }
        Ok(format!("{source}:{}", hexadecimal(&Sha256::digest(plain)[..8])))
    }
}

/// Long ones are told by their SHA-256, of which so much is taken that sessions of one NAS do not meet.
fn session_id(origin: &str, which: &str) -> String {
    let plain = format!("{origin}:{which}");
    if plain.chars().count() <= SESSION_ID_MAX_CHARS {
        return plain;
    }
    format!("{origin}:{}", hexadecimal(&Sha256::digest(which)[..10]))
}

#[cfg(test)]
#[path = "accounting_tests.rs"]
mod tests;
