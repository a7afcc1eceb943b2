//! Doors for fuzzing: what a server says of its clients.

use chrono::{DateTime, Utc};
use futures_util::FutureExt;

use super::management::Conversation;
use super::status::{AccountName, Rules, parse};
use super::zone::Zone;

const SESSIONS_MAX: usize = 64;

/// A status, of each version.
pub fn status(bytes: &[u8], account: AccountName, written_at: DateTime<Utc>) {
    let zone = Zone::parse("Europe/Zurich").expect("a zone");
    for written_at in [None, Some(written_at)] {
        let rules = Rules { account, zone: &zone, sessions_max: SESSIONS_MAX };
        if let Ok(status) = parse(bytes, rules, written_at) {
            assert!(status.sessions.len() <= SESSIONS_MAX, "the limit counts");
            for session in &status.sessions {
                assert!(session.received_bytes >= 0 && session.sent_bytes >= 0, "{session:?}");
                assert!(!session.account.is_empty(), "{session:?}");
            }
        }
    }
}

/// A conversation in which the server says these bytes, whatever it is asked.
pub fn management(bytes: &[u8], max_bytes: u64, account: AccountName, written_at: DateTime<Utc>) {
    let stream = tokio::io::join(bytes, tokio::io::sink());
    let said = Conversation::new(stream, max_bytes).status(Some("password")).now_or_never();
    if let Ok(answer) = said.expect("memory does not wait") {
        assert!(answer.len() as u64 <= max_bytes, "the limit counts");
        status(&answer, account, written_at);
    }
}
