use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
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
/// Whoever chooses one chooses a long one: it opens every tenant's usage.
const PASSWORD_MIN_BYTES: usize = 12;
const PASSWORD_MAX_BYTES: usize = 256;

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
        #[arg(long = "tenant", value_name = "TENANT")]
        tenants: Vec<String>,
        /// A reader sees the rows of every tenant, also of those that come later
        #[arg(long, conflicts_with = "tenants")]
        all_tenants: bool,
        /// Take the password from the first line of this file, or of standard input (-), in place of making one up
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Give a login another password and show it, this once; what it has open stays open
    Password {
        name: String,
        /// Take the password from the first line of this file, or of standard input (-), in place of making one up
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
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
        RolesCommand::Login { name, kind, tenants, all_tenants, password_file } => {
            let sees = match (kind, all_tenants) {
                (Kind::Read, true) => Sees::All,
                (Kind::Read, false) if tenants.is_empty() => {
                    return Err(Failure::new(2, "a reader needs --tenant, once for each, or --all-tenants"));
                }
                (Kind::Read, false) => Sees::These(&tenants),
                _ if tenants.is_empty() && !all_tenants => Sees::These(&[]),
                _ => {
                    return Err(Failure::new(
                        2,
                        "tenants go with --as read: the other roles see all of them",
                    ));
                }
            };
            login(store, &name, kind, sees, password_file.as_deref()).await?;
        }
        RolesCommand::Password { name, password_file } => {
            change_password(store, &name, password_file.as_deref()).await?
        }
        RolesCommand::List => list(store).await?,
        RolesCommand::Revoke { name } => {
            if !store.drop_login(&name).await.map_err(refused)? {
                return Err(no_login(&name));
            }
            println!("there is no login `{name}` any more; what it has open can do nothing");
        }
    }
    Ok(())
}

/// Whose rows a reader sees.
#[derive(Clone, Copy)]
enum Sees<'a> {
    All,
    These(&'a [String]),
}

async fn login(
    store: &Store,
    name: &str,
    kind: Kind,
    sees: Sees<'_>,
    password_file: Option<&Path>,
) -> Result<(), Failure> {
    if !(1..=NAME_MAX_BYTES).contains(&name.len()) || name.chars().any(char::is_control) {
        return Err(Failure::new(2, "a login has 1 to 63 visible characters"));
    }
    let password = password_file.map_or_else(|| Ok(make_password()), given_password)?;
    let made = match sees {
        Sees::All => store.create_reader_of_all(name, &password).await,
        Sees::These(tenants) => store.create_login(name, &password, kind.into(), tenants).await,
    };
    match made {
        Ok(LoginCreated::Created) => {
            tell(name, &password, password_file);
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

async fn change_password(store: &Store, name: &str, password_file: Option<&Path>) -> Result<(), Failure> {
    let password = password_file.map_or_else(|| Ok(make_password()), given_password)?;
    if !store.set_login_password(name, &password).await.map_err(refused)? {
        return Err(no_login(name));
    }
    tell(name, &password, password_file);
    Ok(())
}

fn no_login(name: &str) -> Failure {
    Failure::new(1, format!("no login `{name}` has one of the roles"))
}

/// Whoever chose a password knows it.
fn tell(name: &str, password: &str, password_file: Option<&Path>) {
    if password_file.is_some() {
        eprintln!("`{name}` may log in: postgres://{name}:PASSWORD@HOST/DATABASE");
    } else {
        println!("{password}");
        eprintln!("this password of `{name}` is shown this once: postgres://{name}:PASSWORD@HOST/DATABASE");
    }
}

/// The first line of a file, or of standard input.
fn given_password(file: &Path) -> Result<String, Failure> {
    let unreadable = |cause| Failure::new(2, format!("cannot read the password: {cause}"));
    let mut line = String::new();
    // Longer ones are cut off and then too long.
    let limit = PASSWORD_MAX_BYTES as u64 + 3;
    if file == Path::new("-") {
        BufReader::new(std::io::stdin().take(limit)).read_line(&mut line).map_err(unreadable)?;
    } else {
        BufReader::new(File::open(file).map_err(unreadable)?.take(limit))
            .read_line(&mut line)
            .map_err(unreadable)?;
    }
    let password = line.trim_end_matches(['\r', '\n']);
    if !(PASSWORD_MIN_BYTES..=PASSWORD_MAX_BYTES).contains(&password.len()) {
        let bounds = format!("{PASSWORD_MIN_BYTES} to {PASSWORD_MAX_BYTES}");
        return Err(Failure::new(2, format!("the password of a login has {bounds} bytes")));
    }
    Ok(password.to_owned())
}

async fn list(store: &Store) -> Result<(), Failure> {
    let members = store.list_roles().await?;
    if members.is_empty() {
        println!("no roles: everything runs as the owner of the tables; `simbridge roles create` makes them");
        return Ok(());
    }
    let rows = members.into_iter().map(|member| {
        let some = member.kind == "read" && !member.all_tenants;
        let tenants = if some { member.tenants.join(", ") } else { "all".into() };
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
