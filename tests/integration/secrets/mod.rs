//! No secret comes out of the running program, however much it is asked to log and whatever fails.

mod scene;

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::api::{Answer, client, sent};
use crate::harness::bridge::BridgeProcess;
use crate::harness::certificates::connect_tls;
use crate::harness::eventually;
use crate::harness::mosquitto::installed;
use crate::harness::mqtt::{Hello, MqttClient};
use crate::harness::packets::{self, Client};
use crate::harness::panel::{PanelServer, Reply};
use crate::harness::pipeline::record;
use crate::harness::radius::{INTERIM, Nas, address, counted, report};
use crate::harness::websocket::Socket;
use scene::Scene;

const ICCID: &str = "8941000000000000001";

/// A management interface that knows another password.
async fn management(scene: &Scene) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let text = std::fs::read_to_string(scene.configuration()).expect("it is ours");
    scene.file("simbridge.toml", &text.replace("MANAGEMENT", &address));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut peer = BufReader::new(socket);
            peer.write_all(b"ENTER PASSWORD:").await.ok();
            peer.read_line(&mut String::new()).await.ok();
            peer.write_all(b"ERROR: bad password\r\n").await.ok();
        }
    });
}

/// Logs in over every transport, with what is right and what is wrong.
async fn log_in(bridge: &BridgeProcess, scene: &Scene, logins: &[(&str, &str, bool)]) {
    for (user, password, right) in logins {
        for v5 in [true, false] {
            let hello = Hello { v5, id: "trial", user: Some(user), password: Some(password) };
            assert_eq!(MqttClient::connect(bridge.mqtt, hello).await.code == 0, *right, "{user}");
        }
        let mut web = Socket::open(bridge.ws).await;
        web.send(&packets::connect("web", Some((user, password)))).await;
        assert_eq!(web.bytes(4).await[3] == 0, *right, "{user}");
        let stream = connect_tls(bridge.mqtts, &scene.certificates.connector(None)).await.expect("TLS");
        let (_, code) = Client::connect(stream, "tls", Some((user, password))).await.expect("CONNACK");
        assert_eq!(code == 0, *right, "{user}");
    }
    let shown = connect_tls(bridge.mqtts, &scene.certificates.connector(Some("meter"))).await.expect("TLS");
    let (mut meter, code) = Client::connect(shown, "meter", None).await.expect("CONNACK");
    assert_eq!(code, 0, "the certificate is its login");
    meter.publish(1, ICCID, &record("r-1", 0, 500, 400)).await.expect("PUBACK");
}

/// What the API is asked for, with and without leave; returns all that it answered.
struct Asking<'a> {
    base: String,
    answers: String,
    key: &'a str,
}

