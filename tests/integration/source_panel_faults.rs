//! Panels that are slow, broken, hostile or want to be left alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use simbridge::config::PanelSourceConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::api::TestApi;
use crate::harness::certificates::Certificates;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::panel::{PanelServer, Reply, last_error, read_again, read_once, stored};
use crate::source_panel::program;

const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";

/// A program that has read 1000 bytes as the base of one account.
async fn base(change: impl FnOnce(&mut PanelSourceConfig)) -> (TestDatabase, PanelServer, TestApi) {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID), sim(OTHER)]).await;
    let panel = PanelServer::saying(json!({"total": 1_000})).await;
    let mut config = panel.config(&[ICCID]);
    change(&mut config);
    let api = program(&database, config).await;
    read_once(&database).await;
    (database, panel, api)
}

async fn last_error_of(api: &TestApi) -> String {
    api.get("/statusz").await.json()["sources"][0]["lastError"].as_str().unwrap_or_default().to_owned()
}

/// Catches an answer that is half read and counts, a fault that ends the source, and one that is not tried again.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_none_is_asked_for_again_and_then_told() {
    let (database, panel, api) = base(|_| ()).await;
    let raw = |text: &str| Reply::Raw(text.as_bytes().into());
    for (reply, told) in [
        (
            Reply::Answer(200, vec![], "<html>\u{1b}[2JLogin</html>".into()),
            "answered with something that is no JSON",
        ),
        (raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"total\": 2000"), "no JSON: EOF"),
        (
            raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"total\": 2000}"),
            "end of file before message length reached",
        ),
        (raw(""), "connection closed before message completed"),
        (raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "invalid HTTP version parsed"),
        (Reply::Answer(500, vec![], "{\"total\": 2000}".into()), "answered 500"),
    ] {
        let before = panel.asked().len();
        panel.reply(reply);
        read_again(&database).await;
        let error = last_error(&database).await;
        assert!(error.contains(told) && !error.contains('\u{1b}'), "{error}");
        assert_eq!(panel.asked().len() - before, 3, "{told}: two retries");
        let status = api.get("/statusz").await.json();
        assert_eq!(status["sources"][0]["state"], "waiting");
        assert!(status["problems"][0].as_str().expect("a problem").contains("source `isp` is not reading"));
    }
    assert_eq!(stored(&database).await, [""; 0]);
    let mut left = 2;
    panel.script(move |_| {
        left -= 1;
        if left >= 0 { Reply::Raw(Vec::new()) } else { Reply::Json(json!({"total": 1_400})) }
    });
    read_again(&database).await;
    assert_eq!(last_error(&database).await, "NULL");
    assert_eq!(stored(&database).await, [format!("{ICCID}|400")]);
    assert_eq!(api.get("/statusz").await.json()["sources"][0]["state"], "reading");
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches an answer without an end that fills the memory, and one that never comes and holds the source up.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_bounded_in_size_and_time() {
    let (database, panel, api) = base(|config| {
        config.max_response_bytes = 2_048;
        config.timeout_seconds = 1;
    })
    .await;
    let mut endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    endless.resize(32 << 20, b' ');
    panel.reply(Reply::Raw(endless));
    read_again(&database).await;
    assert_eq!(last_error_of(&api).await, "an account: answered with more than 2048 bytes");
    panel.reply(Reply::Answer(200, vec![], "[".repeat(2_000)));
    read_again(&database).await;
    assert!(last_error(&database).await.contains("recursion limit exceeded"));
    panel.reply(Reply::Silence);
    read_again(&database).await;
    assert_eq!(last_error(&database).await, "no answer in time");
    panel.say(json!({"total": 1_001}));
    read_again(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|1")]);
    api.close().await;
}

/// Catches a program that goes on asking where it is refused, and one account's fault that costs the others.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_not_found_costs_no_other_and_a_refusal_ends_the_look() {
    let (database, panel, api) = base(|config| {
        config.accounts = vec![ICCID.into(), OTHER.into()];
        config.max_concurrent = 1;
    })
    .await;
    panel.script(|asked| match asked.path.ends_with('1') {
        true => Reply::Answer(404, vec![], String::new()),
        false => Reply::Json(json!({"total": 1_007})),
    });
    read_again(&database).await;
    assert_eq!(last_error(&database).await, "NULL");
    assert_eq!(last_error_of(&api).await, "an account: answered 404 Not Found");
    assert_eq!(stored(&database).await, [format!("{OTHER}|7")]);
    let before = panel.asked().len();
    panel.reply(Reply::Answer(401, vec![], String::new()));
    read_again(&database).await;
    assert_eq!(last_error(&database).await, "answered 401 Unauthorized");
    assert_eq!(panel.asked().len() - before, 1);
    // The next look begins where this one did not get to, so that a slow panel is read to its end some time.
    panel.script(|asked| match asked.path.ends_with('1') {
        true => Reply::Json(json!({"total": 1_010})),
        false => Reply::Answer(401, vec![], String::new()),
    });
    read_again(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|10"), format!("{OTHER}|7")]);
    let before = panel.asked().len();
    panel.say(json!({"total": 1_020}));
    read_again(&database).await;
    let paths: Vec<_> = panel.asked().drain(before..).map(|asked| asked.path).collect();
    assert_eq!(paths, [format!("/users/{OTHER}"), format!("/users/{ICCID}")]);
    api.close().await;
}

/// Catches a pause that is not kept, or kept by the instance that was told only.
#[tokio::test(flavor = "multi_thread")]
async fn a_panel_that_wants_to_be_left_alone_is() {
    let (database, panel, api) = base(|_| ()).await;
    let mut first = true;
    panel.script(move |_| match std::mem::take(&mut first) {
        true => Reply::Answer(429, vec!["Retry-After: 0".into()], String::new()),
        false => Reply::Json(json!({"total": 1_010})),
    });
    read_again(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|10")], "a short pause is waited for");
    let date = (crate::harness::database::now() + Duration::from_secs(7_000)).to_rfc2822();
    for (after, least, most) in
        [("3600".to_owned(), 3_500, 3_600), (date, 6_900, 7_000), ("9".repeat(30), 86_000, 86_400)]
    {
        let before = panel.asked().len();
        panel.reply(Reply::Answer(429, vec![format!("Retry-After: {after}")], String::new()));
        read_again(&database).await;
        assert_eq!(last_error(&database).await, "answered 429 Too Many Requests");
        let wait = "SELECT extract(epoch FROM wait_until - clock_timestamp())::bigint FROM source_leases";
        let wait = database.number(wait).await;
        assert!((least..=most).contains(&wait), "{after}: {wait}");
        assert_eq!(panel.asked().len() - before, 1);
        let store = database.another_store();
        let key = simbridge::store::source_leases::LeaseKey { source: "isp".into(), holder: "b".into() };
        database.run("UPDATE source_leases SET finished_slot = NULL").await;
        let taken = store.take_source_lease(&key, Duration::from_secs(8), None).await;
        assert!(!taken.expect("an answer"), "nobody may ask, whatever is due");
        assert_eq!(panel.asked().len() - before, 1);
    }
    api.close().await;
}

/// Catches the secret that is given to another host, and a file that is read at the start only.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_stays_with_its_host() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "s3cret\n").expect("it is ours");
    let (database, panel, api) = base(|config| {
        config.auth = "bearer".into();
        config.auth_file = file.path().into();
    })
    .await;
    let given =
        |panel: &PanelServer| panel.asked().last().map(|asked| asked.headers["authorization"].clone());
    assert_eq!(given(&panel), Some("Bearer s3cret".into()));
    let other = PanelServer::saying(json!({"total": 5_000})).await;
    panel.reply(Reply::Answer(302, vec![format!("Location: {}", other.url("/users"))], String::new()));
    std::fs::write(file.path(), "changed").expect("it is ours");
    read_again(&database).await;
    assert!(last_error(&database).await.starts_with("answered 302 Found, which leads elsewhere"));
    assert_eq!((given(&panel), other.asked().len()), (Some("Bearer changed".into()), 0));
    panel.script(|asked| match asked.path.as_str() {
        "/moved" => Reply::Json(json!({"total": 1_002})),
        _ => Reply::Answer(302, vec!["Location: /moved".into()], String::new()),
    });
    read_again(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|2")]);
    assert_eq!(given(&panel), Some("Bearer changed".into()), "within the host it is followed");
    panel.reply(Reply::Answer(302, vec!["Location: /again".into()], String::new()));
    read_again(&database).await;
    assert!(last_error(&database).await.starts_with("answered 302 Found"), "not for ever");
    std::fs::remove_file(file.path()).expect("it is there");
    read_again(&database).await;
    assert!(last_error(&database).await.starts_with("auth_file: "));
    api.close().await;
}

/// An encrypted way to a panel.
async fn encrypted(panel: SocketAddr, certificates: &Certificates) -> String {
    let chain = CertificateDer::pem_file_iter(certificates.path("server.pem")).expect("a file");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("they suit the provider")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(socket).await else { return };
                let mut panel = TcpStream::connect(panel).await.expect("it listens");
                tokio::io::copy_bidirectional(&mut client, &mut panel).await.ok();
            });
        }
    });
    format!("https://localhost:{port}/users/{{account}}")
}

/// Catches a panel that is believed whoever it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_has_to_be_of_a_trusted_authority() {
    let certificates = Certificates::create(&[]).await;
    for trusted in [true, false] {
        let database = TestDatabase::new().await;
        database.import(&[sim(ICCID)]).await;
        let panel = PanelServer::saying(json!({"total": 1_000})).await;
        let mut config = panel.config(&[ICCID]);
        config.url = encrypted(panel.address, &certificates).await;
        if trusted {
            config.ca_file = certificates.path("ca.pem");
        }
        let api = program(&database, config).await;
        read_once(&database).await;
        let error = last_error(&database).await;
        let told = if trusted { "NULL" } else { "UnknownIssuer" };
        assert!(error.contains(told), "{error}");
        assert_eq!(panel.asked().len(), usize::from(trusted));
        api.close().await;
    }
}
