//! One look at every account of a panel.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::stream;
use reqwest::header::{HeaderName, HeaderValue};
use thiserror::Error;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::ingest::queue::IngestQueue;
use crate::source::readings::{DeliveryError, Readings};
use crate::store::StoreError;

use super::PanelSource;
use super::count::{Counted, Read};
use super::fetch::{FetchFault, Fetched};
use super::figures::{Figure, ListPlace};
use super::notes::{Notes, Trouble};
use crate::source::turns::{LEASE, lease_is_lost};

/// Accounts that are stored together: a kill, or the end of the time, reads no more than these again.
const STORED_TOGETHER: usize = 200;
/// Nothing more is asked for after so long, so that what was answered is stored within the time of a run.
const ASK_LIMIT: Duration = Duration::from_secs(540);
/// After so many accounts in a row without an answer the panel counts as away; each had its retries.
const AWAY_AFTER: usize = 3;
/// For so long a single look waits for one that runs, which may take long, and for the lease of one that died.
const LEASE_PATIENCE: Duration = Duration::from_secs(30);
const LEASE_LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why a look did not reach its end.
#[derive(Debug, Error)]
pub(super) enum LookFault {
    #[error("{text}")]
    Panel {
        text: String,
        /// For how long it wants to be left alone.
        wait: Option<Duration>,
    },
    #[error(transparent)]
    Store(StoreError),
    #[error("there was no time to read all accounts; the next run goes on from there")]
    TooLong,
    #[error("another instance took over")]
    TakenOver,
    /// simbridge is.
    #[error("stopped")]
    Stopped,
}

impl LookFault {
    fn panel(text: impl Into<String>) -> Self {
        Self::Panel { text: text.into(), wait: None }
    }

    pub(super) fn wait(&self) -> Option<Duration> {
        match self {
            Self::Panel { wait, .. } => *wait,
            _ => None,
        }
    }
}

impl From<FetchFault> for LookFault {
    fn from(fault: FetchFault) -> Self {
        let wait = match &fault {
            FetchFault::Wait(_, wait) => Some(*wait),
            _ => None,
        };
        Self::Panel { text: fault.text().into(), wait }
    }
}

impl From<StoreError> for LookFault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<DeliveryError> for LookFault {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Store(error) => Self::Store(error),
            DeliveryError::Stopped => Self::Stopped,
        }
    }
}

/// Why a single account was not looked at.
#[derive(Debug, Error)]
pub(crate) enum SyncFault {
    #[error("`.` and `..` are no accounts of an address")]
    NoAddress,
    #[error("{0}")]
    Panel(String),
    #[error("no usage is found in the answer: {0}")]
    NoFigure(String),
    #[error("the panel asked to be left alone until {}", .0.format("%F %T UTC"))]
    Waits(DateTime<Utc>),
    #[error("another instance reads the panel; try again when it is done")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LookFault> for SyncFault {
    fn from(fault: LookFault) -> Self {
        match fault {
            LookFault::Store(error) => Self::Store(error),
            other => Self::Panel(other.to_string()),
        }
    }
}

type Header = Option<(HeaderName, HeaderValue)>;

impl PanelSource {
    /// Reads every account and stores what is news. At `soft` nothing more is asked for, and what was answered is stored.
    pub(super) async fn look(&self, queue: &IngestQueue, soft: &CancellationToken) -> Result<(), LookFault> {
        let auth = self.options.auth.header().map_err(|why| LookFault::panel(format!("auth_file: {why}")))?;
        let readings = self.readings(queue);
        let mut notes = self.notes.lock().await;
        let ended = match &self.options.list {
            Some(place) => self.look_at_list(place, &auth, &readings, &mut notes, soft).await,
            None => self.look_at_each(&auth, &readings, &mut notes, soft).await,
        };
        notes.end(self.state.name());
        self.state.accounts_in_trouble(notes.troubled());
        ended
    }

