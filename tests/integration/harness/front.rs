//! A place before the program at which the stream of live figures can break.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes everything on; streams only while they are let through.
pub(crate) struct Front {
    pub(crate) base: String,
    streams: Arc<watch::Sender<bool>>,
    asked: Arc<Mutex<Vec<String>>>,
    running: Arc<Running>,
}

/// Streams that run, and the most that ever ran at once.
#[derive(Default)]
struct Running {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A stream that runs until this is dropped.
struct Stream(Arc<Running>);

impl Stream {
    fn begin(running: &Arc<Running>) -> Self {
        let now = running.now.fetch_add(1, Ordering::SeqCst) + 1;
        running.most.fetch_max(now, Ordering::SeqCst);
        Self(running.clone())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Front {
    pub(crate) async fn to(program: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let streams = Arc::new(watch::Sender::new(true));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let running = Arc::new(Running::default());
        let (shared, noted, counted) = (streams.clone(), asked.clone(), running.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, program, shared.subscribe(), noted.clone(), counted.clone()));
            }
        });
        Self { base, streams, asked, running }
    }

    /// The most streams that ever ran at once.
    pub(crate) fn most_streams(&self) -> usize {
        self.running.most.load(Ordering::SeqCst)
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
    running: Arc<Running>,
) {
    let Ok(mut server) = TcpStream::connect(program).await else { return };
    let (mut from_client, mut from_server) = ([0; 16 << 10], [0; 16 << 10]);
    let mut stream = None;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                // A browser sends the head of a request in one piece.
                if from_client[..length].starts_with(b"GET /api/live/") {
                    stream.get_or_insert_with(|| Stream::begin(&running));
                }
                if let Some(rest) = from_client[..length].strip_prefix(b"GET ") {
                    let path = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
                    asked.lock().expect("no panic").push(String::from_utf8_lossy(path).into_owned());
                }
                if stream.is_some() && !*streams.borrow() || server.write_all(&from_client[..length]).await.is_err() {
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
                if stream.is_some() && !*streams.borrow() {
                    return;
                }
            }
        }
    }
}
