use std::collections::HashMap;
use std::process::ExitCode;

use chrono::TimeDelta;
use clap::Subcommand;

use crate::api::{LimitClass, hash_key, make_key};
use crate::app::{DEFAULT_TENANT, Database, Owner, StartError};
use crate::config::Loaded;
use crate::domain::{Clock, PermissionPattern};
use crate::store::Store;
use crate::store::api_keys::ApiKeySummary;

use super::failure::Failure;
use super::table::{self, printable};

const PAGE: i64 = 1_000;
/// Days that `keys list` sums up.
const USED_IN_DAYS: i64 = 30;

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key and show it, this once; only its SHA-256 is kept
    Create {
        /// What it is for; unique for the tenant
        name: String,
        /// Tenant in whose name it speaks
        #[arg(long, default_value = DEFAULT_TENANT.1)]
        tenant: String,
        /// What it may do, such as usage:write or consumption:*; give it once for each
        #[arg(long = "permission", required = true, value_name = "PERMISSION")]
        permissions: Vec<PermissionPattern>,
        /// Requests a minute of a class, such as usage_batch=60; 0 for no limit [default: what is configured]
        #[arg(long = "limit", value_name = "CLASS=NUMBER", value_parser = limit)]
        limits: Vec<(&'static str, u32)>,
    },
    /// List keys with what they were used for in the last 30 days
    List,
    /// Show what a key was used for, from where, newest first
    Uses {
        name: String,
        #[arg(long, default_value = DEFAULT_TENANT.1)]
        tenant: String,
    },
    /// Refuse a key for good, within seconds
    Revoke {
        name: String,
        #[arg(long, default_value = DEFAULT_TENANT.1)]
        tenant: String,
    },
}

fn limit(text: &str) -> Result<(&'static str, u32), String> {
    let classes = LimitClass::ALL.map(LimitClass::as_str);
    let wrong = || format!("CLASS=NUMBER with one of the classes {}", classes.join(", "));
    let (class, number) = text.split_once('=').ok_or_else(wrong)?;
    let class = classes.into_iter().find(|known| *known == class).ok_or_else(wrong)?;
    Ok((class, number.parse().map_err(|_| wrong())?))
}

pub(super) async fn run(command: KeysCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(command, &database.store).await;
    database.close().await;
    result
}

async fn on(command: KeysCommand, store: &Store) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    match command {
        KeysCommand::Create { name, tenant, permissions, limits } => {
            create(
                store,
                &tenant,
                &name,
                &permissions,
                limits.into_iter().map(|(c, n)| (c.to_owned(), n)).collect(),
            )
            .await?;
        }
        KeysCommand::List => list(store).await?,
        KeysCommand::Uses { name, tenant } => uses(store, &tenant, &name).await?,
        KeysCommand::Revoke { name, tenant } => {
            if !store.revoke_api_key(&tenant, &name, Clock::System.now()).await? {
                return Err(unknown(&tenant, &name));
            }
            println!("`{name}` of tenant `{tenant}` is refused within seconds");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(tenant: &str, name: &str) -> Failure {
    Failure::new(1, format!("tenant `{tenant}` has no key `{name}`"))
}

async fn create(
    store: &Store,
    tenant: &str,
    name: &str,
    permissions: &[PermissionPattern],
    limits: HashMap<String, u32>,
) -> Result<(), Failure> {
    if !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(Failure::new(2, "a name has 1 to 100 visible characters"));
    }
    let key = make_key();
    match store.add_api_key(tenant, name, &hash_key(&key), permissions, &limits).await {
        Ok(Some(_)) => {
            println!("{key}");
            eprintln!(
                "this key of tenant `{tenant}` is shown this once: send it as Authorization: Bearer, or X-API-Key"
            );
            Ok(())
        }
        Ok(None) => Err(Failure::new(1, format!("there is no tenant `{tenant}`"))),
        Err(error) if error.code() == Some("23505") => {
            let message = format!(
                "tenant `{tenant}` has a key `{name}` already; a name is used once, also after revocation"
            );
            Err(Failure::new(1, message))
        }
        Err(error) => Err(error.into()),
    }
}

async fn list(store: &Store) -> Result<(), Failure> {
    let since = (Clock::System.now() - TimeDelta::days(USED_IN_DAYS)).date_naive();
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let page = store.list_api_keys(since, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        rows.extend(page.into_iter().map(row));
    }
    rows.sort();
    table::print(
        &[
            "TENANT",
            "NAME",
            "PERMISSIONS",
            "LIMITS",
            "STATE",
            "SINCE (UTC)",
            "ACCEPTED",
            "REFUSED",
            "LAST USE (UTC)",
        ],
        &rows,
    );
    Ok(())
}

fn row(key: ApiKeySummary) -> Vec<String> {
    let mut limits: Vec<String> = key.rate_limits.iter().map(|(class, n)| format!("{class}={n}")).collect();
    limits.sort_unstable();
    vec![
        key.tenant_name,
        printable(&key.name),
        key.permissions.join(","),
        if limits.is_empty() { "-".into() } else { limits.join(",") },
        if key.enabled { "enabled" } else { "revoked" }.into(),
        key.created_at.format("%F %T").to_string(),
        key.accepted.to_string(),
        key.refused.to_string(),
        key.last_used_at.map_or_else(|| "-".into(), |at| at.format("%F %T").to_string()),
    ]
}

async fn uses(store: &Store, tenant: &str, name: &str) -> Result<(), Failure> {
    let uses = store.api_key_uses(tenant, name, PAGE).await?.ok_or_else(|| unknown(tenant, name))?;
    let rows: Vec<Vec<String>> = uses
        .into_iter()
        .map(|used| {
            vec![
                used.day.to_string(),
                used.address.to_string(),
                used.action,
                used.accepted.to_string(),
                used.refused.to_string(),
                used.first_at.format("%T").to_string(),
                used.last_at.format("%T").to_string(),
            ]
        })
        .collect();
    table::print(&["DAY (UTC)", "ADDRESS", "PERMISSION", "ACCEPTED", "REFUSED", "FIRST", "LAST"], &rows);
    Ok(())
}