    async fn look_at_list(
        &self,
        place: &ListPlace,
        auth: &Header,
        readings: &Readings,
        notes: &mut Notes,
        soft: &CancellationToken,
    ) -> Result<(), LookFault> {
        let (asked_at, mut listed) = tokio::select! {
            biased;
            () = soft.cancelled() => return Err(LookFault::Stopped),
            listed = self.fetch_list(place, auth) => listed?,
        };
        let meant = &self.options.accounts;
        if !meant.is_empty() {
            listed.retain(|account, _| meant.binary_search(account).is_ok());
            for account in meant {
                listed.entry(account.clone()).or_insert_with(|| Err("the account is not in it".into()));
            }
        }
        notes.begin(|account| listed.contains_key(account));
        let mut read = Vec::new();
        for (account, figure) in listed {
            self.take(account, Ok(Fetched { asked_at, taken: figure }), &mut read, notes)?;
        }
        while !read.is_empty() {
            let rest = read.split_off(read.len().min(STORED_TOGETHER));
            self.count(std::mem::replace(&mut read, rest), readings, notes).await?;
        }
        Ok(())
    }

    async fn fetch_list(
        &self,
        place: &ListPlace,
        auth: &Header,
    ) -> Result<(DateTime<Utc>, BTreeMap<String, Result<Figure, String>>), LookFault> {
        let options = &self.options;
        let url = options.endpoint.of_all().ok_or_else(|| LookFault::panel("the address cannot be used"))?;
        let read = |answer: &_| place.read(answer, &options.mapping, options.max_accounts);
        let Fetched { asked_at, taken } = self.fetcher.get(&url, auth.as_ref(), read).await?;
        let listed = taken.map_err(LookFault::panel)?;
        if listed.nameless > 0 {
            let why =
                format!("{} elements of the list have no account at `{}`", listed.nameless, place.account);
            if self.state.fault(&why) {
                warn!(source = self.state.name(), "{why}");
            }
        }
        Ok((asked_at, listed.accounts))
    }

    async fn look_at_each(
        &self,
        auth: &Header,
        readings: &Readings,
        notes: &mut Notes,
        soft: &CancellationToken,
    ) -> Result<(), LookFault> {
        let accounts = self.accounts(notes).await?;
        let (mut read, mut away) = (Vec::new(), 0);
        let away_after = AWAY_AFTER.min(accounts.len());
        let mut answers = pin!(
            stream::iter(accounts)
                .map(|account| async move {
                    let answer = self.ask(&account, auth).await;
                    (account, answer)
                })
                .buffer_unordered(self.options.max_concurrent)
        );
        let until = Instant::now() + ASK_LIMIT;
        let (mut ended, mut reached) = (Ok(()), None);
        loop {
            let next = tokio::select! {
                biased;
                () = soft.cancelled() => {
                    ended = Err(LookFault::Stopped);
                    break;
                }
                () = sleep_until(until) => {
                    ended = Err(LookFault::TooLong);
                    break;
                }
                next = answers.next() => next,
            };
            let Some((account, answer)) = next else { break };
            away = if matches!(answer, Err(FetchFault::Away(_))) { away + 1 } else { 0 };
            let last = answer.as_ref().err().map(|fault| fault.text().to_owned());
            if let Err(fault) = self.take(account.clone(), answer, &mut read, notes) {
                ended = Err(fault);
                break;
            }
            if away == away_after {
                ended = Err(LookFault::panel(last.unwrap_or_default()));
                break;
            }
            if read.len() >= STORED_TOGETHER {
                self.count(std::mem::take(&mut read), readings, notes).await?;
                notes.reached = Some(account.clone());
            }
            reached = Some(account);
        }
        self.count(read, readings, notes).await?;
        notes.reached = reached.filter(|_| ended.is_err());
        ended
    }

