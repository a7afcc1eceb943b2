use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

use crate::app::{Database, Owner, StartError};
use crate::config::Loaded;
use crate::store::roles::{LoginCreated, RoleKind};
use crate::store::{Store, StoreError};

use super::failure::Failure;
use super::password::make_password;
use super::table;

/// Longer names are cut by PostgreSQL.
const NAME_MAX_BYTES: usize = 63;

#[derive(Debug, Subcommand)]
pub(super) enum RolesCommand {
    /// Make the roles PREFIX_ingest, PREFIX_rollup, PREFIX_read and PREFIX_serve, and turn row-level security on
    ///
    /// Run it as the owner of the tables, who must be allowed to make roles (CREATEROLE). Again, it only grants anew.
    Create {
        #[arg(long, default_value = "simbridge")]
        prefix: String,
    },
    /// Make a login of the database with one of the roles and show its password, this once
    Login {
        name: String,
        /// What it may do
        #[arg(long = "as", value_name = "ROLE")]
        kind: Kind,
        /// Tenant whose rows a reader sees; give it once for each
        #[arg(long = "tenant", value_name = "TENANT", required_if_eq("kind", "read"))]
        tenants: Vec<String>,
    },
    /// List roles with their logins
    List,
    /// Remove a login
    Revoke { name: String },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Kind {
    /// All that `simbridge serve` and the commands do, but for changes of the schema and of roles
    Serve,
    /// Stores records: simbridge import, quarantine replay
    Ingest,
    /// Makes rollups: simbridge rollup, simbridge rebuild, aggregate_usage_to_daily()
    Rollup,
    /// Sees the rows of its tenants, for charts and reports of your own
    Read,
}

impl From<Kind> for RoleKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Serve => Self::Serve,
            Kind::Ingest => Self::Ingest,
            Kind::Rollup => Self::Rollup,
            Kind::Read => Self::Read,
        }
    }
}

pub(super) async fn run(command: RolesCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(command, &database.store).await;
    database.close().await;
    result.map(|()| ExitCode::SUCCESS)
}

async fn on(command: RolesCommand, store: &Store) -> Result<(), Failure> {
    store.migrate().await.map_err(StartError::from)?;
    match command {
        RolesCommand::Create { prefix } => {
            store.create_roles(&prefix).await.map_err(refused)?;
            println!(
                "the roles {} may do what they need in this database, and nothing else",
                RoleKind::ALL.map(|kind| format!("{prefix}_{}", kind.as_str())).join(", ")
            );
        }
        RolesCommand::Login { name, kind, tenants } => login(store, &name, kind, &tenants).await?,
        RolesCommand::List => list(store).await?,
        RolesCommand::Revoke { name } => {
            if !store.drop_login(&name).await.map_err(refused)? {
                return Err(Failure::new(1, format!("no login `{name}` has one of the roles")));
            }
            println!("there is no login `{name}` any more; what it has open can do nothing");
        }
    }
    Ok(())
}

async fn login(store: &Store, name: &str, kind: Kind, tenants: &[String]) -> Result<(), Failure> {
    if !(1..=NAME_MAX_BYTES).contains(&name.len()) || name.chars().any(char::is_control) {
        return Err(Failure::new(2, "a login has 1 to 63 visible characters"));
    }
    if !tenants.is_empty() && !matches!(kind, Kind::Read) {
        return Err(Failure::new(2, "--tenant goes with --as read: the other roles see all tenants"));
    }
    let password = make_password();
    match store.create_login(name, &password, kind.into(), tenants).await {
        Ok(LoginCreated::Created) => {
            println!("{password}");
            eprintln!(
                "this password of `{name}` is shown this once: postgres://{name}:PASSWORD@HOST/DATABASE"
            );
            Ok(())
        }
        Ok(LoginCreated::NoRoles) => {
            Err(Failure::new(1, "there are no roles yet: run `simbridge roles create`"))
        }
        Ok(LoginCreated::NoTenant(tenant)) => Err(Failure::new(1, format!("there is no tenant `{tenant}`"))),
        Err(error) if error.code() == Some("42710") => {
            Err(Failure::new(1, format!("there is a role `{name}` already")))
        }
        Err(error) => Err(refused(error)),
    }
}

async fn list(store: &Store) -> Result<(), Failure> {
    let members = store.list_roles().await?;
    if members.is_empty() {
        println!("no roles: everything runs as the owner of the tables; `simbridge roles create` makes them");
        return Ok(());
    }
    let rows = members.into_iter().map(|member| {
        let tenants = if member.kind == "read" { member.tenants.join(", ") } else { "all".into() };
        let tenants = if member.login.is_some() { tenants } else { String::new() };
        vec![member.role, member.login.unwrap_or_default(), tenants]
    });
    table::print(&["ROLE", "LOGIN", "TENANTS"], &rows.collect::<Vec<_>>());
    Ok(())
}

/// What the login in use may not do, in words of what would have to be allowed.
fn refused(error: StoreError) -> Failure {
    match error.code() {
        Some("42501") => Failure::new(
            78,
            format!("{error}: run it as the owner of the tables, who needs CREATEROLE (or is a superuser)"),
        ),
        Some("22023" | "2BP01") => Failure::new(1, error.to_string()),
        _ => error.into(),
    }
}
