//! `simbridge panel sync-one`.

use serde_json::json;

use crate::harness::bridge::simbridge;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::panel::{PanelServer, Reply, stored};

const ICCID: &str = "8941000000000000001";

async fn sync(database: &TestDatabase, blocks: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = simbridge();
    command.args(["panel", "sync-one"]).args(arguments);
    command.env("DATABASE_URL", database.url()).env("SIMBRIDGE__SOURCE__PANEL", blocks);
    let output = command.output().await.expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).trim_end().to_owned())
}

fn block(panel: &PanelServer, name: &str) -> String {
    format!(
        "{{name = \"{name}\", url = \"{}\", total = [\"/data/total\"], retry_first_ms = 1}}",
        panel.url("/u/{account}")
    )
}

/// Catches a figure that is said to be stored and is not, and one that is stored and not said.
#[tokio::test(flavor = "multi_thread")]
async fn one_account_is_read_and_every_step_is_told() {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let panel = PanelServer::saying(json!({"data": {"total": 1_000}})).await;
    let blocks = format!("[{}]", block(&panel, "isp"));
    let lines = async |arguments: &[&str]| {
        let (code, text) = sync(&database, &blocks, arguments).await;
        (code, text.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let (code, told) = lines(&[ICCID]).await;
    let expected = [
        format!("account   {ICCID} of isp"),
        "fetched   /data/total = 1000".into(),
        "previous  none".into(),
        "current   1000 bytes".into(),
        "delta     0 bytes".into(),
        "stored    as the base from which the next reading counts".into(),
    ];
    assert_eq!((code, told.as_slice()), (Some(0), &expected[..]));

    panel.say(json!({"data": {"total": "1250"}}));
    let (code, told) = lines(&[ICCID, "--source", "isp"]).await;
    assert_eq!(
        (code, &told[3..]),
        (Some(0), &["current   1250 bytes", "delta     250 bytes", "stored    yes"].map(str::to_owned)[..])
    );
    assert!(
        told[2].starts_with("previous  1000 bytes, read 20")
            && told[2].ends_with(&format!("for SIM {ICCID}")),
        "{told:?}"
    );
    assert_eq!(lines(&[ICCID]).await.1[5], "stored    no, nothing is new");
    for (value, word) in [(1_249, "the value went back"), (3, "the value fell far")] {
        panel.say(json!({"data": {"total": value}}));
        let (code, told) = lines(&[ICCID]).await;
        assert!(code == Some(1) && told[5].contains(word) && told[4] == "delta     0 bytes", "{told:?}");
    }
    assert_eq!(stored(&database).await, [format!("{ICCID}|250")]);

    let (code, told) = lines(&["alice"]).await;
    assert!(code == Some(1) && told[5].contains("stands for no SIM"), "{told:?}");
    let (code, told) = lines(&[".."]).await;
    assert!(code == Some(69) && told[0].contains("no accounts of an address"), "{told:?}");
    panel.say(json!({"data": {"total": "1 GB"}}));
    let (code, told) = lines(&[ICCID]).await;
    assert!(code == Some(1) && told[0].contains("/data/total is `1 GB`"), "{told:?}");
    panel.reply(Reply::Answer(404, vec![], String::new()));
    assert_eq!(lines(&[ICCID]).await, (Some(69), vec!["simbridge: answered 404 Not Found".into()]));
    database.assert_reconciled().await;
}

/// Catches a command that takes any panel where it has to be told which one.
#[tokio::test(flavor = "multi_thread")]
async fn the_panel_that_is_meant_has_to_be_clear() {
    let database = TestDatabase::new().await;
    let panel = PanelServer::saying(json!({"data": {"total": 1}})).await;
    let two = format!("[{}, {}]", block(&panel, "isp"), block(&panel, "vpn"));
    let (code, told) = sync(&database, &two, &[ICCID]).await;
    assert_eq!((code, told.as_str()), (Some(2), "simbridge: say which one with --source: isp, vpn"));
    let (code, told) = sync(&database, &two, &[ICCID, "--source", "hq"]).await;
    assert_eq!((code, told.as_str()), (Some(1), "simbridge: the configuration has no panel `hq`"));
    assert_eq!(sync(&database, "[]", &[ICCID]).await.0, Some(1));
    assert_eq!(panel.asked().len(), 0);
}
