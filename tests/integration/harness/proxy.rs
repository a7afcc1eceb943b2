use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::server::TestServer;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    /// Connections are accepted and nothing passes.
    Stalled,
    /// Connections end at once.
    Refusing,
}

/// Where the server listens.
enum Upstream {
    Socket(PathBuf),
    Tcp(String, u16),
}

struct Shared {
    upstream: Upstream,
    mode: watch::Sender<Mode>,
    /// Raised to end the connections that exist.
    cuts: watch::Sender<usize>,
    commits_to_lose: AtomicUsize,
    commits_lost: AtomicUsize,
}

/// Stands between a store and the test server and gives it a bad network.
pub(crate) struct Proxy {
    pub(crate) config: Config,
    shared: Arc<Shared>,
    _directory: tempfile::TempDir,
}

impl Proxy {
    pub(crate) async fn to(database: &str) -> Self {
        let server = TestServer::shared().config_for(database);
        let port = server.get_ports().first().copied().unwrap_or(5432);
        let upstream = match server.get_hosts().first().expect("a place") {
            Host::Unix(directory) => Upstream::Socket(directory.join(format!(".s.PGSQL.{port}"))),
            Host::Tcp(host) => Upstream::Tcp(host.clone(), port),
        };
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).expect("a socket");
        let shared = Arc::new(Shared {
            upstream,
            mode: watch::Sender::new(Mode::Open),
            cuts: watch::Sender::new(0),
            commits_to_lose: AtomicUsize::new(0),
            commits_lost: AtomicUsize::new(0),
        });
        tokio::spawn(accept(listener, shared.clone()));
        let mut config = Config::new();
        // Without TLS every reply is a framed message.
        config.host_path(directory.path()).dbname(database).ssl_mode(SslMode::Disable);
        config.user(server.get_user().expect("a user")).password(server.get_password().expect("a password"));
        Self { config, shared, _directory: directory }
    }

    /// For a program of its own.
    pub(crate) fn url(&self) -> String {
        let [Host::Unix(directory)] = self.config.get_hosts() else { panic!("a socket") };
        let text = |part: Option<&str>| part.expect("it is set").to_owned();
        let password =
            String::from_utf8(self.config.get_password().expect("it is set").to_vec()).expect("text");
        format!(
            "host={} user={} password={password} dbname={} sslmode=disable",
            directory.display(),
            text(self.config.get_user()),
            text(self.config.get_dbname()),
        )
    }

    /// Ends all connections and every new one.
    pub(crate) fn refuse(&self) {
        self.shared.mode.send_replace(Mode::Refusing);
        self.cut();
    }

    /// Ends the connections that exist.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Keeps everything back, in both directions, until it is open again.
    pub(crate) fn stall(&self) {
        self.shared.mode.send_replace(Mode::Stalled);
    }

    pub(crate) fn open(&self) {
        self.shared.mode.send_replace(Mode::Open);
    }

    /// Ends a connection in place of passing on the server's reply to COMMIT, so many times.
    pub(crate) fn lose_commits(&self, times: usize) {
        self.shared.commits_to_lose.store(times, Ordering::SeqCst);
    }

    pub(crate) fn commits_lost(&self) -> usize {
        self.shared.commits_lost.load(Ordering::SeqCst)
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if *shared.mode.borrow() != Mode::Refusing {
            tokio::spawn(connect(client, shared.clone()));
        }
    }
}

async fn connect(client: UnixStream, shared: Arc<Shared>) {
    match &shared.upstream {
        Upstream::Socket(path) => {
            let Ok(server) = UnixStream::connect(path).await else { return };
            pass(client, server.into_split(), &shared).await;
        }
        Upstream::Tcp(host, port) => {
            let Ok(server) = TcpStream::connect((host.as_str(), *port)).await else { return };
            pass(client, server.into_split(), &shared).await;
        }
    }
}

async fn pass(
    client: UnixStream,
    (from_server, to_server): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    shared: &Shared,
) {
    let (mut cuts, (from_client, to_client)) = (shared.cuts.subscribe(), client.into_split());
    tokio::select! {
        _ = cuts.changed() => {}
        () = requests(from_client, to_server, shared) => {}
        () = replies(from_server, to_client, shared) => {}
    }
}

async fn requests(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        flows(shared).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Passes on whole messages: a type, a length that counts itself, and the rest.
async fn replies(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, shared: &Shared) {
    let mut message = vec![0; 5];
    loop {
        message.resize(5, 0);
        if from.read_exact(&mut message).await.is_err() {
            return;
        }
        let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]) as usize;
        message.resize(length + 1, 0);
        if from.read_exact(&mut message[5..]).await.is_err() {
            return;
        }
        flows(shared).await;
        if message[0] == b'C' && message[5..] == *b"COMMIT\0" && take_one(&shared.commits_to_lose) {
            shared.commits_lost.fetch_add(1, Ordering::SeqCst);
            return;
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

async fn flows(shared: &Shared) {
    // The sender lives as long as `shared`.
    shared.mode.subscribe().wait_for(|mode| *mode != Mode::Stalled).await.ok();
}
