use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn reading(taken: i64, upload_bytes: i64) -> Reading {
    Reading {
        account: "alice".into(),
        session_id: "hq:alice:1".into(),
        upload_bytes,
        download_bytes: 0,
        began_at: at(0),
        before: None,
        taken_at: at(taken),
        mccmnc: None,
        from: None,
    }
}

fn iccid() -> Iccid {
    Iccid::parse("8941000000000000001").unwrap()
}

fn held(iccid: &str, taken: i64, upload_bytes: i64) -> SessionReading {
    let (iccid, session_id) = (iccid.to_owned(), "hq:alice:1".to_owned());
    let taken_at = at(taken);
    SessionReading {
        iccid,
        session_id,
        upload_bytes,
        download_bytes: 0,
        taken_at,
        began_at: None,
        ended_at: None,
    }
}

fn decided(reading: &Reading, held: &[SessionReading]) -> Step {
    step(reading, &iccid(), held, FirstReading::Counts)
}

fn counts_from(second: i64) -> Step {
    Step::Count { from: at(second), seed: None }
}

#[test]
fn a_first_reading_counts_from_the_beginning_of_its_session() {
    assert_eq!(decided(&reading(60, 5), &[]), counts_from(0));
    // It was looked at before, when its account stood for no SIM: of that nothing is stored.
    assert_eq!(decided(&Reading { before: Some(at(30)), ..reading(60, 5) }, &[]), counts_from(0));
}

#[test]
fn a_reading_counts_from_the_last_look_even_when_that_found_nothing_new() {
    let own = [held(iccid().as_str(), 60, 5)];
    assert_eq!(decided(&reading(180, 7), &own), counts_from(60));
    assert_eq!(decided(&Reading { before: Some(at(120)), ..reading(180, 7) }, &own), counts_from(120));
}

#[test]
fn a_reading_that_says_nothing_new_is_no_record() {
    let own = [held(iccid().as_str(), 60, 5)];
    assert_eq!(decided(&reading(120, 5), &own), Step::Nothing, "nothing was used");
    assert_eq!(decided(&reading(60, 9), &own), Step::Nothing, "of the moment of the newest one");
    assert_eq!(decided(&reading(30, 4), &own), Step::Nothing, "older than the newest one");
}

#[test]
fn a_counter_that_ran_before_is_a_base_at_first() {
    let Step::Base(seed) = step(&reading(60, 5), &iccid(), &[], FirstReading::IsTheBase) else { panic!() };
    assert_eq!((seed.upload_bytes, seed.taken_at), (5, at(60)));
    let own = [held(iccid().as_str(), 60, 5)];
    assert_eq!(step(&reading(120, 6), &iccid(), &own, FirstReading::IsTheBase), counts_from(60));
}

#[test]
fn a_session_that_moves_to_another_sim_goes_on_where_it_was() {
    let other = [held("8941000000000000002", 60, 5)];
    let Step::Count { from, seed: Some(seed) } = decided(&reading(120, 9), &other) else { panic!() };
    assert_eq!((from, seed.upload_bytes, seed.iccid), (at(60), 5, iccid()));
    assert_eq!(decided(&reading(60, 9), &other), Step::Nothing, "not newer than what the other one has");
    let and_back = [held(iccid().as_str(), 30, 2), held("8941000000000000002", 60, 5)];
    let Step::Count { seed: Some(seed), .. } = decided(&reading(120, 9), &and_back) else { panic!() };
    assert_eq!(seed.upload_bytes, 5, "what the other one used in between is not counted again");
}

/// Catches a value that was the newest one when its source looked, and is the past when it arrives.
#[test]
fn a_reading_counts_from_where_its_source_saw_the_session_or_not_at_all() {
    let own = [held(iccid().as_str(), 60, 5)];
    let from = |upload_bytes| Some(CounterPlace { upload_bytes, download_bytes: 0 });
    assert_eq!(decided(&Reading { from: from(5), ..reading(120, 7) }, &own), counts_from(60));
    assert_eq!(decided(&Reading { from: from(5), ..reading(120, 1) }, &own), counts_from(60), "a reset");
    assert_eq!(decided(&Reading { from: from(4), ..reading(120, 7) }, &own), Step::Nothing);
}

#[test]
fn a_record_reaches_back_31_days_at_most() {
    let month = 31 * 86_400;
    assert_eq!(decided(&reading(month + 100, 5), &[]), counts_from(100));
    let ahead = Reading { before: Some(at(900)), ..reading(60, 5) };
    let own = [held(iccid().as_str(), 30, 4)];
    assert_eq!(decided(&ahead, &own), counts_from(60), "a clock that was set back");
}

/// Catches ids that are the same for different content: two instances that read a session at one moment would make a conflict.
#[test]
fn readings_of_one_moment_that_differ_are_different_records() {
    let plain = record_id(&reading(60, 5), at(0));
    assert_eq!(plain, record_id(&reading(60, 5), at(0)));
    for other in [record_id(&reading(60, 6), at(0)), record_id(&reading(60, 5), at(30))] {
        assert_ne!(plain, other);
    }
    let longest =
        Reading { session_id: session_id(&"s".repeat(40), &"a".repeat(253), "1"), ..reading(60, 5) };
    assert!(record_id(&longest, at(0)).chars().count() <= 100);
    let exactly = Reading { session_id: "x".repeat(SESSION_ID_MAX_CHARS), ..reading(60, 5) };
    assert!(record_id(&exactly, at(0)).len() <= 100);
}

#[test]
fn session_ids_are_short_and_tell_long_accounts_apart() {
    assert_eq!(session_id("hq", "alice", "1800000000"), "hq:alice:1800000000");
    let [one, two] = ["a", "b"].map(|end| session_id("hq", &format!("{}{end}", "x".repeat(200)), "1"));
    assert_ne!(one, two);
    assert!(one.starts_with("hq:") && one.len() <= SESSION_ID_MAX_CHARS);
    assert_eq!(
        session_id("hq", "a\u{1}", "1").len(),
        "hq:".len() + 32,
        "control characters do not get through"
    );
}
