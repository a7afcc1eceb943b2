use std::fmt;

/// Why a record was parked instead of stored. The code is stable: it is a metric label, a column and what operators
/// filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectionCode {
    /// Not JSON at all, or JSON nested too deeply.
    Malformed,
    /// JSON, but not a usage record: one or more fields are at fault.
    Invalid,
    /// The payload names another ICCID than the topic.
    IccidMismatch,
    /// The same ICCID and `recordId` were already stored with other content.
    Conflict,
    /// A correction or a negative amount from a sender without `usage:correct`, or another SIM's record from a device.
    NotPermitted,
    /// A correction that names no stored record, or would make one negative.
    BadCorrection,
    /// Lies below the moment of which raw records are kept.
    TooOld,
    /// An array or batch with more records than allowed.
    TooManyRecords,
    /// A source read an account that stands for no SIM.
    UnknownAccount,
    /// PostgreSQL refused the row although it passed validation.
    RefusedByDatabase,
}

impl RejectionCode {
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Invalid,
        Self::IccidMismatch,
        Self::Conflict,
        Self::NotPermitted,
        Self::BadCorrection,
        Self::TooOld,
        Self::TooManyRecords,
        Self::UnknownAccount,
        Self::RefusedByDatabase,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::IccidMismatch => "iccid_mismatch",
            Self::Conflict => "conflict",
            Self::NotPermitted => "not_permitted",
            Self::BadCorrection => "bad_correction",
            Self::TooOld => "too_old",
            Self::TooManyRecords => "too_many_records",
            Self::UnknownAccount => "unknown_account",
            Self::RefusedByDatabase => "refused_by_database",
        }
    }
}

/// One thing that is wrong with one field, in words a device developer can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// Path of the field as the sender wrote it, for example `usage.totalBytes`; empty for the record as a whole.
    pub field: &'static str,
    pub message: String,
}

/// All that is wrong with one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub code: RejectionCode,
    pub faults: Vec<FieldFault>,
}

impl Rejection {
    pub fn new(code: RejectionCode, field: &'static str, message: impl Into<String>) -> Self {
        Self { code, faults: vec![FieldFault { field, message: message.into() }] }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.faults.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            if fault.field.is_empty() {
                f.write_str(&fault.message)?;
            } else {
                write!(f, "{}: {}", fault.field, fault.message)?;
            }
        }
        Ok(())
    }
}
