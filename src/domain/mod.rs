//! What a usage record is, before anything is known about how it arrived or where it is kept.

mod clock;
mod counter;
mod iccid;
pub mod moment;
mod permission;
mod record;
mod rejection;
pub mod settings;
mod topic_rule;

pub use clock::Clock;
pub use counter::{CounterPlace, CounterReading};
pub use iccid::Iccid;
pub use permission::{API_KEY_PREFIX, Permission, PermissionPattern, UnknownPermission};
pub use record::{
    Amounts, CounterSample, Fingerprint, MAX_AMOUNT, ParkedRecord, Provenance, RecordKey, TenantId, Usage,
    UsageRecord,
};
pub use rejection::{FieldFault, Rejection, RejectionCode};
pub use settings::Setting;
pub use topic_rule::{TopicNames, TopicRule, TopicRuleError};
