//! PostgreSQL's own programs for dumps.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::store::{PostgresAddress, embedded};

use super::error::BackupError;
use super::manifest::Figures;
use super::read_back;

/// pg_dump waits for so long for a table that somebody changes, a migration for example.
const LOCK_WAIT: &str = "--lock-wait-timeout=60s";

/// How `pg_dump` and `pg_restore` reach a database.
pub(super) struct Programs {
    directory: PathBuf,
    environment: Vec<(&'static str, String)>,
    database: String,
}

impl Programs {
    /// Those for servers of a major version.
    pub(super) fn find(place: &super::Place, major: i32) -> Result<Self, BackupError> {
        let directory = embedded::dump_programs(place.bin_dir.as_deref(), major.cast_unsigned());
        Ok(Self {
            directory: directory.ok_or(BackupError::NoPrograms { major })?,
            environment: environment(&place.address, place.ca_file.as_deref()),
            // As a connection string, so that a name with `=` in it is a name.
            database: format!("dbname={}", quoted(place.address.get_dbname().unwrap_or_default())),
        })
    }

    /// Writes what a snapshot holds.
    pub(super) async fn dump(&self, snapshot: &str, into: File) -> Result<(), BackupError> {
        let mut pg_dump = self.command("pg_dump");
        pg_dump.args(["--format=custom", LOCK_WAIT, "--snapshot", snapshot, "--dbname", &self.database]);
        pg_dump.stdout(into);
        let child = start("pg_dump", &mut pg_dump)?;
        end("pg_dump", child).await
    }

    /// Reads all the data of a dump; `schema` is where the tables are, as SQL writes its name.
    pub(super) async fn read_back(&self, dump: &Path, schema: &str) -> Result<Figures, BackupError> {
        let mut pg_restore = self.command("pg_restore");
        pg_restore.args(["--data-only", "--file=-"]).arg(dump).stdout(Stdio::piped());
        let mut child = start("pg_restore", &mut pg_restore)?;
        let data = BufReader::new(child.stdout.take().expect("it was asked for"));
        let (figures, ended) = tokio::join!(read_back::tally(data, schema), end("pg_restore", child));
        // What the program says of a damaged file is more than where its output ended.
        ended?;
        figures.map_err(BackupError::io("read", dump))
    }

    /// Fills an empty database, or changes nothing.
    pub(super) async fn restore(&self, dump: &Path) -> Result<(), BackupError> {
        let contents = self.contents(dump).await?;
        let mut pg_restore = self.command("pg_restore");
        // Owners, privileges and whom policies are for are roles of the server that the dump was made on.
        pg_restore.args(["--single-transaction", "--no-owner", "--no-privileges", "--use-list=/dev/stdin"]);
        pg_restore.args(["--dbname", &self.database]).arg(dump).stdin(Stdio::piped());
        let mut child = start("pg_restore", &mut pg_restore)?;
        let mut stdin = child.stdin.take().expect("it was asked for");
        let list = async {
            // Why it would not listen is in how it ends.
            stdin.write_all(contents.as_bytes()).await.ok();
            drop(stdin);
        };
        tokio::join!(list, end("pg_restore", child)).1
    }

