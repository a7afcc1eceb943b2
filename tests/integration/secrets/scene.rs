//! A program in whose configuration every secret can be recognised.

use std::path::PathBuf;
use std::process::Stdio;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use simbridge::store::roles::{LoginCreated, RoleKind};
use simbridge::store::sims::SimRow;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::harness::PATIENCE;
use crate::harness::bridge::{BridgeOptions, simbridge};
use crate::harness::canary::Canaries;
use crate::harness::certificates::Certificates;
#[cfg(feature = "opentelemetry")]
use crate::harness::collector::Collector;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::mosquitto::Mosquitto;
use crate::harness::panel::PanelServer;
use crate::harness::server::TestServer;

use super::ICCID;

/// What makes the program say all that it can.
const NOISY: &str = "trace";

/// The configuration with a secret in every place that can hold one.
pub(super) struct Scene {
    pub(super) canaries: Canaries,
    pub(super) directory: tempfile::TempDir,
    pub(super) database: TestDatabase,
    pub(super) database_url: String,
    pub(super) certificates: Certificates,
    pub(super) panel: PanelServer,
    pub(super) radius_secret: String,
    /// One takes every login, the other none.
    pub(super) brokers: [Mosquitto; 2],
    /// It sees everything that is recorded.
    #[cfg(feature = "opentelemetry")]
    pub(super) collector: Collector,
}

impl Scene {
    pub(super) async fn set() -> Self {
        let mut canaries = Canaries::default();
        let database = TestDatabase::new().await;
        database.import(&[SimRow { data_limit_bytes: Some(1_000), ..sim(ICCID) }]).await;
        let password = canaries.make("the database's password");
        let login = format!("secrets_{}", database.name);
        let made = database.owner().create_login(&login, &password, RoleKind::Serve, &[]).await;
        assert_eq!(made.expect("a login"), LoginCreated::Created);
        let database_url = TestServer::shared().url_as(&login, &password, &database.name);
        let certificates = Certificates::create(&["meter"]).await;
        for name in ["server.key", "meter.key", "ca.key"] {
            let key = PrivateKeyDer::from_pem_file(certificates.path(name)).expect("a key");
            let der = key.secret_der().to_vec();
            // The number itself (RFC 5915), behind what is the same for all keys of the curve.
            let scalar = der.windows(4).position(|tag| tag == [2, 1, 1, 4]).expect("version and number") + 5;
            canaries.add("a private key", &der[scalar..scalar + 32]);
        }
        let panel = PanelServer::saying(json!({"total": 5_000})).await;
        let directory = tempfile::tempdir().expect("a directory");
        let free = TcpListener::bind("127.0.0.1:0").await.and_then(|socket| socket.local_addr());
        let port = free.expect("a free port").port();
        let web = format!(
            "allow_anonymous true\nlistener {port} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n"
        );
        let nobody = "allow_anonymous false\n";
        let brokers = [Mosquitto::start_with(&web).await, Mosquitto::start_with(nobody).await];
        let radius_secret = canaries.make("the secret of RADIUS");
        let scene = Self {
            canaries,
            directory,
            database,
            database_url,
            certificates,
            panel,
            radius_secret,
            brokers,
            #[cfg(feature = "opentelemetry")]
            collector: Collector::start().await,
        };
        scene.write_sources(port)
    }

