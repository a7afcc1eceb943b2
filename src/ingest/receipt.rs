use chrono::{DateTime, Utc};

use crate::domain::Rejection;

/// The way by which a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// The embedded broker.
    Mqtt,
    /// A broker of others.
    Source,
    /// POST of a record or a batch.
    Http,
    /// `import` of a file.
    File,
    /// `quarantine replay`.
    Replay,
}

impl Via {
    pub(crate) const ALL: [Self; 5] = [Self::Mqtt, Self::Source, Self::Http, Self::File, Self::Replay];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Source => "source",
            Self::Http => "http",
            Self::File => "file",
            Self::Replay => "replay",
        }
    }
}

/// What became of one record. Reported only after the transaction that decided it was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordStatus {
    Stored {
        processed_at: DateTime<Utc>,
    },
    /// The same record was stored before, at `processed_at`.
    Duplicate {
        processed_at: DateTime<Utc>,
    },
    /// In the quarantine, with the reason.
    Parked(Rejection),
}

/// The outcome of one record of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordReceipt {
    /// `None` when the payload did not even say.
    pub record_id: Option<String>,
    pub status: RecordStatus,
}

/// The outcome of a message: one entry for each record that it carried, in the payload's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// `batchId` of a batch payload.
    pub batch_id: Option<String>,
    pub records: Vec<RecordReceipt>,
}
