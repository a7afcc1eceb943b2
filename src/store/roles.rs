//! Database roles: who may do what in PostgreSQL itself (ADR 0013).

use postgres_protocol::password::scram_sha_256;
use tokio_postgres::Row;

use super::{Statement, Store, StoreError, statement};

static CREATE: Statement = statement!("create_roles", TEXT);
static CREATE_LOGIN: Statement = statement!("create_login", TEXT, TEXT, TEXT, TEXT_ARRAY);
static CREATE_READER_OF_ALL: Statement = statement!("create_reader_of_all", TEXT, TEXT);
static SET_PASSWORD: Statement = statement!("set_login_password", TEXT, TEXT);
static DROP_LOGIN: Statement = statement!("drop_login", TEXT);
static LIST: Statement = statement!("list_roles");

/// What a login may do. The owner of the schema needs no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// Stores records.
    Ingest,
    /// Makes rollups.
    Rollup,
    /// Sees the rows of its tenants.
    Read,
    /// All that `simbridge serve` and the commands do, but for changes of the schema and of roles.
    Serve,
}

impl RoleKind {
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Rollup, Self::Read, Self::Serve];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Rollup => "rollup",
            Self::Read => "read",
            Self::Serve => "serve",
        }
    }
}

/// What became of a login that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginCreated {
    Created,
    /// [`Store::create_roles`] comes first.
    NoRoles,
    NoTenant(String),
}

/// A role, with one of its logins when it has any.
#[derive(Clone, Debug)]
pub struct RoleMember {
    pub kind: String,
    pub role: String,
    pub login: Option<String>,
    /// Names of the tenants that a reader sees.
    pub tenants: Vec<String>,
    /// A reader that sees all of them.
    pub all_tenants: bool,
}

impl Store {
    /// Makes `PREFIX_ingest`, `PREFIX_rollup`, `PREFIX_read` and `PREFIX_serve` where they are missing and gives them what they
    /// need in this database.
    ///
    /// # Errors
    /// [`StoreError`]: 42501 when the login may not make roles or does not own the tables, 22023 when the prefix does not fit.
    pub async fn create_roles(&self, prefix: &str) -> Result<(), StoreError> {
        let client = self.client().await?;
        CREATE.rows(&client, self.mode, &[&prefix]).await?;
        Ok(())
    }

    /// Makes a login. The server is given a verifier: the password itself would stand in its log of statements.
    ///
    /// # Errors
    /// [`StoreError`]: 42501 when the login in use may not make others, 42710 when there is one of that name.
    pub async fn create_login(
        &self,
        name: &str,
        password: &str,
        kind: RoleKind,
        tenants: &[String],
    ) -> Result<LoginCreated, StoreError> {
        let verifier = scram_sha_256(password.as_bytes());
        let client = self.client().await?;
        let rows =
            CREATE_LOGIN.rows(&client, self.mode, &[&name, &verifier, &kind.as_str(), &tenants]).await?;
        Ok(created(&rows))
    }

    /// Makes a login that reads the rows of all tenants, also of those that come later.
    ///
    /// # Errors
    /// As [`Store::create_login`].
    pub async fn create_reader_of_all(&self, name: &str, password: &str) -> Result<LoginCreated, StoreError> {
        let verifier = scram_sha_256(password.as_bytes());
        let client = self.client().await?;
        Ok(created(&CREATE_READER_OF_ALL.rows(&client, self.mode, &[&name, &verifier]).await?))
    }

    /// Gives a login another password; what it has open stays. False when no login of that name has one of the roles.
    ///
    /// # Errors
    /// [`StoreError`]: 42501 when the login in use may not change others.
    pub async fn set_login_password(&self, name: &str, password: &str) -> Result<bool, StoreError> {
        let verifier = scram_sha_256(password.as_bytes());
        let client = self.client().await?;
        let rows = SET_PASSWORD.rows(&client, self.mode, &[&name, &verifier]).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// False when no login of that name has one of the roles.
    ///
    /// # Errors
    /// [`StoreError`]: 2BP01 when something in the database belongs to it.
    pub async fn drop_login(&self, name: &str) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let rows = DROP_LOGIN.rows(&client, self.mode, &[&name]).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// Roles of this database by kind; empty before [`Store::create_roles`].
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached or the login may not look.
    pub async fn list_roles(&self) -> Result<Vec<RoleMember>, StoreError> {
        let client = self.client().await?;
        let rows = LIST.rows(&client, self.mode, &[]).await?;
        Ok(rows
            .iter()
            .map(|row| RoleMember {
                kind: row.get("kind"),
                role: row.get("role_name"),
                login: row.get("login"),
                tenants: row.get("tenants"),
                all_tenants: row.get("all_tenants"),
            })
            .collect())
    }
}

/// What the function that makes a login says.
fn created(rows: &[Row]) -> LoginCreated {
    let said: &str = rows.first().map_or("", |row| row.get(0));
    match said.split_once(' ') {
        Some((_, tenant)) => LoginCreated::NoTenant(tenant.to_owned()),
        None if said == "NO_ROLES" => LoginCreated::NoRoles,
        None => LoginCreated::Created,
    }
}