    pub(super) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("it is ours");
        path
    }

    /// The sources, as a configuration file.
    fn write_sources(mut self, web: u16) -> Self {
        let mut secret = |what: &str| self.canaries.make(what);
        let [in_url, in_text, in_file] =
            [secret("a broker's password in its address"), secret("one as text"), secret("one in a file")];
        let (token, management) =
            (secret("a token in a broker's query"), secret("the password of the management interface"));
        let (in_query, bearer) =
            (secret("a token in a panel's address"), secret("a panel's token in a file"));
        let (panel, refusing) = (self.panel.url("/u/{account}"), self.brokers[1].address);
        let accepting = self.brokers[0].address;
        let path = |name: &str, content: &str| self.file(name, content).display().to_string();
        let files = [
            path("broker", &in_file),
            path("bearer", &bearer),
            path("radius", &self.radius_secret),
            path("ovpn", &management),
        ];
        let [broker_file, bearer_file, radius_file, management_file] = files;
        let fast = "reconnect_first_ms = 20\nreconnect_longest_ms = 200";
        let text = format!(
            "[[source.mqtt]]\nname = \"plant\"\nurl = \"mqtt://bridge:{in_url}@{refusing}\"\n{fast}\n\
             [[source.mqtt]]\nname = \"own\"\nurl = \"mqtt://{accepting}\"\nusername = \"b\"\npassword = \"{in_text}\"\n{fast}\n\
             [[source.mqtt]]\nname = \"web\"\nurl = \"ws://b:{in_url}@127.0.0.1:{web}/mqtt?access={token}\"\n{fast}\n\
             [[source.mqtt]]\nname = \"old\"\nurl = \"ws://127.0.0.1:{web}/mqtt?access={token}\"\nversion = 3\nusername = \"c\"\n\
             password_file = \"{broker_file}\"\n{fast}\n\
             [[source.mqtt]]\nname = \"gone\"\nurl = \"wss://127.0.0.1:1/mqtt?access={token}\"\nusername = \"c\"\n\
             password_file = \"{broker_file}\"\n{fast}\n\
             [[source.openvpn]]\nname = \"hq\"\nmanagement = \"MANAGEMENT\"\npassword_file = \"{management_file}\"\n\
             interval_seconds = 1\n\
             [[source.panel]]\nname = \"isp\"\nurl = \"{panel}?key={in_query}\"\nauth = \"bearer\"\nauth_file = \"{bearer_file}\"\n\
             total = [\"/total\"]\naccounts = [\"{ICCID}\"]\nretry_first_ms = 1\n\
             [[source.radius]]\nname = \"core\"\nlisten = \"127.0.0.1:0\"\naccount = [\"User-Name\"]\n\
             [[source.radius.clients]]\nname = \"nas\"\naddresses = [\"127.0.0.1\"]\nsecret_file = \"{radius_file}\"\n"
        );
        self.file("simbridge.toml", &text);
        self
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.directory.path().join("simbridge.toml")
    }

    /// A broker with every listener, behind logins.
    pub(super) fn options(&self) -> BridgeOptions {
        let mut options = BridgeOptions::new(&self.database_url);
        (options.anonymous, options.log) = (false, NOISY.into());
        options.env.push(("SIMBRIDGE_CONFIG".into(), self.configuration().display().to_string()));
        self.certificates.configure(&mut options);
        #[cfg(feature = "opentelemetry")]
        options.set("traces.endpoint", self.collector.url());
        options
            .set("mqtt.websocket.listen", "127.0.0.1:0")
            .set("mqtt.tls.client_certificate", "optional")
            .set("mqtt.tls.client_ca_file", self.certificates.text("ca.pem"))
            .set("mqtt.login_failure_delay_milliseconds", "1")
            .set("alerts.pause_ms", "20")
            .set("alerts.webhook_allow_private", "true")
            .set("alerts.webhook_first_retry_ms", "1");
        options
    }

    /// Runs a command as noisily as it can; what it says.
    pub(super) async fn command(&self, arguments: &[&str], input: &str) -> String {
        let mut command = simbridge();
        command.args(arguments).env("DATABASE_URL", &self.database_url).env("RUST_LOG", NOISY);
        command.env("SIMBRIDGE_CONFIG", self.configuration());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).await.ok();
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends");
        let output = output.expect("it ends");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Nothing in what the program tells of itself.
    pub(super) fn saw_nothing_told(&self, log: &[String]) {
        self.saw_nothing("the log", &log.join("\n"));
        #[cfg(feature = "opentelemetry")]
        self.saw_nothing("a span", &self.collector.text());
    }

    pub(super) fn saw_nothing(&self, place: &str, text: &str) {
        assert!(!text.is_empty(), "{place} says nothing");
        self.canaries.assert_hidden(place, text);
        assert!(!text.contains("$argon2id$"), "{place} shows a hash that passwords can be guessed from");
        assert!(
            !text.contains("SCRAM-SHA-256$"),
            "{place} shows a verifier that passwords can be guessed from"
        );
    }
}
