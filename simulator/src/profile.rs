use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use rand::{Rng, RngExt};

use crate::catalog::{METERING, PAYMENT, ROUTER, RatePlan, TRACKING, VIDEO};
use crate::record::Usage;

/// What the SIM is built into; decides how much it uses and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    Meter,
    Tracker,
    Camera,
    Router,
    PaymentTerminal,
}

/// Weights by local hour. Their mean is about 1, so that `bytes_per_hour` is the mean of a working day.
type DayShape = [f64; 24];

const ALL_DAY: DayShape = [1.0; 24];
const WORKING_HOURS: DayShape = [
    0.3, 0.2, 0.2, 0.2, 0.3, 0.6, 1.2, 1.7, 1.8, 1.7, 1.6, 1.6, 1.4, 1.5, 1.6, 1.7, 1.8, 1.6, 1.1, 0.7, 0.5,
    0.4, 0.3, 0.3,
];
const NIGHT_WATCH: DayShape = [
    1.8, 1.8, 1.8, 1.7, 1.6, 1.3, 0.9, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7, 0.9, 1.1, 1.3, 1.5,
    1.7, 1.8, 1.8,
];
const EVENING: DayShape = [
    0.7, 0.4, 0.3, 0.2, 0.2, 0.3, 0.5, 0.8, 0.9, 0.9, 0.9, 1.0, 1.1, 1.0, 1.0, 1.1, 1.2, 1.4, 1.7, 2.0, 2.1,
    1.9, 1.5, 1.0,
];
const SHOP_HOURS: DayShape = [
    0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.8, 1.4, 1.7, 1.9, 2.1, 2.2, 1.9, 1.7, 1.7, 1.9, 2.1, 1.9, 1.3, 0.6,
    0.3, 0.2, 0.1,
];

/// Sixteen quantiles of a log-normal distribution (sigma 0.8), scaled to mean 1. A table and not `exp`, because
/// the last digit of `exp` differs between platforms and the fleet must not.
pub(crate) const SPREAD: [f64; 16] = [
    0.164, 0.254, 0.325, 0.392, 0.460, 0.530, 0.606, 0.689, 0.784, 0.892, 1.020, 1.178, 1.383, 1.672, 2.146,
    3.505,
];

struct Profile {
    bytes_per_hour: f64,
    day: &'static DayShape,
    weekend: f64,
    upload_share: f64,
    sms_chance: f64,
    voice_chance: f64,
}

impl Profile {
    /// Mean weight of the hours of a period.
    fn weight(&self, start: DateTime<Utc>, hours: f64) -> f64 {
        // A week has every weight there is.
        let count = (hours.ceil() as i64).clamp(1, 7 * 24);
        (0..count).map(|hour| self.weight_of_hour(start + TimeDelta::hours(hour))).sum::<f64>() / count as f64
    }

    fn weight_of_hour(&self, at: DateTime<Utc>) -> f64 {
        // The catalogue's cities all lie in Central European Time; an hour of summer time does not matter to a shape.
        let local_hour = (at.hour() as usize + 1) % 24;
        let weekend = if at.weekday().num_days_from_monday() >= 5 { self.weekend } else { 1.0 };
        self.day[local_hour] * weekend
    }
}

impl DeviceKind {
    /// Weighted like a utility's fleet: many meters and trackers, few routers.
    pub(crate) fn pick(rng: &mut impl Rng) -> Self {
        match rng.random_range(0..100) {
            0..40 => Self::Meter,
            40..70 => Self::Tracker,
            70..80 => Self::Camera,
            80..88 => Self::Router,
            _ => Self::PaymentTerminal,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Meter => "meter",
            Self::Tracker => "tracker",
            Self::Camera => "camera",
            Self::Router => "router",
            Self::PaymentTerminal => "terminal",
        }
    }

