use chrono::{DateTime, Utc};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::catalog::{CARRIERS, CITIES};
pub use crate::catalog::{Carrier, City, RatePlan};
pub use crate::profile::DeviceKind;
use crate::profile::SPREAD;
use crate::record::Usage;

/// Largest fleet: the account number in an ICCID has twelve digits, but a machine has memory for so many.
pub const MAX_SIMS: u32 = 10_000_000;

/// What decides a fleet completely.
#[derive(Clone, Copy, Debug)]
pub struct FleetSpec {
    /// Number of SIMs, 1 to [`MAX_SIMS`].
    pub sims: u32,
    pub seed: u64,
}

/// A set of SIMs; the same spec always gives the same fleet.
#[derive(Debug)]
pub struct Fleet {
    spec: FleetSpec,
    sims: Vec<Sim>,
}

/// One SIM and the device it is in.
#[derive(Debug)]
pub struct Sim {
    index: u32,
    /// 19 digits, Luhn-valid.
    pub iccid: String,
    pub kind: DeviceKind,
    pub carrier: &'static Carrier,
    /// The network that carries the traffic: another one than `carrier` where the SIM roams.
    pub serving: &'static Carrier,
    pub plan: &'static RatePlan,
    pub status: SimStatus,
    pub city: &'static City,
    pub latitude: f64,
    pub longitude: f64,
    /// Day of the month on which the billing cycle begins, 1 to 31.
    pub cycle_day: u8,
    /// Times what its kind uses: 1 is the mean, most SIMs are below it and few far above, so that some come near their limits.
    appetite: f64,
}

/// State of a SIM at the carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimStatus {
    Active,
    Suspended,
    Inactive,
}

impl SimStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Suspended => "Suspended",
            Self::Inactive => "Inactive",
        }
    }
}

impl Fleet {
    /// Makes the fleet that `spec` describes; a size outside 1 to [`MAX_SIMS`] is moved to the nearer end.
    pub fn generate(spec: FleetSpec) -> Self {
        let spec = FleetSpec { sims: spec.sims.clamp(1, MAX_SIMS), ..spec };
        let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
        let sims = (0..spec.sims).map(|index| Sim::generate(index, spec.seed, &mut rng)).collect();
        Self { spec, sims }
    }

    pub fn sims(&self) -> &[Sim] {
        &self.sims
    }

    pub fn seed(&self) -> u64 {
        self.spec.seed
    }

    /// Indices of the SIMs that use data; all of them if the fleet is so small that none came out active.
    pub fn publishing(&self) -> Vec<u32> {
        let active = |sim: &&Sim| sim.status == SimStatus::Active;
        let indices: Vec<u32> = self.sims.iter().filter(active).map(|sim| sim.index).collect();
        if indices.is_empty() { (0..self.spec.sims).collect() } else { indices }
    }

    /// The fleet as an RFC 4180 file with the fields of the SIM import (contract §4).
    pub fn inventory_csv(&self) -> Vec<u8> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        writer.write_record(INVENTORY_HEADER).expect("writing to memory cannot fail");
        for sim in &self.sims {
            writer.write_record(sim.inventory_row()).expect("writing to memory cannot fail");
        }
        writer.into_inner().expect("flushing to memory cannot fail")
    }
}

const INVENTORY_HEADER: [&str; 16] = [
    "iccid",
    "imsi",
    "msisdn",
    "carrier",
    "mccmnc",
    "rate_plan",
    "included_bytes",
    "price_per_mb",
    "currency",
    "data_limit_bytes",
    "status",
    "device_name",
    "latitude",
    "longitude",
    "location_name",
    "cycle_day",
];

impl Sim {
    fn generate(index: u32, seed: u64, rng: &mut impl Rng) -> Self {
        let carrier = &CARRIERS[rng.random_range(0..CARRIERS.len())];
        let kind = DeviceKind::pick(rng);
        let city = pick_city(carrier, rng);
        let serving = pick_serving(carrier, city, rng);
        let status = match rng.random_range(0..100) {
            0..97 => SimStatus::Active,
            97..99 => SimStatus::Suspended,
            _ => SimStatus::Inactive,
        };
        let cycle_day = match rng.random_range(0..100) {
            0..80 => 1,
            80..88 => 15,
            88..92 => 28,
            92..96 => 31,
            _ => rng.random_range(2..=30),
        };
        Self {
            index,
            iccid: iccid(carrier, index),
            kind,
            carrier,
            serving,
            plan: kind.plan(),
            status,
            city,
            // About ten kilometres around the centre, so that a map shows a cloud and not one dot.
            latitude: city.latitude + rng.random_range(-0.09..0.09),
            longitude: city.longitude + rng.random_range(-0.12..0.12),
            cycle_day,
            appetite: appetite(index, seed),
        }
    }

    /// What it uses in a period of `hours` that begins at `start`.
    pub(crate) fn usage(&self, rng: &mut impl Rng, start: DateTime<Utc>, hours: f64) -> Usage {
        self.kind.usage(rng, start, hours, self.appetite)
    }

    /// 15 digits: home network and subscriber number.
    pub fn imsi(&self) -> String {
        format!("{}{:010}", self.carrier.mccmnc, self.index)
    }

    /// E.164 number.
    pub fn msisdn(&self) -> String {
        format!("+{}7{:09}", self.carrier.country_code, self.index)
    }