    /// The table of contents without policies. Row-level security itself stays: until the policies are made, nobody but the
    /// owner sees a row.
    async fn contents(&self, dump: &Path) -> Result<String, BackupError> {
        let mut pg_restore = self.command("pg_restore");
        pg_restore.arg("--list").arg(dump).stdout(Stdio::piped());
        let mut child = start("pg_restore", &mut pg_restore)?;
        let mut list = String::new();
        let mut stdout = child.stdout.take().expect("it was asked for");
        let (read, ended) = tokio::join!(stdout.read_to_string(&mut list), end("pg_restore", child));
        ended?;
        read.map_err(BackupError::io("read", dump))?;
        Ok(list.lines().filter(|line| !is_policy(line)).flat_map(|line| [line, "\n"]).collect())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.directory.join(program));
        // Our environment holds secrets, and PG* variables would change what is reached. LC_ALL: messages are quoted.
        command.env_clear().envs(embedded::inherited_environment()).env("LC_ALL", "C");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

fn start(program: &'static str, command: &mut Command) -> Result<Child, BackupError> {
    command.spawn().map_err(|error| BackupError::Program { program, message: error.to_string() })
}

/// Waits for its end; an error is the first thing that it complained about.
async fn end(program: &'static str, mut child: Child) -> Result<(), BackupError> {
    let mut said = Vec::new();
    let mut stderr = child.stderr.take().expect("it was asked for");
    let (read, status) = tokio::join!(stderr.read_to_end(&mut said), child.wait());
    let failed = |message| BackupError::Program { program, message };
    let status = read.and(status).map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let complaint = said.lines().find_map(|line| line.split_once("error: "));
    Err(failed(complaint.map_or_else(|| status.to_string(), |(_, complaint)| complaint.to_owned())))
}

/// `3456; 3256 16500 POLICY public usage_records reader postgres`
fn is_policy(line: &str) -> bool {
    line.split_whitespace().nth(3) == Some("POLICY")
}

/// A value of a connection string.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

/// In the environment and not among the arguments, which every account of the machine can read.
fn environment(address: &PostgresAddress, ca_file: Option<&Path>) -> Vec<(&'static str, String)> {
    let joined = |values: Vec<String>| (!values.is_empty()).then(|| values.join(","));
    let hosts = address.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(directory) => directory.to_string_lossy().into_owned(),
    });
    let (mode, roots) = match address.get_ssl_mode() {
        SslMode::Disable => ("disable", None),
        // What it means here: certificate and name are verified.
        SslMode::Require => ("verify-full", Some("system")),
        _ => ("prefer", None),
    };
    let session = match address.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => Some("read-write"),
        TargetSessionAttrs::ReadOnly => Some("read-only"),
        _ => None,
    };
    let ca_file = ca_file.map(|path| path.to_string_lossy().into_owned());
    let variables = [
        ("PGAPPNAME", Some("simbridge backup".to_owned())),
        ("PGHOST", joined(hosts.collect())),
        ("PGHOSTADDR", joined(address.get_hostaddrs().iter().map(ToString::to_string).collect())),
        ("PGPORT", joined(address.get_ports().iter().map(ToString::to_string).collect())),
        ("PGUSER", address.get_user().map(str::to_owned)),
        ("PGPASSWORD", address.get_password().map(|word| String::from_utf8_lossy(word).into_owned())),
        ("PGOPTIONS", address.get_options().map(str::to_owned)),
        ("PGTARGETSESSIONATTRS", session.map(str::to_owned)),
        ("PGSSLMODE", Some(mode.to_owned())),
        ("PGSSLROOTCERT", ca_file.or(roots.map(str::to_owned))),
    ];
    variables.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment_of(url: &str, ca_file: Option<&str>) -> Vec<(&'static str, String)> {
        environment(&crate::store::parse_url("database.url", url).unwrap(), ca_file.map(Path::new))
    }

    #[test]
    fn the_programs_reach_what_the_store_reaches() {
        let url = "postgres://me:s%20cret@a.example:6000,b.example:6001/d?sslmode=require&options=-csearch_path%3Dx&\
                   target_session_attrs=read-write";
        let expected = [
            ("PGAPPNAME", "simbridge backup"),
            ("PGHOST", "a.example,b.example"),
            ("PGPORT", "6000,6001"),
            ("PGUSER", "me"),
            ("PGPASSWORD", "s cret"),
            ("PGOPTIONS", "-csearch_path=x"),
            ("PGTARGETSESSIONATTRS", "read-write"),
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", "system"),
        ];
        assert_eq!(environment_of(url, None), expected.map(|(name, value)| (name, value.to_owned())));
        let of = |url: &str, name| {
            environment_of(url, Some("/ca.pem")).into_iter().find(|(n, _)| *n == name).map(|(_, value)| value)
        };
        assert_eq!(of(url, "PGSSLROOTCERT").as_deref(), Some("/ca.pem"));
        assert_eq!(of("host=/run/x user=me", "PGHOST").as_deref(), Some("/run/x"));
        assert_eq!(of("host=/run/x user=me", "PGSSLMODE").as_deref(), Some("prefer"));
        assert_eq!(of("host=x user=me sslmode=disable", "PGSSLMODE").as_deref(), Some("disable"));
    }

    #[test]
    fn a_name_of_a_database_stays_a_name() {
        assert_eq!(quoted(r"it's a=b\c"), r"'it\'s a=b\\c'");
    }

    #[test]
    fn policies_are_told_from_tables_of_that_name() {
        assert!(is_policy("3456; 3256 16500 POLICY public usage_records reader postgres"));
        assert!(!is_policy("217; 1259 16500 TABLE public POLICY postgres"));
        assert!(!is_policy("3457; 0 16500 ROW SECURITY public usage_records postgres"));
    }
}
