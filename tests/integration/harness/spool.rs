//! A directory into which tests put files.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use chrono::{SecondsFormat, TimeDelta};
use tempfile::TempDir;

use super::bridge::BridgeOptions;
use super::database::{TestDatabase, now};
use super::eventually;

/// What such a directory is called in the configuration.
pub(crate) const NAME: &str = "cdr";
pub(crate) const HEADER: &str = "recordId,iccid,periodStart,periodEnd,totalBytes\n";

pub(crate) struct Spool(TempDir);

impl Spool {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a whole file there at once, as those do who rename.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let hidden = self.path(&format!(".{name}"));
        std::fs::write(&hidden, content).expect("it is ours");
        std::fs::rename(hidden, self.path(name)).expect("it is ours");
    }

    /// Names of ordinary files in a directory within it, `""` for itself.
    pub(crate) fn names(&self, within: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(within)) else { return Vec::new() };
        let files = entries.flatten().filter(|entry| entry.path().is_file());
        let mut names: Vec<String> =
            files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Waits until `within` holds these files and no others.
    pub(crate) async fn holds(&self, within: &str, names: &[&str]) {
        let what = format!("{names:?} in {within}/");
        eventually(&what, async || (self.names(within) == names).then_some(())).await;
    }

    /// An instance that reads it; `more` are further settings of the source.
    pub(crate) fn instance(&self, database: &TestDatabase, more: &str) -> BridgeOptions {
        let mut options = BridgeOptions::new(database.url());
        let directory = Path::display(self.0.path());
        let settings = "interval_seconds = 1, settled_seconds = 0";
        let source = match more.contains("settled_seconds") {
            true => format!("interval_seconds = 1, {more}"),
            false => format!("{settings}, {more}"),
        };
        let source = source.trim_end_matches(", ");
        let block = format!("[{{name = \"{NAME}\", directory = \"{directory}\", {source}}}]");
        options.env.push(("SIMBRIDGE__SOURCE__FILES".into(), block));
        options.set("ingest.batch_max_messages", "200").set("ingest.queue_max_messages", "1000");
        options
    }
}

/// A time so many minutes ago, as records say it.
pub(crate) fn minutes_ago(minutes: i64) -> String {
    (now() - TimeDelta::minutes(minutes)).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Rows `from..to` of simbridge's own CSV, a byte each, without a header.
pub(crate) fn rows(iccid: &str, from: usize, to: usize) -> String {
    // The same whenever they are written: what differs would be a conflict.
    static AT: OnceLock<String> = OnceLock::new();
    let at = AT.get_or_init(|| minutes_ago(60));
    (from..to).map(|n| format!("r-{n},{iccid},{at},{at},1\n")).collect()
}

/// Makes every batch take a tenth of a second, until [`fast`].
pub(crate) async fn slow(database: &TestDatabase) {
    database
        .run(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM pg_sleep(0.1); RETURN NULL;
             END $$;
             CREATE TRIGGER slow AFTER INSERT ON rollup_markers FOR EACH STATEMENT EXECUTE FUNCTION slow();",
        )
        .await;
}

pub(crate) async fn fast(database: &TestDatabase) {
    database.run("DROP TRIGGER slow ON rollup_markers").await;
}

/// All bytes of the current cycles.
pub(crate) async fn counted(database: &TestDatabase) -> i64 {
    database.number("SELECT coalesce(sum(total_bytes), 0)::bigint FROM usage_cycles").await
}
