//! What sources of RADIUS count beside what all sources do.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DropLabel {
    source: String,
    reason: &'static str,
}

/// Why a datagram was not answered.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) enum DropReason {
    UnknownClient,
    WrongSecret,
    Malformed,
    Overload,
    RefusedByDatabase,
}

impl DropReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::UnknownClient => "unknown_client",
            Self::WrongSecret => "wrong_secret",
            Self::Malformed => "malformed",
            Self::Overload => "overload",
            Self::RefusedByDatabase => "refused_by_database",
        }
    }
}

/// Metrics of all sources of RADIUS.
#[derive(Debug, Default)]
pub(crate) struct RadiusMetrics {
    dropped: Family<DropLabel, Counter>,
    duplicates: Family<SourceLabel, Counter>,
    unknown_accounts: Family<SourceLabel, Counter>,
    without_usage: Family<SourceLabel, Counter>,
    clocks_ignored: Family<SourceLabel, Counter>,
}

/// Those of one source.
#[derive(Clone, Debug)]
pub(crate) struct RadiusCounts {
    source: String,
    dropped: Family<DropLabel, Counter>,
    pub(super) duplicates: Counter,
    pub(super) unknown_accounts: Counter,
    pub(super) without_usage: Counter,
    pub(super) clocks_ignored: Counter,
}

impl RadiusMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("radius");
        registry.register(
            "datagrams_dropped",
            "Datagrams that were not answered, by reason",
            self.dropped.clone(),
        );
        registry.register(
            "duplicates",
            "Requests that came again within the memory for them",
            self.duplicates.clone(),
        );
        registry.register(
            "unknown_accounts",
            "Requests whose account stands for no SIM",
            self.unknown_accounts.clone(),
        );
        registry.register(
            "requests_without_usage",
            "Requests answered without a record: a beginning or end, idle, late or repeated",
            self.without_usage.clone(),
        );
        registry.register(
            "clocks_ignored",
            "Requests whose Event-Timestamp cannot be; the time of arrival counted",
            self.clocks_ignored.clone(),
        );
    }

    pub(crate) fn of(&self, source: &str) -> RadiusCounts {
        let label = SourceLabel { source: source.into() };
        RadiusCounts {
            source: source.into(),
            dropped: self.dropped.clone(),
            duplicates: self.duplicates.get_or_create(&label).clone(),
            unknown_accounts: self.unknown_accounts.get_or_create(&label).clone(),
            without_usage: self.without_usage.get_or_create(&label).clone(),
            clocks_ignored: self.clocks_ignored.get_or_create(&label).clone(),
        }
    }
}

impl RadiusCounts {
    pub(super) fn dropped(&self, reason: DropReason) {
        let label = DropLabel { source: self.source.clone(), reason: reason.as_str() };
        self.dropped.get_or_create(&label).inc();
    }
}
