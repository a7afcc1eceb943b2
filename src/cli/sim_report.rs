//! The diagnosis of one SIM, for people.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use crate::store::sim_diagnosis::{Comparison, ParkedByReason, SimDiagnosis, SimFacts, Sums};
use crate::store::sim_repair::SimRepair;

use super::amounts::{bytes, signed};
use super::table::{self, printable};

/// Everything but the verdict.
pub(super) fn diagnosis(of: &SimDiagnosis) -> String {
    let mut text = format!("SIM {}\n", of.iccid);
    let mut line = |name: &str, value: &str| {
        writeln!(text, "  {name:<13} {value}").expect("a String takes everything");
    };
    if let Some(sim) = &of.sim {
        facts(sim, &mut line);
    }
    records(of, &mut line);
    text.push_str(&cycles(of));
    text.push_str(&months(of));
    text.push_str(&last_records(of));
    text
}

fn facts(sim: &SimFacts, line: &mut impl FnMut(&str, &str)) {
    let or_none = |value: &Option<String>| value.as_deref().map_or("-".into(), printable);
    line("SIM id", &sim.sim_id);
    line("IMSI", &or_none(&sim.imsi));
    line("MSISDN", &or_none(&sim.msisdn));
    line("status", &printable(&sim.status));
    let moving = if sim.rollup_zone == sim.time_zone {
        String::new()
    } else {
        format!("; its days still count in {} and will move", sim.rollup_zone)
    };
    line("tenant", &format!("{}, days begin in {}{moving}", sim.tenant, sim.time_zone));
    line("customer", &or_none(&sim.customer_id));
    let place = sim.location_name.as_ref().map(|name| format!(" at {}", printable(name)));
    line("device", &format!("{}{}", or_none(&sim.device_name), place.unwrap_or_default()));
    let network = sim.mccmnc.as_ref().map(|code| format!(" (home network {code})"));
    line("carrier", &format!("{}{}", or_none(&sim.carrier), network.unwrap_or_default()));
    let plan = sim.plan.as_ref().map(|plan| {
        format!(
            "{}: {} {} per MB, {} included in each cycle",
            printable(&plan.name),
            plan.price_per_mb,
            plan.currency,
            bytes(plan.included_bytes.into())
        )
    });
    line("plan", plan.as_deref().unwrap_or("-"));
    let used = sim.current_cycle.as_ref().map(|cycle| bytes(cycle.total_bytes));
    let used = used.unwrap_or_else(|| "nothing".into());
    let limit = match (sim.data_limit_bytes, &sim.percent_used) {
        (Some(limit), Some(percent)) => format!("{}, {percent} % used", bytes(limit.into())),
        (Some(limit), None) => bytes(limit.into()),
        (None, _) => "none".into(),
    };
    line("data limit", &limit);
    let cycle = sim
        .current_cycle
        .as_ref()
        .map(|cycle| format!("{}, from {} to {}: {used}", cycle.id, moment(cycle.start), moment(cycle.end)));
    line("cycle now", cycle.as_deref().unwrap_or("none is current"));
}

fn records(of: &SimDiagnosis, line: &mut impl FnMut(&str, &str)) {
    let records = &of.records;
    line("records", &format!("{} stored", records.stored));
    if let Some(since) = records.raw_records_since {
        line(
            "",
            &format!(
                "raw ones of before {} are gone, and what they added up to is not compared",
                moment(since)
            ),
        );
    }
    let pending = match records.pending_since {
        Some(since) => format!(
            "{}, {}, the oldest stored {}",
            records.pending,
            bytes(records.pending_bytes),
            moment(since)
        ),
        None => "none".into(),
    };
    line("not rolled up", &pending);
    line(
        "without owner",
        &match records.without_owner {
            0 => "none".into(),
            count => format!(
                "{count}, {}: of a tenant that never had this SIM",
                bytes(records.without_owner_bytes)
            ),
        },
    );
    line(
        "other stamp",
        &match records.stamped_otherwise {
            0 => "none".into(),
            count => format!("{count}: their tenant, carrier, plan or cycle is not the one in force"),
        },
    );
    let parked = parked(&of.parked);
    line("parked", if parked.is_empty() { "none" } else { &parked });
    let latest = records.latest_event_at.map(|at| format!("up to {}", moment(at)));
    line("rolled up", latest.as_deref().unwrap_or("nothing"));
}

/// `conflict 2 (ids 7, 5), invalid 1 (id 3)`; empty when there are none.
pub(super) fn parked(reasons: &[ParkedByReason]) -> String {
    let each = reasons.iter().map(|parked| {
        let ids: Vec<_> = parked.ids.iter().map(i64::to_string).collect();
        let more = if parked.entries > parked.ids.len() as i64 { ", …" } else { "" };
        format!("{} {} (ids {}{more})", parked.reason, parked.entries, ids.join(", "))
    });
    each.collect::<Vec<_>>().join("; ")
}

const COMPARED: [&str; 5] = ["", "AMOUNT", "PREVIOUS (HELD)", "CURRENT (RECORDS)", "DELTA"];

/// The current cycle, and each that differs, with every amount; the others by their bytes.
fn cycles(of: &SimDiagnosis) -> String {
    let mut rows = Vec::new();
    for cycle in &of.cycles {
        let name =
            cycle.start.map_or_else(|| format!("{} (missing)", cycle.cycle_id), |_| cycle.cycle_id.clone());
        if !cycle.comparable {
            rows.push(vec![
                name,
                "bytes".into(),
                bytes(cycle.amounts.previous.total_bytes),
                "raw records are gone".into(),
            ]);
        } else {
            rows.extend(compared(&name, &cycle.amounts, cycle.is_current));
        }
    }
    table_of("CYCLE", &rows)
}

