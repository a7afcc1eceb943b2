//! What has to hold, and of which measurement.

/// One line of the table.
pub(crate) struct Goal {
    /// The measurement that tells the figure.
    pub(crate) measurement: &'static str,
    pub(crate) key: &'static str,
    pub(crate) what: &'static str,
    pub(crate) bound: Bound,
    pub(crate) unit: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    Below(f64),
    AtMost(f64),
    AtLeast(f64),
    None,
}

impl Bound {
    /// Nothing holds of what is no number.
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::Below(limit) => value < limit,
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::None => value == 0.0,
        }
    }
}

impl Goal {
    pub(crate) fn text(&self) -> String {
        let limit = |word, limit| format!("{word} {limit} {}", self.unit).trim_end().to_owned();
        match self.bound {
            Bound::Below(most) => limit("<", most),
            Bound::AtMost(most) => limit("≤", most),
            Bound::AtLeast(least) => limit("≥", least),
            Bound::None => "none".to_owned(),
        }
    }
}

const fn goal(
    measurement: &'static str,
    key: &'static str,
    what: &'static str,
    bound: Bound,
    unit: &'static str,
) -> Goal {
    Goal { measurement, key, what, bound, unit }
}

#[rustfmt::skip]
pub(crate) const GOALS: [Goal; 19] = [
    goal("ingest", "mqtt_to_bare", "MQTT QoS 1, 50 connections, committed, rollups on, beside the bare loader", Bound::AtLeast(0.6), ""),
    goal("ingest", "half_puback_p50", "PUBACK at half that rate: p50", Bound::Below(10.0), "ms"),
    goal("ingest", "half_puback_p99", "PUBACK at half that rate: p99", Bound::Below(100.0), "ms"),
    // Else everything below it would be of a smaller load.
    goal("sustained", "sustained_rate", "Half rate for 5 minutes: records acknowledged, to those asked for", Bound::AtLeast(0.95), ""),
    goal("sustained", "rollup_lag", "Half rate for 5 minutes: highest age of a batch that no chart shows", Bound::Below(10.0), "s"),
    goal("sustained", "sustained_memory", "Half rate for 5 minutes: highest RSS", Bound::Below(256.0), "MB"),
    goal("sustained", "sustained_puback_p50", "PUBACK in these 5 minutes: p50", Bound::Below(10.0), "ms"),
    goal("sustained", "sustained_puback_p99", "PUBACK in these 5 minutes: p99", Bound::Below(100.0), "ms"),
    goal("connections", "idle_connection", "One of 10,000 idle connections", Bound::Below(10.0), "KB"),
    // "Unchanged", with attackers and attacked on the same two cores.
    goal("connections", "hostile_p99", "PUBACK of others beside hostile clients: p99, to that in quiet", Bound::Below(2.0), ""),
    goal("outage", "outage_lost", "Database stopped for 60 s under load: records lost", Bound::None, "records"),
    goal("outage", "outage_acknowledged", "Database stopped: records acknowledged meanwhile", Bound::None, "records"),
    goal("outage", "outage_memory", "Database stopped: highest RSS", Bound::Below(256.0), "MB"),
    goal("outage", "outage_first", "Database back: first acknowledgement after", Bound::AtMost(5.0), "s"),
    goal("outage", "outage_full_speed", "Database back: full speed after", Bound::AtMost(5.0), "s"),
    goal("api", "consumption_p99", "Consumption endpoints, 10,000,000 records, 100,000 SIMs: p99 of the slowest", Bound::Below(20.0), "ms"),
    goal("api", "consumption_growth", "The same, computed: time with twice the records of the same SIMs and hours, to that with once, where it grew most", Bound::Below(1.5), ""),
    goal("start", "first_start", "First start to first accepted PUBLISH", Bound::Below(5.0), "s"),
    goal("start", "start", "Start with an initialised data directory to first accepted PUBLISH", Bound::Below(1.0), "s"),
];
