use std::process::ExitCode;

use serde_json::Value;

use crate::config::Loaded;

use super::failure::Failure;
use super::health;
use super::table::{self, printable};

/// Prints `/statusz`. What is well and what is not was decided there.
pub(super) async fn run(loaded: &Loaded) -> Result<ExitCode, Failure> {
    let (fine, body) = health::get(loaded, "/statusz").await?;
    let status = serde_json::from_str::<Value>(&body).ok().filter(|status| fine && status.is_object());
    let status = status.ok_or_else(|| Failure::new(69, "what answers there is not simbridge"))?;
    print!("{}", shown(&status));
    Ok(if status["status"] == "well" { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn shown(status: &Value) -> String {
    let mut text = format!("simbridge {}: {}\n", word(&status["version"]), word(&status["status"]));
    let broker = match &status["broker"] {
        Value::Null => "off".into(),
        broker => format!("{} connections", broker["connections"]),
    };
    text += &format!("broker   {broker}\n");
    text += &format!("queue    {} messages wait\n", status["queue"]["messages"]);
    text += &format!("rollups  {} behind\n", seconds(&status["rollup"]["lagSeconds"]));
    let sources = status["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !sources.is_empty() {
        let header = [
            "SOURCE",
            "KIND",
            "STATE",
            "SINCE",
            "LAST MESSAGE",
            "RECEIVED",
            "ACKNOWLEDGED",
            "OPEN",
            "LAG",
            "RECONNECTS",
            "LAST ERROR",
        ];
        text.push('\n');
        text += &table::lines(&header, &sources.iter().map(row).collect::<Vec<_>>());
        for source in sources {
            text += &files(source);
        }
    }
    for problem in status["problems"].as_array().into_iter().flatten() {
        text += &format!("not well: {}\n", word(problem));
    }
    text
}

fn row(source: &Value) -> Vec<String> {
    vec![
        word(&source["name"]),
        word(&source["kind"]),
        word(&source["state"]),
        time(&source["workingSince"]),
        time(&source["lastMessageAt"]),
        source["received"].to_string(),
        source["acknowledged"].to_string(),
        source["unacknowledged"].to_string(),
        seconds(&source["oldestUnacknowledgedSeconds"]),
        source["reconnects"].to_string(),
        word(&source["lastError"]),
    ]
}

/// What a directory has to say beyond its row.
fn files(source: &Value) -> String {
    let files = &source["files"];
    if !files.is_object() {
        return String::new();
    }
    let oldest = match files["waiting"].as_i64() {
        Some(0) | None => String::new(),
        Some(_) => format!(" (the oldest for {})", seconds(&files["oldestWaitingSeconds"])),
    };
    let reading = files["reading"].as_str().map(|name| format!("; reading {}", printable(name)));
    format!(
        "files of {}: {} done, {} failed, {} waiting{oldest}; rows: {} stored, {} duplicate, {} parked{}\n",
        word(&source["name"]),
        files["done"],
        files["failed"],
        files["waiting"],
        files["rowsStored"],
        files["rowsDuplicate"],
        files["rowsParked"],
        reading.unwrap_or_default()
    )
}

fn word(value: &Value) -> String {
    printable(value.as_str().unwrap_or("-"))
}

/// To the second.
fn time(value: &Value) -> String {
    let text = word(value);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

fn seconds(value: &Value) -> String {
    format!("{:.1} s", value.as_f64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_source_that_is_away_is_told_with_its_error() {
        let text = shown(&json!({
            "version": "1.2.3", "status": "not well", "problems": ["source `plant` is not subscribed: refused"],
            "broker": null, "queue": {"messages": 3}, "rollup": {"lagSeconds": 0.25},
            "sources": [{
                "name": "plant", "kind": "mqtt", "state": "waiting", "workingSince": null,
                "lastMessageAt": "2026-11-21T05:01:51.929522Z", "received": 7, "acknowledged": 6,
                "unacknowledged": 1, "oldestUnacknowledgedSeconds": 2.0, "reconnects": 4, "lastError": "re\u{1b}fused",
            }],
        }));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "simbridge 1.2.3: not well",
                "broker   off",
                "queue    3 messages wait",
                "rollups  0.2 s behind"
            ]
        );
        assert!(lines[6].starts_with("plant   mqtt  waiting  -      2026-11-21T05:01:51Z  7 "), "{text}");
        assert!(lines[6].ends_with("re\u{fffd}fused"), "{text}");
        assert_eq!(lines[7], "not well: source `plant` is not subscribed: refused");
    }
    /// Catches a directory of which only the row of every source is told.
    #[test]
    fn a_directory_tells_its_files() {
        let text = files(&json!({"name": "cdr", "files": {
            "done": 3, "failed": 1, "waiting": 2, "oldestWaitingSeconds": 61.0, "rowsStored": 40, "rowsDuplicate": 2,
            "rowsParked": 1, "reading": "a\u{1b}.csv",
        }}));
        let told = "files of cdr: 3 done, 1 failed, 2 waiting (the oldest for 61.0 s); rows: 40 stored, 2 duplicate, 1 parked";
        assert_eq!(text, format!("{told}; reading a\u{fffd}.csv\n"));
        assert_eq!(files(&json!({"name": "plant"})), "");
    }
}