    pub(crate) fn plan(self) -> &'static RatePlan {
        match self {
            Self::Meter => &METERING,
            Self::Tracker => &TRACKING,
            Self::Camera => &VIDEO,
            Self::Router => &ROUTER,
            Self::PaymentTerminal => &PAYMENT,
        }
    }

    fn profile(self) -> Profile {
        let profile = |bytes_per_hour, day, weekend, upload_share, sms_chance, voice_chance| Profile {
            bytes_per_hour,
            day,
            weekend,
            upload_share,
            sms_chance,
            voice_chance,
        };
        match self {
            Self::Meter => profile(60e3, &ALL_DAY, 1.0, 0.85, 0.01, 0.0),
            Self::Tracker => profile(350e3, &WORKING_HOURS, 0.35, 0.80, 0.02, 0.0),
            Self::Camera => profile(28e6, &NIGHT_WATCH, 1.2, 0.95, 0.005, 0.0),
            Self::Router => profile(140e6, &EVENING, 1.3, 0.12, 0.0, 0.04),
            Self::PaymentTerminal => profile(120e3, &SHOP_HOURS, 0.6, 0.45, 0.0, 0.0),
        }
    }

    /// What this device uses in a period of `hours` that begins at `start`, when it uses `appetite` times what its kind does.
    pub(crate) fn usage(self, rng: &mut impl Rng, start: DateTime<Utc>, hours: f64, appetite: f64) -> Usage {
        let profile = self.profile();
        let spread = SPREAD[rng.random_range(0..SPREAD.len())] * rng.random_range(0.9..1.1);
        let total = profile.bytes_per_hour * hours * profile.weight(start, hours) * spread * appetite;
        let total_bytes = (total as u64).min(crate::record::MAX_AMOUNT);
        let data_upload_bytes = (total_bytes as f64 * profile.upload_share) as u64;
        Usage {
            total_bytes,
            data_upload_bytes,
            data_download_bytes: total_bytes - data_upload_bytes,
            sms_count: if rng.random_bool(profile.sms_chance) { rng.random_range(1..=3) } else { 0 },
            voice_seconds: if rng.random_bool(profile.voice_chance) { rng.random_range(5..=600) } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn mean_bytes(kind: DeviceKind, start: DateTime<Utc>) -> u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        (0..2_000).map(|_| kind.usage(&mut rng, start, 1.0, 1.0).total_bytes).sum::<u64>() / 2_000
    }

    #[test]
    fn a_payment_terminal_is_busy_at_noon_and_quiet_at_night_and_at_the_weekend() {
        let at = |day, hour| Utc.with_ymd_and_hms(2026, 11, day, hour, 0, 0).unwrap();
        let (friday_noon, friday_night, sunday_noon) = (at(20, 11), at(20, 2), at(22, 11));
        let kind = DeviceKind::PaymentTerminal;
        assert!(mean_bytes(kind, friday_noon) > 10 * mean_bytes(kind, friday_night));
        assert!(mean_bytes(kind, friday_noon) > mean_bytes(kind, sunday_noon));
    }

    #[test]
    fn upload_and_download_add_up_to_the_total_for_every_kind() {
        let start = Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..1_000 {
            let usage = DeviceKind::pick(&mut rng).usage(&mut rng, start, 0.25, 1.0);
            assert_eq!(usage.data_upload_bytes + usage.data_download_bytes, usage.total_bytes);
        }
    }

    /// Catches a period that is weighed by its first hour, which would make whole days of nights.
    #[test]
    fn a_day_weighs_as_much_as_its_hours() {
        let start = Utc.with_ymd_and_hms(2026, 11, 20, 0, 0, 0).unwrap();
        let profile = DeviceKind::PaymentTerminal.profile();
        let hours = (0..24).map(|hour| profile.weight(start + TimeDelta::hours(hour), 1.0)).sum::<f64>();
        assert!((profile.weight(start, 24.0) * 24.0 - hours).abs() < 1e-9);
        assert!(profile.weight(start, 24.0) > 5.0 * profile.weight(start, 1.0));
    }

    #[test]
    fn the_spread_keeps_the_mean() {
        let mean = SPREAD.iter().sum::<f64>() / SPREAD.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
    }
}