    pub fn device_name(&self) -> String {
        format!("{}-{:06}", self.kind.name(), self.index)
    }

    fn inventory_row(&self) -> [String; 16] {
        [
            self.iccid.clone(),
            self.imsi(),
            self.msisdn(),
            self.carrier.name.to_owned(),
            self.carrier.mccmnc.to_owned(),
            self.plan.name.to_owned(),
            self.plan.included_bytes.to_string(),
            self.plan.price_per_mb.to_owned(),
            self.plan.currency.to_owned(),
            self.plan.data_limit_bytes.to_string(),
            self.status.as_str().to_owned(),
            self.device_name(),
            format!("{:.5}", self.latitude),
            format!("{:.5}", self.longitude),
            self.city.name.to_owned(),
            self.cycle_day.to_string(),
        ]
    }
}

fn pick_city(carrier: &Carrier, rng: &mut impl Rng) -> &'static City {
    // One SIM in twenty is abroad: enough to see roaming, few enough to look real.
    let abroad = rng.random_bool(0.05);
    let fits = |city: &&City| (city.country_code != carrier.country_code) == abroad;
    let count = CITIES.iter().filter(fits).count();
    CITIES
        .iter()
        .filter(fits)
        .nth(rng.random_range(0..count))
        .expect("the index is below the number of cities")
}

fn pick_serving(home: &'static Carrier, city: &City, rng: &mut impl Rng) -> &'static Carrier {
    if city.country_code == home.country_code {
        return home;
    }
    let local = |carrier: &&Carrier| carrier.country_code == city.country_code;
    let count = CARRIERS.iter().filter(local).count();
    CARRIERS.iter().filter(local).nth(rng.random_range(0..count)).expect("every country has a carrier")
}

/// From a stream of its own, counted from the end, so that the rest of a fleet does not depend on it.
fn appetite(index: u32, seed: u64) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::MAX - u64::from(index));
    SPREAD[rng.random_range(0..SPREAD.len())]
}

/// ITU-T E.118: 89, country, issuer, account number, check digit.
fn iccid(carrier: &Carrier, index: u32) -> String {
    let body = format!("89{}{}{:012}", carrier.country_code, carrier.issuer, index);
    let digit = luhn_check_digit(&body);
    format!("{body}{digit}")
}

fn luhn_check_digit(body: &str) -> u32 {
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0');
            if place % 2 == 0 { digit * 2 / 10 + digit * 2 % 10 } else { digit }
        })
        .sum();
    (10 - sum % 10) % 10
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_check_digit_is_the_one_of_a_known_number() {
        assert_eq!(luhn_check_digit("7992739871"), 3);
    }

    #[test]
    fn the_same_seed_gives_the_same_fleet_and_another_seed_another() {
        let csv = |seed| Fleet::generate(FleetSpec { sims: 500, seed }).inventory_csv();
        assert_eq!(csv(7), csv(7));
        assert_ne!(csv(7), csv(8));
    }

    #[test]
    fn every_iccid_is_unique_and_has_19_digits_with_a_valid_check_digit() {
        let fleet = Fleet::generate(FleetSpec { sims: 5_000, seed: 1 });
        let mut seen = HashSet::new();
        for sim in fleet.sims() {
            assert_eq!(sim.iccid.len(), 19);
            let (body, digit) = sim.iccid.split_at(18);
            assert_eq!(luhn_check_digit(body).to_string(), digit);
            assert!(seen.insert(&sim.iccid), "{} twice", sim.iccid);
        }
    }

    #[test]
    fn the_inventory_reads_back_as_csv_with_one_row_for_each_sim() {
        let fleet = Fleet::generate(FleetSpec { sims: 200, seed: 3 });
        let bytes = fleet.inventory_csv();
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        assert_eq!(reader.headers().unwrap(), &csv::StringRecord::from(INVENTORY_HEADER.to_vec()));
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 200);
        for (row, sim) in rows.iter().zip(fleet.sims()) {
            assert_eq!(&row[0], sim.iccid);
            assert_eq!(row[1].len(), 15);
            assert!((1..=31).contains(&row[15].parse::<u8>().unwrap()));
        }
    }

    #[test]
    fn a_fleet_has_every_special_cycle_day_and_some_roaming_sims() {
        let fleet = Fleet::generate(FleetSpec { sims: 2_000, seed: 1 });
        let days: HashSet<u8> = fleet.sims().iter().map(|sim| sim.cycle_day).collect();
        assert!([1, 15, 28, 31].iter().all(|day| days.contains(day)));
        assert!(fleet.sims().iter().any(|sim| sim.serving != sim.carrier));
    }

    /// Catches SIMs of a kind that all use the same: none of them would ever come near its limit.
    #[test]
    fn few_sims_use_far_more_than_their_kind_and_together_they_use_what_it_does() {
        let fleet = Fleet::generate(FleetSpec { sims: 4_000, seed: 1 });
        let appetites: Vec<f64> = fleet.sims().iter().map(|sim| sim.appetite).collect();
        let mean = appetites.iter().sum::<f64>() / appetites.len() as f64;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        let large = appetites.iter().filter(|appetite| **appetite > 2.0).count();
        assert!((300..700).contains(&large), "{large}");
    }

    #[test]
    fn a_fleet_of_one_sim_publishes_whatever_its_status_is() {
        for seed in 0..200 {
            assert_eq!(Fleet::generate(FleetSpec { sims: 1, seed }).publishing(), [0]);
        }
    }
}
