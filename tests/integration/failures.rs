//! What goes wrong at the start says so in one line, with the right exit code.

use std::net::TcpListener;
use std::process::Output;

use crate::harness::PATIENCE;
use crate::harness::bridge::simbridge;
use crate::harness::database::TestDatabase;

async fn run(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = simbridge();
    command.args(arguments).envs(env.iter().copied());
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts")
}

/// Exit code and the line on standard error; more than one line, or a stack trace, fails.
fn line(output: &Output) -> (Option<i32>, String) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let said: Vec<&str> = stderr.lines().filter(|line| line.starts_with("simbridge: ")).collect();
    assert_eq!(said.len(), 1, "{stderr}");
    assert!(!stderr.contains("stack backtrace") && !stderr.contains("panicked"), "{stderr}");
    (output.status.code(), said[0].to_owned())
}

#[tokio::test]
async fn a_taken_port_is_named_and_the_database_is_not_started() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data").to_string_lossy().into_owned();
    let output = run(&["serve", "--mqtt-addr", &address, "--data-dir", &data], &[]).await;
    let (code, said) = line(&output);
    assert_eq!(code, Some(69));
    assert!(said.contains(&address) && said.contains("--mqtt-addr"), "{said}");
    assert!(!directory.path().join("data").exists());
}

#[tokio::test]
async fn missing_binaries_name_what_to_install() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data").to_string_lossy().into_owned();
    let arguments =
        ["serve", "--mqtt-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--data-dir", &data];
    let output = run(&arguments, &[("SIMBRIDGE__POSTGRES__BIN_DIR", "/nonexistent")]).await;
    let (code, said) = line(&output);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("postgres.bin_dir"), "{said}");
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_database_are_wrong_settings() {
    let database = TestDatabase::new().await;
    let (head, tail) =
        database.url().split_once(":").map(|(s, r)| (s.to_owned(), r.to_owned())).expect("a URL");
    let (user, rest) = tail.split_once(":").expect("a user");
    let (_, host) = rest.split_once("@").expect("a host");
    let wrong = format!("{head}:{user}:wrong@{host}");
    let (code, said) = line(&run(&["reconcile"], &[("DATABASE_URL", &wrong)]).await);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("password"), "{said}");
    let missing = database.url().replace(&format!("/{}", database.name), "/no_such_database");
    let (code, said) = line(&run(&["reconcile"], &[("DATABASE_URL", &missing)]).await);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("no_such_database"), "{said}");
}

#[tokio::test]
async fn an_unwritable_directory_is_named() {
    // A file in the way stops root as well.
    let file = tempfile::NamedTempFile::new().expect("a file");
    let data = file.path().join("data").to_string_lossy().into_owned();
    let arguments =
        ["serve", "--mqtt-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--data-dir", &data];
    let (code, said) = line(&run(&arguments, &[]).await);
    assert!(matches!(code, Some(69 | 78)), "{said}");
    assert!(said.contains(&*file.path().to_string_lossy()), "{said}");
}

#[tokio::test]
async fn an_unknown_key_and_a_bad_value_are_named_with_their_place() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "[mqtt]\nlisen = \"127.0.0.1:1883\"\n").expect("it is ours");
    let path = file.path().to_string_lossy().into_owned();
    let (code, said) = line(&run(&["check", "--config", &path], &[]).await);
    assert_eq!(code, Some(78));
    assert!(said.contains("`mqtt.lisen`") && said.contains(&path), "{said}");
    std::fs::write(file.path(), "[nonsense]\n").expect("it is ours");
    let (code, said) = line(&run(&["check", "--config", &path], &[]).await);
    assert_eq!(code, Some(78));
    assert!(said.contains("nonsense"), "{said}");
    let (code, said) = line(&run(&["check"], &[("SIMBRIDGE__MQTT__RECEIVE_MAXIMUM", "0")]).await);
    assert_eq!(code, Some(78));
    assert!(
        said.contains("mqtt.receive_maximum") && said.contains("$SIMBRIDGE__MQTT__RECEIVE_MAXIMUM"),
        "{said}"
    );
}

#[tokio::test]
async fn a_schema_from_the_future_is_refused() {
    let database = TestDatabase::new().await;
    database.run("INSERT INTO schema_history (version, name, checksum) VALUES (9999, 'later', 'x')").await;
    for command in ["serve", "migrate", "reconcile"] {
        let arguments = [command, "--mqtt-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"];
        let (code, said) = line(&run(&arguments, &[("DATABASE_URL", &database.url())]).await);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("9999"), "{said}");
    }
}

#[tokio::test]
async fn anonymous_access_from_elsewhere_is_refused() {
    let database = TestDatabase::new().await;
    let arguments = ["serve", "--mqtt-addr", "0.0.0.0:0", "--http-addr", "127.0.0.1:0"];
    let env = [("DATABASE_URL", database.url()), ("SIMBRIDGE__MQTT__ANONYMOUS", "true".into())];
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (code, said) = line(&run(&arguments, &env).await);
    assert_eq!(code, Some(78));
    assert!(said.contains("devices add"), "{said}");
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_help_with_0() {
    assert_eq!(run(&["dance"], &[]).await.status.code(), Some(2));
    assert_eq!(run(&["serve", "--log-format", "xml"], &[]).await.status.code(), Some(2));
    for arguments in
        [&["--help"][..], &["serve", "--help"], &["demo", "--help"], &["sims", "import", "--help"]]
    {
        let output = run(arguments, &[]).await;
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout.len() > 200, "help that teaches");
    }
}

#[tokio::test]
async fn check_prints_every_value_with_its_origin_and_no_password() {
    let output = run(&["check", "--database-url", "postgres://me:s3cret@db/usage"], &[]).await;
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("url = \"postgres://me:***@db/usage\"  # --database-url"), "{text}");
    assert!(text.contains("listen = \"127.0.0.1:1883\"  # default"), "{text}");
    assert!(!text.contains("s3cret"));
}
