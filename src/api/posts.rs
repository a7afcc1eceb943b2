//! The way of posted records into the pipeline.

use std::sync::{Arc, Mutex, PoisonError};

use crate::ingest::queue::IngestQueue;

/// The queue's sending side, until the soft stop. The writers end when nobody holds the queue any more, so requests take
/// it for as long as they hand something over and no longer.
#[derive(Clone)]
pub(crate) struct Posts(Arc<Mutex<Option<IngestQueue>>>);

impl Posts {
    pub(crate) fn new(queue: IngestQueue) -> Self {
        Self(Arc::new(Mutex::new(Some(queue))))
    }

    /// `None` from the soft stop on.
    pub(crate) fn queue(&self) -> Option<IngestQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing more is taken.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
