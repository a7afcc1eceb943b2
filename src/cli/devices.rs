use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use clap::Subcommand;
use rand::distr::{Alphanumeric, SampleString};

use crate::app::{DEFAULT_TENANT, Database, Owner, StartError};
use crate::broker::auth::hash_password;
use crate::config::Loaded;
use crate::store::Store;

use super::failure::Failure;
use super::table;

/// 24 letters and digits: 142 bits, beyond guessing.
const PASSWORD_LENGTH: usize = 24;
const PAGE: i64 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum DevicesCommand {
    /// Add a user, or give it a new password; the password is read from standard input, or made up and shown once
    Add {
        username: String,
        /// Tenant in whose name it speaks
        #[arg(long, default_value = DEFAULT_TENANT.1)]
        tenant: String,
    },
    /// List users
    List,
    /// Refuse a user from its next connection on
    Revoke { username: String },
}

pub(super) async fn run(command: DevicesCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(command, &database.store).await;
    database.close().await;
    result
}

async fn on(command: DevicesCommand, store: &Store) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    match command {
        DevicesCommand::Add { username, tenant } => add(store, &username, &tenant).await,
        DevicesCommand::List => list(store).await,
        DevicesCommand::Revoke { username } => {
            if !store.revoke_mqtt_credential(&username).await? {
                return Err(Failure::new(1, format!("there is no user `{username}`")));
            }
            println!("`{username}` is refused from its next connection on");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn add(store: &Store, username: &str, tenant: &str) -> Result<ExitCode, Failure> {
    let given = given_password()?;
    let made_up = given.is_none();
    let password = given.unwrap_or_else(|| Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH));
    let hash = hash_password(&password).map_err(StartError::from)?;
    if !store.save_mqtt_credential(username, tenant, &hash).await? {
        return Err(Failure::new(1, format!("there is no tenant `{tenant}`")));
    }
    if made_up {
        println!("password of `{username}`, shown this once: {password}");
    } else {
        println!("`{username}` may connect");
    }
    Ok(ExitCode::SUCCESS)
}

/// The first line of standard input, unless a person sits there.
fn given_password() -> Result<Option<String>, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(None);
    }
    let mut line = String::new();
    stdin
        .lock()
        .read_line(&mut line)
        .map_err(|e| Failure::new(2, format!("cannot read the password: {e}")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    Ok((!password.is_empty()).then(|| password.to_owned()))
}

async fn list(store: &Store) -> Result<ExitCode, Failure> {
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let page = store.list_mqtt_credentials(&after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.username);
        rows.extend(page.into_iter().map(|user| {
            let state = if user.enabled { "enabled" } else { "revoked" };
            vec![user.username, user.tenant_name, state.into(), user.created_at.format("%F %T").to_string()]
        }));
    }
    table::print(&["USER", "TENANT", "STATE", "SINCE (UTC)"], &rows);
    Ok(ExitCode::SUCCESS)
}
