//! What every rollup table must hold, counted from the accepted records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};

use crate::harness::database::TestDatabase;

use super::model::{Model, Record};
use super::world::{PLANS, World, iccid};

/// 2^-20 in units of 10^-20; times a price in 10^-10 and bytes, that is a cost in 10^-30.
const PER_BYTE: i128 = 95_367_431_640_625;

const HOUR: i64 = 3_600_000_000;

/// What a row of a day of a SIM is about: tenant, ICCID, plan, cycle; date, carrier, network. In this order an included
/// volume is used up.
type Part = (i32, String, i32, String, NaiveDate, i32, &'static str);

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    amounts: [i128; 5],
    records: i64,
    corrections: i64,
    latest: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Priced {
    sum: Sum,
    /// In 10^-30.
    cost: i128,
}

/// Sum, cost and SIMs of a row of several SIMs.
#[derive(Clone, Debug, Default)]
struct Row {
    sum: Sum,
    cost: i128,
    active: BTreeSet<String>,
}

type Network = (i32, NaiveDate, i32, &'static str);
type Hour = (i32, i64, i32, &'static str);

pub(super) struct Expected {
    sims: BTreeMap<Part, Priced>,
    hours: BTreeMap<Hour, Row>,
    networks: BTreeMap<Network, Row>,
    days: BTreeMap<(i32, NaiveDate, i32), Row>,
    months: BTreeMap<(i32, NaiveDate, i32), Row>,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        for (amount, more) in self.amounts.iter_mut().zip(other.amounts) {
            *amount += more;
        }
        self.records += other.records;
        self.corrections += other.corrections;
        self.latest = self.latest.max(other.latest);
    }

    fn of(record: &Record) -> Self {
        Self {
            amounts: record.amounts.map(i128::from),
            records: 1,
            corrections: i64::from(record.corrects.is_some()),
            latest: record.end.timestamp_micros(),
        }
    }

    fn is_usage(&self) -> bool {
        self.amounts != [0; 5]
    }

    fn text(&self) -> String {
        let amounts = self.amounts.map(|amount| amount.to_string()).join("|");
        format!("{amounts}|{}", self.records)
    }
}

impl Row {
    fn add(&mut self, sum: &Sum, cost: i128, iccid: &str) {
        self.sum.add(sum);
        self.cost += cost;
        if sum.is_usage() {
            self.active.insert(iccid.to_owned());
        }
    }
}

impl Expected {
    pub(super) async fn of(world: &World, model: &Model, database: &TestDatabase) -> Self {
        let calendar = Calendar::load(world, model, database).await;
        let mut sums: BTreeMap<Part, Sum> = BTreeMap::new();
        let mut hour_parts: BTreeMap<(i64, Part), Sum> = BTreeMap::new();
        for record in &model.accepted {
            let part = place(world, model, &calendar, record);
            let hour = record.start.timestamp_micros().div_euclid(HOUR) * HOUR;
            sums.entry(part.clone()).or_default().add(&Sum::of(record));
            hour_parts.entry((hour, part)).or_default().add(&Sum::of(record));
        }
        let mut hours: BTreeMap<Hour, Row> = BTreeMap::new();
        for ((hour, (tenant, iccid, _, _, _, carrier, network)), sum) in &hour_parts {
            hours.entry((*tenant, *hour, *carrier, network)).or_default().add(sum, 0, iccid);
        }
        let sims = priced(world, sums);
        let mut networks: BTreeMap<Network, Row> = BTreeMap::new();
        for ((tenant, iccid, _, _, date, carrier, network), day) in &sims {
            let row = networks.entry((*tenant, *date, *carrier, network)).or_default();
            row.add(&day.sum, day.cost, iccid);
        }
        let mut days: BTreeMap<_, Row> = BTreeMap::new();
        for ((tenant, date, carrier, _), row) in &networks {
            days.entry((*tenant, *date, *carrier)).or_default().unite(row);
        }
        // The cost of a day has 10 decimals, and a month is the sum of its days.
        days.values_mut().for_each(|row| row.cost = rounded(row.cost));
        let mut months: BTreeMap<_, Row> = BTreeMap::new();
        for ((tenant, date, carrier), row) in &days {
            let month = date.with_day(1).expect("every month has a first day");
            months.entry((*tenant, month, *carrier)).or_default().unite(row);
        }
        Self { sims, hours, networks, days, months }
    }

    /// The rows of a table, in the form of `tables.rs`.
    pub(super) fn rows(&self, table: &str) -> Vec<String> {
        let count = |row: &Row| row.active.len();
        match table {
            "sim_daily_usage" => self.sims.iter().map(sim_row).collect(),
            "hourly_usage" => self
                .hours
                .iter()
                .map(|((t, hour, c, n), r)| format!("{t}|{hour}|{c}|{n}|{}|{}", r.sum.text(), count(r)))
                .collect(),
            "daily_network_usage" => self
                .networks
                .iter()
                .map(|((t, d, c, n), r)| {
                    format!("{t}|{d}|{c}|{n}|{}|{}|{}", r.sum.text(), decimal(r.cost, 30), count(r))
                })
                .collect(),
            "daily_usage" => self
                .days
                .iter()
                .map(|((t, d, c), r)| {
                    format!("{t}|{d}|{c}|{}|{}|{}", r.sum.text(), decimal(r.cost, 10), count(r))
                })
                .collect(),
            "usage_aggregations" => self
                .months
                .iter()
                .map(|((t, m, c), r)| {
                    let end = (*m + Months::new(1)).pred_opt().expect("not the first day of all");
                    format!("{t}|{m}|{end}|{c}|{}|{}|{}", r.sum.text(), decimal(r.cost, 10), count(r))
                })
                .collect(),
            "hourly_active_sims" => members(&self.hours, |hour| hour.to_string()),
            "daily_active_sims" => members(&self.networks, |date| date.to_string()),
            "monthly_active_sims" => {
                let month = |date: &NaiveDate| date.with_day(1).expect("a first day").to_string();
                members(&self.networks, month)
            }
            other => unreachable!("{other} is no rollup"),
        }
    }
}

impl Row {
    fn unite(&mut self, other: &Self) {
        self.sum.add(&other.sum);
        self.cost += other.cost;
        self.active.extend(other.active.iter().cloned());
    }
}

fn place(world: &World, model: &Model, calendar: &Calendar, record: &Record) -> Part {
    let terms = model.in_force(record);
    let tenant = world.tenants[terms.map_or(record.sender, |terms| terms.tenant)].0;
    let carrier = terms.and_then(|terms| terms.carrier).map_or(0, |carrier| world.carriers[carrier]);
    let plan = terms.and_then(|terms| terms.plan).map_or(0, |(owner, plan)| world.plans[owner][plan]);
    let cycle = terms.map_or(String::new(), |_| calendar.cycle(record));
    let date = calendar.dates[&(tenant, record.start)];
    (tenant, iccid(record.sim), plan, cycle, date, carrier, record.mccmnc())
}

fn priced(world: &World, sums: BTreeMap<Part, Sum>) -> BTreeMap<Part, Priced> {
    let plans: HashMap<i32, (i128, i128)> = world
        .plans
        .iter()
        .flat_map(|ids| ids.iter().zip(PLANS))
        .map(|(id, (_, price, included))| (*id, (price, included)))
        .collect();
    let mut used: BTreeMap<(i32, String, i32, String), i128> = BTreeMap::new();
    sums.into_iter()
        .map(|(part, sum)| {
            let (price, included) = plans.get(&part.2).copied().unwrap_or((0, 0));
            let used = used.entry((part.0, part.1.clone(), part.2, part.3.clone())).or_default();
            let before = if included > 0 { *used } else { 0 };
            let bytes = sum.amounts[2];
            *used += bytes;
            let beyond = |bytes: i128| (bytes - included).max(0);
            let billable = if included > 0 { beyond(before + bytes) - beyond(before) } else { bytes };
            (part, Priced { sum, cost: billable * price * PER_BYTE })
        })
        .collect()
}

type Cycle = (DateTime<Utc>, DateTime<Utc>, String);

/// Days and cycles, as PostgreSQL's time zones have them.
struct Calendar {
    dates: HashMap<(i32, DateTime<Utc>), NaiveDate>,
    /// Of each ICCID: first moment, first moment after it, name.
    cycles: HashMap<String, Vec<Cycle>>,
}

impl Calendar {
    async fn load(world: &World, model: &Model, database: &TestDatabase) -> Self {
        let moments: Vec<_> = model.accepted.iter().map(|record| record.start).collect();
        let tenants = world.tenants.map(|tenant| tenant.0).to_vec();
        let sql = "SELECT DISTINCT t.id, m.at, (m.at AT TIME ZONE t.time_zone)::date FROM tenants t
                   CROSS JOIN unnest($1::timestamptz[]) AS m (at) WHERE t.id = ANY ($2)";
        let rows = database.client.query(sql, &[&moments, &tenants]).await.expect("dates");
        let dates = rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
        let sql = "SELECT iccid, cycle_start, cycle_end, cycle_id FROM usage_cycles";
        let mut cycles: HashMap<String, Vec<Cycle>> = HashMap::new();
        for row in database.client.query(sql, &[]).await.expect("cycles") {
            cycles.entry(row.get(0)).or_default().push((row.get(1), row.get(2), row.get(3)));
        }
        Self { dates, cycles }
    }

    fn cycle(&self, record: &Record) -> String {
        let cycles = &self.cycles[&iccid(record.sim)];
        let held = cycles.iter().find(|(start, end, _)| *start <= record.start && record.start < *end);
        held.expect("a cycle holds each record of a known SIM").2.clone()
    }
}

fn sim_row(((tenant, iccid, plan, cycle, date, carrier, network), day): (&Part, &Priced)) -> String {
    format!(
        "{tenant}|{iccid}|{date}|{carrier}|{plan}|{network}|{cycle}|{}|{}|{}|{}",
        day.sum.text(),
        day.sum.corrections,
        day.sum.latest,
        decimal(day.cost, 30)
    )
}

/// Tenant, bucket, carrier, network and SIM, each once.
fn members<B: Ord>(
    rows: &BTreeMap<(i32, B, i32, &'static str), Row>,
    bucket: impl Fn(&B) -> String,
) -> Vec<String> {
    let members: BTreeSet<String> = rows
        .iter()
        .flat_map(|((tenant, at, carrier, network), row)| {
            let place = format!("{tenant}|{}|{carrier}|{network}", bucket(at));
            row.active.iter().map(move |iccid| format!("{place}|{iccid}"))
        })
        .collect();
    members.into_iter().collect()
}

/// To 10 decimals, half away from zero; still in 10^-30, or rather in 10^-10 from here on.
fn rounded(cost: i128) -> i128 {
    let unit = 10_i128.pow(20);
    (cost + cost.signum() * unit / 2) / unit
}

/// A number in units of 10^-`decimals`.
fn decimal(number: i128, decimals: u32) -> String {
    let (unit, sign) = (10_i128.pow(decimals), if number < 0 { "-" } else { "" });
    let number = number.abs();
    format!("{sign}{}.{:0width$}", number / unit, number % unit, width = decimals as usize)
}
