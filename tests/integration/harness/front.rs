//! A place before the program at which the stream of live figures can break.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes everything on; streams only while they are let through.
pub(crate) struct Front {
    pub(crate) base: String,
    streams: Arc<watch::Sender<bool>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Front {
    pub(crate) async fn to(program: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let streams = Arc::new(watch::Sender::new(true));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (shared, noted) = (streams.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, program, shared.subscribe(), noted.clone()));
            }
        });
        Self { base, streams, asked }
    }

    /// Paths that were asked for through it since the last look.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }

    /// Ends streams that run, and every one that begins until it is called with `true`.
    pub(crate) fn let_streams_through(&self, through: bool) {
        self.streams.send_replace(through);
    }
}

async fn pass(
    mut client: TcpStream,
    program: SocketAddr,
    mut streams: watch::Receiver<bool>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let Ok(mut server) = TcpStream::connect(program).await else { return };
    let (mut from_client, mut from_server) = ([0; 16 << 10], [0; 16 << 10]);
    let mut is_stream = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                // A browser sends the head of a request in one piece.
                is_stream |= from_client[..length].starts_with(b"GET /api/live/");
                if let Some(rest) = from_client[..length].strip_prefix(b"GET ") {
                    let path = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
                    asked.lock().expect("no panic").push(String::from_utf8_lossy(path).into_owned());
                }
                if is_stream && !*streams.borrow() || server.write_all(&from_client[..length]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&from_server[..length]).await.is_err() {
                    return;
                }
            }
            Ok(()) = streams.changed() => {
                if is_stream && !*streams.borrow() {
                    return;
                }
            }
        }
    }
}
