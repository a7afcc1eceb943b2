//! From a message to a committed record.

pub mod metrics;
pub mod queue;
pub mod topics;
