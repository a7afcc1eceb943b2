use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::unistd::{Uid, User};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::eventually;

/// PgBouncer before a server, in transaction mode. Killed when dropped.
pub(crate) struct PgBouncer {
    address: SocketAddr,
    _child: Child,
    _directory: tempfile::TempDir,
}

fn program() -> Option<PathBuf> {
    ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().map(PathBuf::from).find(|path| path.exists())
}

/// Whether PgBouncer is here. Without it there is nothing to prove on this machine; in CI it must be here.
pub(crate) fn installed() -> bool {
    let found = program().is_some();
    assert!(found || std::env::var_os("CI").is_none(), "install pgbouncer");
    if !found {
        eprintln!("NOT RUN: install pgbouncer to run this test");
    }
    found
}

/// Who may enter the directory of the socket: PgBouncer refuses to run as root.
fn account(socket: Option<&Path>) -> String {
    let owner =
        socket.and_then(|directory| directory.metadata().ok()).map(|found| Uid::from_raw(found.uid()));
    let user = owner.filter(|uid| !uid.is_root()).and_then(|uid| User::from_uid(uid).ok().flatten());
    user.map_or_else(|| "nobody".to_owned(), |user| user.name)
}

impl PgBouncer {
    /// With so many connections to the server at most, for whoever `login` is there.
    pub(crate) async fn before(login: &Config, server_connections: u32) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        super::server::open_to_others(path);
        let (place, socket) = match login.get_hosts().first().expect("a place") {
            Host::Unix(socket) => (socket.display().to_string(), Some(socket.as_path())),
            Host::Tcp(host) => (host.clone(), None),
        };
        let port = login.get_ports().first().copied().unwrap_or(5432);
        // It cannot say which port it was given, so one that was free a moment ago is taken.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = address.expect("a free port");
        let (user, password) = (login.get_user().expect("a user"), login.get_password().expect("a password"));
        let users = format!("\"{user}\" \"{}\"\n", String::from_utf8_lossy(password));
        let settings = format!(
            "[databases]\n* = host={place} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = {server_connections}\nmax_client_conn = 200\n",
            address.port(),
            path.join("users").display(),
        );
        for (name, text) in [("users", users), ("ini", settings)] {
            let file = path.join(name);
            std::fs::write(&file, text).expect("it is ours");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("it is ours");
        }
        let mut command = Command::new(program().expect("it is installed"));
        if Uid::effective().is_root() {
            command.args(["-u", &account(socket)]);
        }
        command.arg("-q").arg(path.join("ini")).stdin(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().expect("PgBouncer is installed");
        eventually("PgBouncer listens", async || TcpStream::connect(address).await.ok()).await;
        Self { address, _child: child, _directory: directory }
    }

    /// A connection string through it.
    pub(crate) fn url(&self, login: &Config) -> String {
        let (user, password) = (login.get_user().expect("a user"), login.get_password().expect("a password"));
        let (password, database) =
            (String::from_utf8_lossy(password), login.get_dbname().expect("a database"));
        format!("postgresql://{user}:{password}@{}/{database}?sslmode=disable", self.address)
    }
}