impl Asking<'_> {
    async fn ask(&mut self, method: Method, path: &str, header: (&str, &str), body: &Value) -> Answer {
        let url = format!("{}{path}", self.base);
        let answer = sent(client().request(method, url).header(header.0, header.1).json(body)).await;
        self.answers += &format!("{path} {} {:?}\n{}\n", answer.status, answer.headers, answer.text);
        answer
    }

    /// A webhook with a secret in its address. What is answered shows both, this once.
    async fn webhook(&mut self, url: &str) -> String {
        let bearer = format!("Bearer {}", self.key);
        let kept = self.answers.clone();
        let made = self
            .ask(Method::POST, "/api/v1/alerts/webhooks", ("Authorization", &bearer), &json!({"url": url}))
            .await;
        assert_eq!(made.status, 201, "{}", made.text);
        self.answers = kept;
        made.json()["secret"].as_str().expect("a secret").to_owned()
    }

    /// Signs in; returns the token.
    async fn sign_in(&mut self) -> String {
        let kept = self.answers.clone();
        let body = json!({"key": self.key});
        let answer = self.ask(Method::POST, "/api/session", ("Accept", "*/*"), &body).await;
        self.answers = kept;
        let set = answer.header("set-cookie").expect("a cookie");
        set.split(['=', ';']).nth(1).expect("a token").to_owned()
    }

    async fn everything(&mut self, cookie: &str, wrong: &str) {
        let (bearer, cookie) = (format!("Bearer {}", self.key), format!("simbridge_session={cookie}"));
        let wrong_bearer = format!("Bearer {wrong}");
        let logins = [
            ("Authorization", bearer.as_str()),
            ("X-API-Key", wrong),
            ("Authorization", &wrong_bearer),
            ("Cookie", &cookie),
        ];
        for header in logins {
            for path in [
                "/api/v1/sims",
                "/api/consumption/kpis",
                "/api/session",
                "/api/v1/alerts",
                "/nowhere",
                "/readyz",
            ] {
                self.ask(Method::GET, path, header, &Value::Null).await;
            }
            for path in [
                "/api/v1/usage",
                "/api/v1/usage/batch",
                "/api/v1/sims",
                "/api/v1/pools",
                "/api/v1/alerts/webhooks",
            ] {
                self.ask(Method::POST, path, header, &json!({"url": 7, "records": "none"})).await;
            }
        }
        self.ask(Method::POST, "/api/session", ("Accept", "*/*"), &json!({"key": wrong})).await;
        for path in ["/metrics", "/readyz", "/statusz", "/healthz", "/api/v1/health", "/openapi.json"] {
            assert_eq!(
                self.ask(Method::GET, path, ("Accept", "*/*"), &Value::Null).await.status / 100,
                2,
                "{path}"
            );
        }
        self.ask(Method::DELETE, "/api/session", ("Cookie", &cookie), &Value::Null).await;
    }
}

/// Requests of RADIUS with the right secret and with another.
async fn account(bridge: &BridgeProcess, scene: &Scene) {
    let mut nas = Nas::new(address(bridge).await).await;
    let now = crate::harness::database::now();
    nas.secret = "another secret of somebody".into();
    let forged = nas.packet(&counted(report(INTERIM, "s1", ICCID, now), 1, 1, 1));
    nas.send(&forged).await;
    nas.secret = scene.radius_secret.clone();
    nas.tell(&counted(report(INTERIM, "s1", ICCID, now), 5, 5, 1)).await;
}

/// The commands that make logins and keys, and those that read the configuration.
async fn commands(scene: &mut Scene) -> (String, String) {
    let password = scene.canaries.make("a device's password");
    let told = scene.command(&["devices", "add", "meter", "--iccid", ICCID], &format!("{password}\n")).await;
    scene.saw_nothing("devices add", &told);
    let said = scene.command(&["keys", "create", "k", "--permission", "*"], "").await;
    let key = said.lines().find(|line| line.starts_with("mqs_")).expect("the key, this once").to_owned();
    scene.canaries.add("an API key", &key);
    scene.canaries.add("the hash of an API key", Sha256::digest(&key));
    let rest: Vec<&str> = said.lines().filter(|line| *line != key).collect();
    scene.saw_nothing("keys create", &rest.join("\n"));
    for arguments in [
        &["check"][..],
        &["status"],
        &["health"],
        &["keys", "list"],
        &["devices", "list"],
        &["roles", "list"],
    ] {
        scene.saw_nothing(&arguments.join(" "), &scene.command(arguments, "").await);
    }
    (password, key)
}

