//! Using the private PostgreSQL of another simbridge that runs on the same data directory.

use std::path::Path;
use std::time::Duration;

use tokio_postgres::Config;

use super::account::Account;
use super::cluster::{self, Layout};
use super::postmaster::{self, LeftBehind};
use super::{DATABASE, EmbeddedError, SUPERUSER};

/// The owner may be starting it at this moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to connect to the server that runs on `data_dir`; `None` when none does. The server stays its owner's: nothing is
/// started or stopped here.
///
/// # Errors
/// [`EmbeddedError`] when the directory cannot be read.
pub async fn running(data_dir: &Path) -> Result<Option<Config>, EmbeddedError> {
    if !data_dir.exists() {
        return Ok(None);
    }
    let layout = Layout::open(data_dir)?;
    if layout.major()?.is_none() {
        return Ok(None);
    }
    let account = Account::choose(&layout.cluster)?;
    let password = cluster::password(&layout, &account, true)?;
    match postmaster::find(&layout, PATIENCE).await {
        LeftBehind::Answers { socket_dir, .. } => {
            let mut config = Config::new();
            config.host_path(&socket_dir).user(SUPERUSER).password(&password).dbname(DATABASE);
            Ok(Some(config))
        }
        _ => Ok(None),
    }
}
