//! What brings records in, beside the embedded broker.

pub mod file;
