use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// A broker of others, in memory alone, that holds back nothing; killed when dropped.
pub(crate) struct Mosquitto {
    pub(crate) address: SocketAddr,
    _child: Child,
    _directory: tempfile::TempDir,
}

impl Mosquitto {
    /// `None` where it is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let places = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"];
        let program = places.into_iter().find(|path| Path::new(path).exists())?;
        let directory = tempfile::tempdir().expect("a directory");
        // Bound and let go: it cannot say which port it was given.
        let address = TcpListener::bind("127.0.0.1:0").await.and_then(|l| l.local_addr()).expect("a port");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
             max_inflight_messages 0\nmax_queued_messages 0\nlog_type none\nuser root\n",
            address.port()
        );
        let config = directory.path().join("mosquitto.conf");
        std::fs::write(&config, text).expect("a file");
        let mut command = Command::new(program);
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().expect("it starts");
        for _ in 0..500 {
            if TcpStream::connect(address).await.is_ok() {
                return Some(Self { address, _child: child, _directory: directory });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("mosquitto does not listen");
    }
}
