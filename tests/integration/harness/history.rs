//! Files of usage history.

use std::path::PathBuf;

use chrono::TimeDelta;
use simbridge::inventory;
use simbridge::store::sims::SimRow;
use simulator::fleet::{Fleet, FleetSpec};
use simulator::history::{self, HistoryFormat, HistoryOptions};
use tempfile::TempDir;

use super::database::{TestDatabase, now};

/// A directory with one file.
pub(crate) struct TestFile {
    pub(crate) path: PathBuf,
    _directory: TempDir,
}

pub(crate) fn file(name: &str, content: impl AsRef<[u8]>) -> TestFile {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(name);
    std::fs::write(&path, content).expect("a file");
    TestFile { path, _directory: directory }
}

/// A fleet's history up to now, with late and repeated records; also how many different ones it holds.
pub(crate) async fn history(
    database: &TestDatabase,
    format: HistoryFormat,
    sims: u32,
    hours: i64,
) -> (Vec<u8>, i64) {
    let fleet = Fleet::generate(FleetSpec { sims, seed: 3 });
    let csv = fleet.inventory_csv();
    let rows: Vec<SimRow> =
        inventory::read_csv(&csv[..]).expect("a header").collect::<Result<_, _>>().expect("good rows");
    database.import_at("2026-01-01T00:00:00Z", &rows).await;
    let to = now().date_naive().and_hms_opt(0, 0, 0).expect("midnight").and_utc();
    let options = HistoryOptions {
        from: to - TimeDelta::hours(hours),
        to,
        interval: TimeDelta::hours(1),
        run_id: "test".parse().expect("an id"),
        format,
        duplicate: 0.02,
        late: 0.05,
    };
    let mut bytes = Vec::new();
    history::write(&fleet, &options, &mut bytes).expect("a history");
    (bytes, fleet.publishing().len() as i64 * hours)
}