fn months(of: &SimDiagnosis) -> String {
    let (mut rows, mut notes) = (Vec::new(), String::new());
    for month in &of.months {
        let name = format!("{} {}", month.month.format("%Y-%m"), month.tenant);
        rows.extend(compared(&name, &month.amounts, month.differing_days > 0));
        if let Some((first, last)) = month.first_differing_day.zip(month.last_differing_day) {
            writeln!(notes, "{name}: {} days differ, from {first} to {last}", month.differing_days)
                .expect("a String takes everything");
        }
    }
    table_of("DAYS OF", &rows) + &notes
}

fn table_of(what: &str, rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut header = COMPARED;
    header[0] = what;
    format!("\n{}", table::lines(&header, rows))
}

fn last_records(of: &SimDiagnosis) -> String {
    let rows: Vec<Vec<String>> = of
        .last_records
        .iter()
        .map(|record| {
            let corrects = record.corrects.as_ref().map(|id| format!("corrects {}", printable(id)));
            let pending = record.pending.then(|| "not rolled up".to_owned());
            vec![
                printable(&record.record_id),
                record.id.to_string(),
                record.period_start.format("%F %T").to_string(),
                record.period_end.format("%F %T").to_string(),
                record.processed_at.format("%F %T").to_string(),
                bytes(record.total_bytes.into()),
                record.sms_count.to_string(),
                format!("{} s", record.voice_seconds),
                corrects.into_iter().chain(pending).collect::<Vec<_>>().join(", "),
            ]
        })
        .collect();
    let header =
        ["LAST RECORDS", "ID", "FROM (UTC)", "TO (UTC)", "STORED (UTC)", "BYTES", "MESSAGES", "VOICE", ""];
    if rows.is_empty() { String::new() } else { format!("\n{}", table::lines(&header, &rows)) }
}

/// A row for each amount when they are asked for or differ, else one for the bytes.
fn compared(name: &str, amounts: &Comparison, all: bool) -> Vec<Vec<String>> {
    let all = all || amounts.delta != Sums::default();
    let (held, raw, delta) = (each(&amounts.previous), each(&amounts.current), each(&amounts.delta));
    let mut rows = Vec::new();
    for (at, (amount, value, unit)) in delta.into_iter().enumerate().take(if all { 6 } else { 1 }) {
        let name = if at == 0 { name } else { "" };
        let delta = signed(value, unit(value));
        rows.push(vec![name.to_owned(), amount.to_owned(), unit(held[at].1), unit(raw[at].1), delta]);
    }
    rows
}

type Amount = (&'static str, i128, fn(i128) -> String);

fn each(sums: &Sums) -> [Amount; 6] {
    let plain: fn(i128) -> String = |value| value.to_string();
    [
        ("bytes", sums.total_bytes, bytes),
        ("up", sums.upload_bytes, bytes),
        ("down", sums.download_bytes, bytes),
        ("messages", sums.sms_count, plain),
        ("voice", sums.voice_seconds, |value| format!("{value} s")),
        ("records", sums.record_count, plain),
    ]
}

/// `everything agrees`, or what differs.
pub(super) fn verdict(of: &SimDiagnosis) -> String {
    if of.agrees {
        return "everything agrees\n".into();
    }
    let mut text = String::from("what differs:\n");
    for difference in &of.differences {
        writeln!(text, "{:<3} not true: {}", difference.name, difference.meaning)
            .expect("a String takes everything");
        for violation in &difference.shown {
            writeln!(text, "      {}", printable(violation)).expect("a String takes everything");
        }
    }
    text
}

/// What a repair changed, each amount before and after.
pub(super) fn repair(before: &SimDiagnosis, repair: SimRepair, after: &SimDiagnosis) -> String {
    let mut text = format!(
        "repaired: {} records stamped, {} cycles set, {} days made anew\n",
        repair.records_stamped, repair.cycles_set, repair.days_rebuilt
    );
    let mut rows = Vec::new();
    for now in &after.cycles {
        let was = before.cycles.iter().find(|was| was.cycle_id == now.cycle_id);
        let was = was.map_or(Sums::default(), |was| was.amounts.previous);
        rows.extend(changed(&format!("cycle {}", now.cycle_id), &was, &now.amounts.previous));
    }
    for now in &after.months {
        let was = before.months.iter().find(|was| (was.month, &was.tenant) == (now.month, &now.tenant));
        let was = was.map_or(Sums::default(), |was| was.amounts.previous);
        let name = format!("days of {} {}", now.month.format("%Y-%m"), now.tenant);
        rows.extend(changed(&name, &was, &now.amounts.previous));
    }
    if !rows.is_empty() {
        text.push_str(&table::lines(&["WHAT", "AMOUNT", "BEFORE", "AFTER"], &rows));
    }
    text
}

fn changed(name: &str, was: &Sums, now: &Sums) -> Vec<Vec<String>> {
    let pairs = each(was).into_iter().zip(each(now));
    pairs
        .filter(|(was, now)| was.1 != now.1)
        .map(|(was, now)| vec![name.to_owned(), was.0.to_owned(), was.2(was.1), now.2(now.1)])
        .collect()
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%F %T UTC").to_string()
}