    /// The accounts that are asked for, beginning behind the one that an earlier look got to.
    async fn accounts(&self, notes: &mut Notes) -> Result<Vec<String>, LookFault> {
        let options = &self.options;
        let mut accounts = options.accounts.clone();
        if accounts.is_empty() {
            let named = self.store.accounts_of_source(
                options.tenant,
                self.state.name(),
                options.max_accounts.saturating_add(1),
            );
            accounts = named.await?;
        }
        if accounts.is_empty() {
            return Err(LookFault::panel(format!(
                "no account is named for it: `accounts`, or `simbridge accounts set ACCOUNT --iccid ICCID --source {}`",
                self.state.name()
            )));
        }
        if accounts.len() > options.max_accounts {
            return Err(LookFault::panel(format!(
                "more than {} accounts are named for it",
                options.max_accounts
            )));
        }
        accounts.sort_unstable();
        notes.begin(|account| accounts.binary_search_by(|held| held.as_str().cmp(account)).is_ok());
        if let Some(reached) = &notes.reached {
            let behind = accounts.partition_point(|account| account <= reached);
            accounts.rotate_left(behind);
        }
        Ok(accounts)
    }

    async fn ask(&self, account: &str, auth: &Header) -> Result<Fetched<Result<Figure, String>>, FetchFault> {
        let Some(url) = self.options.endpoint.of(account) else {
            return Err(FetchFault::Asked(SyncFault::NoAddress.to_string()));
        };
        self.fetcher.get(&url, auth.as_ref(), |answer| self.options.mapping.figure(answer)).await
    }

    /// Adds an answer to what was read; an error when no other account will be answered.
    fn take(
        &self,
        account: String,
        answer: Result<Fetched<Result<Figure, String>>, FetchFault>,
        read: &mut Vec<Read>,
        notes: &mut Notes,
    ) -> Result<(), LookFault> {
        let source = self.state.name();
        match answer {
            Ok(Fetched { asked_at, taken: Ok(figure) }) => read.push(Read { account, asked_at, figure }),
            Ok(Fetched { taken: Err(why), .. }) => {
                notes.trouble(source, &account, Trouble::Missing, &why);
            }
            Err(fault @ (FetchFault::Refused(_) | FetchFault::Wait(..))) => return Err(fault.into()),
            Err(FetchFault::Away(why) | FetchFault::Asked(why)) => {
                self.state.fault(&format!("an account: {why}"));
                notes.trouble(source, &account, Trouble::Unanswered, &why);
            }
        }
        Ok(())
    }

    /// Looks at one account now, beside the schedule and never while another look runs.
    ///
    /// # Errors
    /// [`SyncFault`]
    pub(crate) async fn sync_one(&self, queue: &IngestQueue, account: &str) -> Result<Counted, SyncFault> {
        self.take_lease_by_hand().await?;
        let looked = tokio::select! {
            looked = self.look_at_one(queue, account) => looked,
            () = lease_is_lost(&self.store, &self.lease) => Err(SyncFault::Busy),
        };
        self.store.finish_source_lease(&self.lease, &Default::default()).await?;
        looked
    }

    async fn take_lease_by_hand(&self) -> Result<(), SyncFault> {
        let deadline = Instant::now() + LEASE_PATIENCE;
        while !self.store.take_source_lease(&self.lease, LEASE, None).await? {
            if let Some(until) = self.store.source_lease(&self.lease.source).await?.wait_until {
                return Err(SyncFault::Waits(until));
            }
            if Instant::now() >= deadline {
                return Err(SyncFault::Busy);
            }
            tokio::time::sleep(LEASE_LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn look_at_one(&self, queue: &IngestQueue, account: &str) -> Result<Counted, SyncFault> {
        let auth = self.options.auth.header().map_err(|why| SyncFault::Panel(format!("auth_file: {why}")))?;
        let (asked_at, figure) = match &self.options.list {
            Some(place) => {
                let (asked_at, mut listed) = self.fetch_list(place, &auth).await?;
                let none = || Err("the account is not in it".into());
                (asked_at, listed.remove(account).unwrap_or_else(none))
            }
            None => {
                let Fetched { asked_at, taken } = self.ask(account, &auth).await.map_err(LookFault::from)?;
                (asked_at, taken)
            }
        };
        let figure = figure.map_err(SyncFault::NoFigure)?;
        let read = Read { account: account.to_owned(), asked_at, figure };
        let mut notes = Notes::default();
        let counted = self.count(vec![read], &self.readings(queue), &mut notes).await;
        let mut counted = counted.map_err(LookFault::from)?;
        Ok(counted.pop().expect("one entry for each that was read"))
    }
}
