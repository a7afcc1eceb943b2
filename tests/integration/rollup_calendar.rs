//! Days, weeks and months worked out by hand. Record n of a series is n hours after the first and has 2^n bytes, so a sum
//! tells which records are in it: those from a to before b add up to 2^b - 2^a.

use chrono::TimeDelta;
use simbridge::store::sims::SimRow;

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, decided, record_at, time, word, words};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-11-05T12:00:00Z";

const DAYS: &str = "SELECT usage_date, data_bytes FROM daily_usage ORDER BY 1";
/// As readers make weeks of days.
const WEEKS: &str =
    r#"SELECT to_char(usage_date, 'IYYY-"W"IW'), sum(data_bytes) FROM daily_usage GROUP BY 1 ORDER BY 1"#;
const MONTHS: &str =
    "SELECT to_char(period_start, 'YYYY-MM'), total_data_bytes FROM usage_aggregations ORDER BY 1";

/// One SIM of a tenant in `zone`. The program's sessions are in a zone of half hours: no hour and no day is theirs.
async fn in_zone(zone: &str, at: &str) -> (TestDatabase, TestPipeline) {
    let database = TestDatabase::new().await;
    database.run(&format!("ALTER DATABASE {} SET TimeZone = 'Asia/Kolkata'", database.name)).await;
    database.run(&format!("UPDATE tenants SET time_zone = '{zone}' WHERE id = 1")).await;
    database.move_zones().await;
    database.import_at(at, &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, at);
    (database, pipeline)
}

/// Writes and rolls up a series of `count` hours from `first` on.
async fn series(database: &TestDatabase, pipeline: &TestPipeline, first: &str, count: i64) {
    let records: Vec<String> = (0..count)
        .map(|n| {
            let at = (time(first) + TimeDelta::hours(n)).to_rfc3339();
            record_at(&format!("{first}-{n}"), &at, 1 << n)
        })
        .collect();
    let receipt = pipeline.decide(Some(ICCID), format!("[{}]", records.join(","))).await;
    assert_eq!(words(&receipt), vec!["stored"; records.len()]);
    database.roll_up().await;
    database.assert_reconciled().await;
    let misplaced = format!(
        "SELECT count(*) FILTER (WHERE total_bytes = 2 ^ (extract(epoch FROM hour - '{first}'::timestamptz) / 3600)
                                   AND active_sim_count = 1 AND record_count = 1)
         FROM hourly_usage WHERE hour >= '{first}'::timestamptz AND hour < '{first}'::timestamptz + interval '100 hours'"
    );
    assert_eq!(database.number(&misplaced).await, count, "each hour holds its own record");
}

/// Catches days of 24 hours, days of UTC hours, and hours by local labels, of which 25 October has one twice.
#[tokio::test]
async fn berlin_has_a_day_of_23_hours_and_one_of_25() {
    let (database, pipeline) = in_zone("Europe/Berlin", NOW).await;
    // 22:00 UTC is 23:00 on the 28th. The 29th is from 23:00 to 22:00 UTC: records 1 to 23. The rest is of the 30th.
    series(&database, &pipeline, "2026-03-28T22:00:00Z", 26).await;
    // 21:00 UTC is 23:00 on the 24th. The 25th is from 22:00 to 23:00 UTC: records 1 to 25.
    series(&database, &pipeline, "2026-10-24T21:00:00Z", 27).await;
    assert_eq!(
        database.rows(DAYS).await,
        [
            "2026-03-28|1",
            "2026-03-29|16777214", // 2^24 - 2^1
            "2026-03-30|50331648", // 2^24 + 2^25
            "2026-10-24|1",
            "2026-10-25|67108862", // 2^26 - 2^1
            "2026-10-26|67108864", // 2^26
        ]
    );
    // 29 March and 25 October are Sundays.
    assert_eq!(
        database.rows(WEEKS).await,
        ["2026-W13|16777215", "2026-W14|50331648", "2026-W43|67108863", "2026-W44|67108864"]
    );
    assert_eq!(database.rows(MONTHS).await, ["2026-03|67108863", "2026-10|134217727"]);
}

