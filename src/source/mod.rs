//! What brings records in, beside the embedded broker.

pub mod file;
pub mod metrics;
pub mod mqtt;
