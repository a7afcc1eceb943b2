use chrono::DateTime;

use super::super::accounting::SessionReport;
use super::super::duplicates::RequestKey;
use super::*;
use crate::source::readings::Reading;

fn request(identifier: u8, report: Report) -> Request {
    let key = RequestKey { from: "192.0.2.1:1".parse().unwrap(), identifier, authenticator: [0; 16] };
    Request { key, report, answer: Vec::new(), since: Instant::now() }
}

fn of_session(identifier: u8, session: &str) -> Request {
    let reading = Reading {
        account: "alice".into(),
        session_id: session.into(),
        upload_bytes: 0,
        download_bytes: 0,
        began_at: DateTime::UNIX_EPOCH,
        before: None,
        taken_at: DateTime::UNIX_EPOCH,
        mccmnc: None,
        from: None,
    };
    let report =
        SessionReport { event: Event::Interim, reading, counted: true, wide: [true; 2], timed: true };
    request(identifier, Report::Session(report))
}

fn restart(identifier: u8) -> Request {
    request(identifier, Report::Restart { origin: "core:a:n".into(), at: DateTime::UNIX_EPOCH })
}

/// Identifiers of all batches until nothing waits.
fn batches(requests: Vec<Request>) -> Vec<Vec<u8>> {
    let mut waiting = VecDeque::from(requests);
    let mut batches = Vec::new();
    while !waiting.is_empty() {
        batches.push(next_batch(&mut waiting).iter().map(|request| request.key.identifier).collect());
    }
    batches
}

/// Catches two readings of a session in one batch: the second would be judged by what was stored before the first.
#[test]
fn reports_of_one_session_go_one_after_the_other() {
    let requests = [(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "a"), (6, "b")];
    let requests = requests.map(|(identifier, session)| of_session(identifier, session));
    assert_eq!(batches(requests.into()), [vec![1, 2, 4], vec![3, 6], vec![5]]);
}

#[test]
fn nothing_passes_a_restart() {
    let requests = vec![of_session(1, "a"), of_session(2, "a"), restart(3), of_session(4, "b"), restart(5)];
    assert_eq!(batches(requests), [vec![1], vec![2], vec![3], vec![4], vec![5]]);
}

#[test]
fn what_has_no_usage_goes_with_the_others() {
    let requests = vec![request(1, Report::Nothing), of_session(2, "a"), request(3, Report::Nothing)];
    assert_eq!(batches(requests), [vec![1, 2, 3]]);
}
