use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

/// A report at `second` of a session that has lasted since 0.
fn report(event: Event, second: i64, upload_bytes: i64) -> SessionReport {
    let reading = Reading {
        account: "alice".into(),
        session_id: "core:a:n:1".into(),
        upload_bytes,
        download_bytes: 0,
        began_at: at(0),
        before: None,
        taken_at: at(second),
        mccmnc: None,
        from: None,
    };
    SessionReport {
        event,
        reading,
        counted: event != Event::Start,
        wide: [true; 2],
        timed: event != Event::Start,
    }
}

fn interim(second: i64, upload_bytes: i64) -> SessionReport {
    report(Event::Interim, second, upload_bytes)
}

/// Of a session that began at `began`.
fn began(mut report: SessionReport, began: i64) -> SessionReport {
    report.reading.began_at = at(began);
    report
}

fn untimed(mut report: SessionReport) -> SessionReport {
    report.reading.began_at = report.reading.taken_at;
    report.timed = false;
    report
}

fn narrow(mut report: SessionReport) -> SessionReport {
    report.wide = [false; 2];
    report
}

fn stored(second: i64, upload_bytes: i64) -> SessionReading {
    SessionReading {
        iccid: "8941000000000000001".into(),
        session_id: "core:a:n:1".into(),
        upload_bytes,
        download_bytes: 0,
        taken_at: at(second),
        began_at: Some(at(0)),
        ended_at: None,
    }
}

fn ended(second: i64, upload_bytes: i64) -> SessionReading {
    SessionReading { ended_at: Some(at(second)), ..stored(second, upload_bytes) }
}

/// Upload and time, in milliseconds after 0, of what counts.
fn counted(report: &SessionReport, stored: &SessionReading) -> Option<(i64, i64)> {
    let count = decide(report, Some(stored)).count?;
    Some((count.upload_bytes, (count.taken_at - at(0)).num_milliseconds()))
}

fn begins(second: i64) -> Decision {
    Decision { begin_at: Some(at(second)), ..Decision::default() }
}

#[test]
fn a_session_begins_at_its_start_and_counts_from_there() {
    assert_eq!(decide(&report(Event::Start, 0, 0), None), begins(0));
    assert_eq!(counted(&interim(60, 5), &stored(0, 0)), Some((5, 60_000)));
    assert_eq!(decide(&interim(60, 5), None).count, Some(interim(60, 5).reading), "its start was lost");
}

#[test]
fn a_stop_counts_and_ends() {
    let decision = decide(&report(Event::Stop, 60, 9), Some(&stored(30, 5)));
    assert_eq!((decision.count.unwrap().upload_bytes, decision.end_at), (9, Some(at(60))));
    let again = decide(&report(Event::Stop, 60, 9), Some(&ended(60, 9)));
    assert_eq!(
        again,
        Decision { end_at: Some(at(60)), ..Decision::default() },
        "and nothing more when it comes again"
    );
    let mut without = report(Event::Stop, 60, 0);
    without.counted = false;
    assert_eq!(decide(&without, Some(&stored(30, 5))).count, None, "a stop that tells no counters");
}

/// Catches deciding by the second: the end of a session often has the time of the reading before it.
#[test]
fn two_readings_of_one_second_both_count() {
    assert_eq!(counted(&report(Event::Stop, 60, 9), &stored(60, 5)), Some((9, 60_001)));
    assert_eq!(counted(&report(Event::Stop, 0, 9), &stored(0, 0)), Some((9, 1)), "a session of no second");
}

/// Catches a reset where there is none: the whole session would count again.
#[test]
fn what_is_lower_came_late_whatever_its_time_says() {
    for late in [interim(30, 3), interim(90, 3), untimed(interim(90, 3)), interim(60, 5), interim(90, 5)] {
        assert_eq!(decide(&late, Some(&stored(60, 5))), Decision::default(), "{late:?}");
        let after = decide(&late, Some(&ended(60, 5))).count;
        assert_eq!(after.is_some(), !late.timed, "{late:?} after the end");
    }
}

#[test]
fn what_is_higher_counts_although_its_time_is_earlier() {
    assert_eq!(counted(&interim(30, 9), &stored(60, 5)), Some((9, 60_001)), "a clock that was set back");
}