/// Catches the same on the other side of UTC, where a change of clocks falls on the first day of a month.
#[tokio::test]
async fn new_york_has_a_day_of_23_hours_and_one_of_25() {
    let (database, pipeline) = in_zone("America/New_York", NOW).await;
    // 04:00 UTC is 23:00 on the 7th. The 8th is from 05:00 to 04:00 UTC: records 1 to 23.
    series(&database, &pipeline, "2026-03-08T04:00:00Z", 26).await;
    // 03:00 UTC is 23:00 on 31 October. 1 November is from 04:00 to 05:00 UTC: records 1 to 25.
    series(&database, &pipeline, "2026-11-01T03:00:00Z", 27).await;
    assert_eq!(
        database.rows(DAYS).await,
        [
            "2026-03-07|1",
            "2026-03-08|16777214",
            "2026-03-09|50331648",
            "2026-10-31|1",
            "2026-11-01|67108862",
            "2026-11-02|67108864",
        ]
    );
    // 8 March and 1 November are Sundays.
    assert_eq!(
        database.rows(WEEKS).await,
        ["2026-W10|16777215", "2026-W11|50331648", "2026-W44|67108863", "2026-W45|67108864"]
    );
    assert_eq!(database.rows(MONTHS).await, ["2026-03|67108863", "2026-10|1", "2026-11|134217726"]);
}

/// Catches days that are put together from UTC hours: Kolkata's begin at half past 18.
#[tokio::test]
async fn kolkata_has_days_of_24_hours_that_begin_in_the_middle_of_one() {
    let (database, pipeline) = in_zone("Asia/Kolkata", NOW).await;
    // 18:00 UTC is 23:30 on the 28th. The 29th is from 18:30 to 18:30 UTC: records 1 to 24, the last one at 18:00 UTC.
    series(&database, &pipeline, "2026-03-28T18:00:00Z", 26).await;
    series(&database, &pipeline, "2026-10-31T18:00:00Z", 27).await;
    assert_eq!(
        database.rows(DAYS).await,
        [
            "2026-03-28|1",
            "2026-03-29|33554430", // 2^25 - 2^1
            "2026-03-30|33554432", // 2^25
            "2026-10-31|1",
            "2026-11-01|33554430",
            "2026-11-02|100663296", // 2^25 + 2^26
        ]
    );
    assert_eq!(
        database.rows(WEEKS).await,
        ["2026-W13|33554431", "2026-W14|33554432", "2026-W44|33554431", "2026-W45|100663296"]
    );
    assert_eq!(database.rows(MONTHS).await, ["2026-03|67108863", "2026-10|1", "2026-11|134217726"]);
}

/// Catches an hour by the zone of the session or of the tenant, which would begin at half past.
#[tokio::test]
async fn an_hour_of_two_days_is_one_hour_by_utc() {
    let (database, pipeline) = in_zone("Asia/Kolkata", NOW).await;
    for (n, at) in ["17:59:59.999999Z", "18:00:00Z", "18:29:59.999999Z", "18:30:00Z", "18:59:59.999999Z"]
        .into_iter()
        .enumerate()
    {
        let record = record_at(&format!("r-{n}"), &format!("2026-10-31T{at}"), 1 << n);
        assert_eq!(word(&pipeline.one(ICCID, record).await), "stored");
    }
    database.roll_up().await;
    let hours =
        "SELECT to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), total_bytes, active_sim_count, record_count
                 FROM hourly_usage ORDER BY hour";
    assert_eq!(database.rows(hours).await, ["2026-10-31 17:00|1|1|1", "2026-10-31 18:00|30|1|4"]);
    // 18:30 UTC is midnight.
    assert_eq!(database.rows(DAYS).await, ["2026-10-31|7", "2026-11-01|24"]);
    assert_eq!(database.rows(MONTHS).await, ["2026-10|7", "2026-11|24"]);
    database.assert_reconciled().await;
}

/// Catches weeks of the calendar year (`YYYY-IW` would put 1 January 2027 in 2027-53) and weeks from 1 January on.
#[tokio::test]
async fn the_first_days_of_2027_are_of_the_last_week_of_2026() {
    let (database, pipeline) = in_zone("Europe/Berlin", "2027-01-05T12:00:00Z").await;
    for (n, at) in [
        "2026-12-27T22:59:59Z", // the last second of Sunday
        "2026-12-27T23:00:00Z", // Monday, 28 December
        "2026-12-31T23:00:00Z", // Friday, 1 January
        "2027-01-03T22:59:59Z", // the last second of Sunday, 3 January
        "2027-01-03T23:00:00Z", // Monday, 4 January
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(word(&pipeline.one(ICCID, record_at(&format!("r-{n}"), at, 1 << n)).await), "stored");
    }
    database.roll_up().await;
    let days = ["2026-12-27|1", "2026-12-28|2", "2027-01-01|4", "2027-01-03|8", "2027-01-04|16"];
    assert_eq!(database.rows(DAYS).await, days);
    assert_eq!(database.rows(WEEKS).await, ["2026-W52|1", "2026-W53|14", "2027-W01|16"]);
    assert_eq!(database.rows(MONTHS).await, ["2026-12|3", "2027-01|28"]);
    database.assert_reconciled().await;
}