/// Catches a log of a dependency that tells parameters, frames or requests (the limits in `telemetry` taken away), a query of an address
/// in a message, a secret in an error, and a hash that leaves the database.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_comes_out_of_the_running_program() {
    if !installed() {
        return;
    }
    let mut scene = Scene::set().await;
    management(&scene).await;
    let (password, key) = commands(&mut scene).await;
    let wrong = scene.canaries.make("a password that is wrong");
    let wrong_key = format!("mqs_{}", scene.canaries.make("a key that is wrong"));
    let hooks = [
        PanelServer::start(|_| Reply::Answer(500, Vec::new(), "no".into())).await.address.to_string(),
        "127.0.0.1:1".into(),
    ];
    let bridge = BridgeProcess::start(&scene.options()).await;
    let mut asking = Asking { base: format!("http://{}", bridge.http), answers: String::new(), key: &key };
    for host in hooks {
        let token = scene.canaries.make("a token in a webhook's address");
        let secret = asking.webhook(&format!("http://{host}/hook/{token}?key={token}")).await;
        scene.canaries.add("the secret of a webhook", &secret);
        scene.canaries.add("the secret of a webhook", secret.trim_start_matches("whsec_"));
    }
    let cookie = asking.sign_in().await;
    scene.canaries.add("a session of the dashboard", &cookie);
    scene.canaries.add("the hash of a session", Sha256::digest(&cookie));
    asking.everything(&cookie, &wrong_key).await;
    log_in(
        &bridge,
        &scene,
        &[
            ("meter", &password, true),
            ("meter", &wrong, false),
            ("any", &key, true),
            ("any", &wrong_key, false),
        ],
    )
    .await;
    TcpStream::connect(bridge.mqtts.expect("TLS is on"))
        .await
        .expect("it listens")
        .write_all(b"no TLS")
        .await
        .ok();
    account(&bridge, &scene).await;
    let failed = "SELECT count(*) FROM alert_deliveries WHERE attempts >= 2";
    eventually("webhooks are tried", async || (scene.database.number(failed).await == 2).then_some(())).await;
    let refused = "simbridge_source_failures_total";
    for source in ["plant", "gone", "hq"] {
        let mark = format!("{refused}{{source=\"{source}\"");
        let told = async || {
            bridge
                .get("/metrics")
                .await
                .1
                .lines()
                .any(|l| l.starts_with(&mark) && !l.ends_with(" 0"))
                .then_some(())
        };
        eventually("sources fail", told).await;
    }
    let connected = "simbridge_source_connected";
    eventually("sources are connected", async || (bridge.metric(connected).await >= 2.0).then_some(())).await;
    bridge.signal(nix::sys::signal::Signal::SIGHUP);
    for path in ["/metrics", "/statusz"] {
        scene.saw_nothing(path, &bridge.get(path).await.1);
    }
    scene.saw_nothing("an answer over HTTP", &asking.answers);
    let log = bridge.log();
    assert_eq!(bridge.terminate().await, Some(0));
    assert!(log.iter().any(|line| line.contains("\"TRACE\"")), "it is as noisy as it can be");
    scene.saw_nothing_told(&log);
}

/// Catches a token of a panel in what its command says or logs, whatever the panel answers.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_panel_comes_out_of_its_command() {
    if !installed() {
        return;
    }
    let scene = Scene::set().await;
    let text = std::fs::read_to_string(scene.configuration()).expect("it is ours");
    scene.file("simbridge.toml", &text.replace("MANAGEMENT", "127.0.0.1:1"));
    let elsewhere = Reply::Answer(302, vec!["Location: http://127.0.0.1:1/".into()], String::new());
    let replies = [
        Reply::Json(json!({"total": 7})),
        Reply::Answer(401, Vec::new(), "no".into()),
        Reply::Answer(500, Vec::new(), "no".into()),
        Reply::Raw(b"not HTTP\r\n\r\n".to_vec()),
        Reply::Answer(200, Vec::new(), "{".into()),
        elsewhere,
    ];
    for reply in replies {
        scene.panel.reply(reply.clone());
        let said = scene.command(&["panel", "sync-one", ICCID], "").await;
        scene.saw_nothing(&format!("after {reply:?} it"), &said);
    }
    assert!(scene.panel.asked().iter().all(|asked| asked.path.contains("canary")), "the token was sent");
    std::fs::remove_file(scene.directory.path().join("bearer")).expect("it is ours");
    scene.saw_nothing("without its file it", &scene.command(&["panel", "sync-one", ICCID], "").await);
}