#[test]
fn a_counter_without_gigawords_wraps() {
    let round = 1i64 << 32;
    let at =
        |stored_bytes, told| counted(&narrow(interim(120, told)), &stored(60, stored_bytes)).map(|c| c.0);
    assert_eq!(at(round - 10, 20), Some(round + 20));
    assert_eq!(at(round + 20, 30), Some(round + 30), "after it wrapped");
    assert_eq!(at(2 * round - 1, 0), Some(2 * round), "again");
    assert_eq!(at(0, 3 << 30), Some(3 << 30), "more than half a round at once");
    assert_eq!(at(round / 10 * 6, 0), Some(round), "more than a quarter round left");
    assert_eq!(at(1000, 990), None, "a little less is late");
    assert_eq!(at(round + 20, 10), None, "and so after it wrapped");
    assert_eq!(counted(&interim(120, 20), &stored(60, round - 10)), None, "with Gigawords it does not wrap");
}

#[test]
fn a_direction_that_went_back_stays_where_it_was() {
    let mut told = interim(120, 9);
    told.reading.download_bytes = 3;
    let before = SessionReading { download_bytes: 4, ..stored(60, 5) };
    let count = decide(&told, Some(&before)).count.unwrap();
    assert_eq!((count.upload_bytes, count.download_bytes), (9, 4));
}

#[test]
fn an_id_that_is_used_again_begins_anew() {
    let start = report(Event::Start, 100, 0);
    assert_eq!(decide(&start, Some(&ended(60, 5))), begins(100));
    let lost_end = decide(&start, Some(&stored(60, 5)));
    assert_eq!(lost_end, Decision { end_at: Some(at(100)), ..Decision::default() }, "its end was lost");
    let marked = SessionReading { ended_at: Some(at(100)), ..stored(60, 5) };
    for (told, before) in [(9, &marked), (9, &ended(60, 5)), (3, &stored(60, 5)), (3, &ended(60, 5))] {
        let decision = decide(&began(interim(160, told), 100), Some(before));
        assert_eq!(decision.begin_at, Some(at(100)), "{told} {before:?}");
        assert_eq!(decision.count.unwrap().upload_bytes, told);
    }
}

/// Catches a session of no length whose record would lie at its beginning and so add nothing.
#[test]
fn a_session_that_begins_anew_counts_after_its_beginning() {
    let decision = decide(&began(interim(160, 3), 160), Some(&ended(60, 5)));
    assert!(decision.begin_at.unwrap() < decision.count.unwrap().taken_at);
    let decision = decide(&untimed(interim(160, 3)), Some(&ended(60, 5)));
    assert!(decision.begin_at.unwrap() < decision.count.unwrap().taken_at);
}

#[test]
fn a_clock_that_is_set_forward_begins_no_session() {
    let jumped = began(interim(3_660, 9), 3_600);
    assert_eq!(decide(&jumped, Some(&stored(60, 5))).begin_at, None);
    assert_eq!(counted(&jumped, &stored(60, 5)), Some((9, 3_660_000)));
}

#[test]
fn a_start_that_comes_late_or_twice_changes_nothing() {
    let start = report(Event::Start, 0, 0);
    assert_eq!(decide(&start, Some(&stored(0, 0))), Decision::default());
    assert_eq!(decide(&start, Some(&stored(60, 5))), Decision::default());
    assert_eq!(decide(&start, Some(&ended(60, 5))), Decision::default());
    // Without a time of its own it looks like another session's; the next reading goes on all the same.
    let marked = SessionReading { ended_at: Some(at(90)), ..stored(60, 5) };
    assert_eq!(counted(&interim(120, 9), &marked), Some((9, 120_000)));
}

/// Catches counting a session twice when its last requests arrive after the id was given again.
#[test]
fn what_is_late_of_the_session_before_adds_nothing() {
    let younger = SessionReading { began_at: Some(at(100)), ..stored(100, 0) };
    assert_eq!(decide(&report(Event::Stop, 60, 9), Some(&younger)), Decision::default());
}

#[test]
fn a_session_goes_on_after_a_restart_that_was_not_one() {
    assert_eq!(counted(&interim(120, 9), &ended(60, 5)), Some((9, 120_000)));
}
