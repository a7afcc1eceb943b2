use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use simbridge::config::PanelSourceConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_postgres::Client;

use super::database::TestDatabase;
use super::eventually;

/// How a request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Json(Value),
    /// Status, header lines, body.
    Answer(u16, Vec<String>, String),
    /// These bytes, and then the end of the connection.
    Raw(Vec<u8>),
    /// Nothing at all, for as long as whoever asked stays.
    Silence,
}

/// What was asked for: path with query, and headers by their names in small letters.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
}

type Script = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// A panel that does what a test wants.
pub(crate) struct PanelServer {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// False holds every answer back.
    open: watch::Sender<bool>,
}

impl PanelServer {
    pub(crate) async fn start(script: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (open, waits) = watch::channel(true);
        let (answers, log) = (script.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket, answers.clone(), log.clone(), waits.clone()));
            }
        });
        Self { address, script, asked, open }
    }

    /// Always the same answer.
    pub(crate) async fn saying(value: Value) -> Self {
        Self::start(move |_| Reply::Json(value.clone())).await
    }

    pub(crate) fn say(&self, value: Value) {
        self.reply(Reply::Json(value));
    }

    pub(crate) fn reply(&self, reply: Reply) {
        self.script(move |_| reply.clone());
    }

    pub(crate) fn script(&self, script: impl FnMut(&Asked) -> Reply + Send + 'static) {
        *self.script.lock().expect("no panic") = Box::new(script);
    }

    /// Holds answers back, or lets them go.
    pub(crate) fn hold(&self, hold: bool) {
        self.open.send_replace(!hold);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A panel `isp` whose answers hold a total of each account at its address.
    pub(crate) fn config(&self, accounts: &[&str]) -> PanelSourceConfig {
        PanelSourceConfig {
            name: "isp".into(),
            url: self.url("/users/{account}"),
            accounts: accounts.iter().map(|account| (*account).to_owned()).collect(),
            total: vec!["/total".into()],
            stale_minutes: 0,
            retry_first_ms: 1,
            ..PanelSourceConfig::default()
        }
    }
}

async fn answer(
    mut socket: TcpStream,
    script: Arc<Mutex<Script>>,
    log: Arc<Mutex<Vec<Asked>>>,
    mut open: watch::Receiver<bool>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = socket.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let header = |line: &str| line.split_once(": ").map(|(name, of)| (name.to_lowercase(), of.to_owned()));
    let asked = Asked { path, headers: head.lines().skip(1).filter_map(header).collect() };
    let reply = script.lock().expect("no panic")(&asked);
    log.lock().expect("no panic").push(asked);
    if open.wait_for(|open| *open).await.is_err() {
        return;
    }
    let (status, lines, body) = match reply {
        Reply::Json(value) => (200, vec!["Content-Type: application/json".to_owned()], value.to_string()),
        Reply::Answer(status, lines, body) => (status, lines, body),
        Reply::Raw(bytes) => {
            socket.write_all(&bytes).await.ok();
            return;
        }
        Reply::Silence => {
            // Ends when the other side does.
            socket.read_u8().await.ok();
            return;
        }
    };
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let text =
        format!("HTTP/1.1 {status} X\r\n{lines}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    socket.write_all(text.as_bytes()).await.ok();
}

/// Makes a run due now.
pub(crate) async fn due(database: &Client) {
    let due = "UPDATE source_leases SET finished_slot = NULL, wait_until = NULL";
    database.batch_execute(due).await.expect("it is valid");
}

/// Makes a run due and waits for its end.
pub(crate) async fn read_again(database: &TestDatabase) {
    due(&database.client).await;
    read_once(database).await;
}

/// Waits for the end of a run, and lets none of the schedule follow.
pub(crate) async fn read_once(database: &TestDatabase) {
    let finished = "SELECT count(*) FROM source_leases WHERE finished_slot IS NOT NULL";
    eventually("the panel is read", async || (database.number(finished).await == 1).then_some(())).await;
    let rest = "UPDATE source_leases SET wait_until = now() + interval '1 year' WHERE wait_until IS NULL";
    database.run(rest).await;
}

/// What the last run says.
pub(crate) async fn last_error(database: &TestDatabase) -> String {
    database.text("SELECT last_error FROM source_leases", &[]).await
}

/// Bytes of each SIM that is stored.
pub(crate) async fn stored(database: &TestDatabase) -> Vec<String> {
    database.rows("SELECT iccid, sum(total_bytes) FROM usage_records GROUP BY 1 ORDER BY 1").await
}
