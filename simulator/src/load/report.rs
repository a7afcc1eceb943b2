use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Shared;
use super::connection::Outcome;

/// What a load run measured. Times are milliseconds, rates are per second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    pub connections: u32,
    pub window: u16,
    pub qos: u8,
    pub records_per_message: u64,
    pub seconds: f64,
    pub messages_sent: u64,
    pub messages_acked: u64,
    pub records_acked: u64,
    /// Of the acknowledged, those that MQTT 5 answered with a reason of 0x80 or more (parked records, for example).
    pub messages_answered_with_error: u64,
    pub messages_unacknowledged: u64,
    pub connections_lost: u64,
    /// The first reason why a connection was lost.
    pub first_loss: Option<String>,
    pub messages_per_second: f64,
    pub records_per_second: f64,
    pub latency_ms: LatencyMs,
    /// CPU of this process in cores; `None` where the system does not tell.
    pub client_cores: Option<f64>,
    /// The client used nearly all CPU that it can use: the broker might do more.
    pub client_bound: bool,
}

/// From the moment a message was due to its last acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencyMs {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl LoadReport {
    pub(crate) fn new(
        shared: &Shared,
        outcomes: &[Outcome],
        started: Instant,
        cpu: Option<Duration>,
    ) -> Self {
        let options = &shared.options;
        let total = |count: fn(&Outcome) -> u64| outcomes.iter().map(count).sum::<u64>();
        let ended = outcomes.iter().map(|outcome| outcome.last_progress).max().unwrap_or(started);
        let seconds = ended.duration_since(started).as_secs_f64().max(0.001);
        let messages_sent = total(|outcome| outcome.sent);
        let messages_acked = total(|outcome| outcome.acked);
        // QoS 0 has no acknowledgement: what was written is all that can be known.
        let finished = if options.qos == 0 { messages_sent } else { messages_acked };
        let per_message = shared.template.records_per_message();
        let latencies = shared.merged_latencies();
        let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        let client_cores = cpu.map(|cpu| cpu.as_secs_f64() / started.elapsed().as_secs_f64().max(0.001));
        let workers = tokio::runtime::Handle::current().metrics().num_workers() as f64;
        Self {
            connections: options.connections,
            window: options.window,
            qos: options.qos,
            records_per_message: per_message,
            seconds,
            messages_sent,
            messages_acked,
            records_acked: messages_acked * per_message,
            messages_answered_with_error: total(|outcome| outcome.answered_with_error),
            messages_unacknowledged: if options.qos == 0 { 0 } else { messages_sent - messages_acked },
            connections_lost: outcomes.iter().filter(|outcome| outcome.lost.is_some()).count() as u64,
            first_loss: outcomes.iter().find_map(|outcome| outcome.lost.as_ref()).map(ToString::to_string),
            messages_per_second: finished as f64 / seconds,
            records_per_second: (finished * per_message) as f64 / seconds,
            latency_ms: LatencyMs {
                p50: ms(0.5),
                p90: ms(0.9),
                p99: ms(0.99),
                p999: ms(0.999),
                max: latencies.max() as f64 / 1000.0,
            },
            client_cores,
            client_bound: client_cores.is_some_and(|cores| cores > 0.85 * workers),
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.latency_ms;
        writeln!(
            f,
            "{} connections, window {}, QoS {}, {} record(s) per message, {:.1} s",
            self.connections, self.window, self.qos, self.records_per_message, self.seconds
        )?;
        let what = if self.qos == 0 { "written" } else { "acknowledged" };
        writeln!(f, "  messages {what:<13} {:>12.0} /s", self.messages_per_second)?;
        writeln!(f, "  records {what:<14} {:>12.0} /s", self.records_per_second)?;
        writeln!(f, "  messages sent          {:>12}", self.messages_sent)?;
        writeln!(f, "  messages acknowledged  {:>12}", self.messages_acked)?;
        writeln!(f, "    with an error reason {:>12}", self.messages_answered_with_error)?;
        writeln!(f, "  unacknowledged         {:>12}", self.messages_unacknowledged)?;
        writeln!(f, "  connections lost       {:>12}", self.connections_lost)?;
        if let Some(loss) = &self.first_loss {
            writeln!(f, "    first reason: {loss}")?;
        }
        if self.qos > 0 {
            writeln!(
                f,
                "  latency ms   p50 {:.1}   p90 {:.1}   p99 {:.1}   p99.9 {:.1}   max {:.1}",
                latency.p50, latency.p90, latency.p99, latency.p999, latency.max
            )?;
        }
        if let Some(cores) = self.client_cores {
            writeln!(f, "  CPU of this client     {cores:>12.2} cores")?;
        }
        if self.client_bound {
            writeln!(
                f,
                "  WARNING: this client used nearly all its CPU; the broker may be faster than shown"
            )?;
        }
        Ok(())
    }
}