fn without_data(id: &str, at: &str, what: &str) -> String {
    record_at(id, at, 0).replace(r#""totalBytes":0"#, &format!(r#""totalBytes":0,{what}"#))
}

/// Catches a SIM that is active by bytes alone, and one that is active by a record of nothing.
#[tokio::test]
async fn messages_and_calls_are_usage_and_a_record_of_nothing_is_not() {
    let (database, pipeline) = in_zone("Europe/Berlin", NOW).await;
    for record in [
        without_data("sms", "2026-10-25T00:30:00Z", r#""smsCount":3"#), // 02:30 for the first time
        without_data("voice", "2026-10-25T01:30:00Z", r#""voiceSeconds":61"#), // and again
        without_data("nothing", "2026-10-26T01:30:00Z", r#""smsCount":0"#),
    ] {
        assert_eq!(word(&pipeline.one(ICCID, record).await), "stored");
    }
    database.roll_up().await;
    let columns = "data_bytes, sms_count, voice_seconds, record_count, active_sim_count";
    let days = format!("SELECT usage_date, {columns} FROM daily_usage ORDER BY 1");
    assert_eq!(database.rows(&days).await, ["2026-10-25|0|3|61|2|1", "2026-10-26|0|0|0|1|0"]);
    let hours = "SELECT sms_count, voice_seconds, active_sim_count FROM hourly_usage ORDER BY hour";
    assert_eq!(database.rows(hours).await, ["3|0|1", "0|61|1", "0|0|0"]);
    let months =
        "SELECT period_end, sms_count, voice_seconds, record_count, active_sim_count FROM usage_aggregations";
    assert_eq!(database.rows(months).await, ["2026-10-31|3|61|3|1"]);
    database.assert_reconciled().await;
}

/// Catches a window of days that is refreshed, outside of which what is late is forgotten.
#[tokio::test]
async fn a_record_that_is_399_days_late_counts_in_its_own_day_week_and_month() {
    let (database, pipeline) = in_zone("Europe/Berlin", NOW).await;
    pipeline.one(ICCID, record_at("fresh", "2026-11-05T11:00:00Z", 1)).await;
    database.roll_up().await;
    // A Thursday: 23:30 on 2 October in summer time.
    let late = record_at("late", "2025-10-02T21:30:00Z", 2);
    assert_eq!(word(&pipeline.one(ICCID, late).await), "stored");
    database.roll_up().await;
    assert_eq!(database.rows(DAYS).await, ["2025-10-02|2", "2026-11-05|1"]);
    assert_eq!(database.rows(WEEKS).await, ["2025-W40|2", "2026-W45|1"]);
    assert_eq!(database.rows(MONTHS).await, ["2025-10|2", "2026-11|1"]);
    database.assert_reconciled().await;
}

/// Catches a late record that is priced by itself, as if the days after it had been cheap rightly.
#[tokio::test]
async fn a_late_record_uses_the_included_volume_up_before_the_later_days_of_its_cycle() {
    let (database, pipeline) = in_zone("Europe/Berlin", NOW).await;
    // A unit for a byte, 100 of a cycle for nothing.
    let plan = SimRow {
        rate_plan: Some("pool".into()),
        price_per_mb: Some("1048576".into()),
        included_bytes: Some(100),
        ..sim("8941000000000000002")
    };
    database.import_at("2026-10-01T00:00:00Z", &[plan]).await;
    let send = async |id: &str, at: &str, bytes: i64| {
        let receipt = pipeline.send(Some("8941000000000000002"), record_at(id, at, bytes)).await;
        assert_eq!(words(&decided(receipt).await), ["stored"]);
        database.roll_up().await;
        database.assert_reconciled().await;
        database
            .rows("SELECT usage_date, trim_scale(cost) FROM daily_usage ORDER BY 1")
            .await
            .iter()
            .map(|row| row.trim_start_matches("2026-").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(send("a", "2026-10-20T10:00:00Z", 60).await, ["10-20|0"]);
    assert_eq!(send("b", "2026-10-26T10:00:00Z", 70).await, ["10-20|0", "10-26|30"]);
    // 31 October, 23:30 in Berlin; the next one is of another cycle and has its own 100.
    assert_eq!(send("c", "2026-10-31T22:30:00Z", 5).await[2], "10-31|5");
    assert_eq!(send("d", "2026-10-31T23:30:00Z", 120).await[3], "11-01|20");
    // 50 are used up before: 10 of the 60 are beyond 100, and all that follows.
    let shifted = ["10-05|0", "10-20|10", "10-26|70", "10-31|5", "11-01|20"];
    assert_eq!(send("late", "2026-10-05T10:00:00Z", 50).await, shifted);
    let months = "SELECT period_start, trim_scale(total_cost) FROM usage_aggregations ORDER BY 1";
    assert_eq!(database.rows(months).await, ["2026-10-01|85", "2026-11-01|20"]);
}
