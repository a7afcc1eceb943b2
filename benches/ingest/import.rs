use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use simbridge::domain::{Clock, TenantId};
use simbridge::ingest::PipelineOptions;
use simbridge::source::file::{Format, ImportRequest, Opened, RunOptions, UsageFile};
use tokio_util::sync::CancellationToken;

use crate::database::BenchDatabase;
use crate::workload::Workload;

/// Writes the workload into a file of this format.
pub(crate) fn write(workload: &Workload, format: Format, directory: &Path) -> PathBuf {
    let path = directory.join(match format {
        Format::Ndjson => "history.ndjson",
        Format::Csv => "history.csv",
    });
    let mut out = BufWriter::new(File::create(&path).expect("a file"));
    match format {
        Format::Ndjson => {
            for (_, payload) in workload.payloads() {
                out.write_all(&payload).and_then(|()| out.write_all(b"\n")).expect("room on the disk");
            }
        }
        Format::Csv => {
            let header =
                "recordId,iccid,periodStart,periodEnd,totalBytes,dataUploadBytes,dataDownloadBytes,source";
            writeln!(out, "{header}").expect("room on the disk");
            for row in &workload.rows {
                let (start, end) = row.period();
                let total = row.upload + row.download;
                let (id, iccid, up, down) = (&row.record_id, &row.iccid, row.upload, row.download);
                writeln!(out, "{id},{iccid},{start},{end},{total},{up},{down},bench")
                    .expect("room on the disk");
            }
        }
    }
    out.flush().expect("room on the disk");
    path
}

/// Imports a file as `simbridge import` does.
pub(crate) async fn import(
    database: &BenchDatabase,
    file: &Path,
    pipeline: PipelineOptions,
    records: usize,
) -> Duration {
    let started = Instant::now();
    let file = UsageFile::open(file, None).await.expect("the file was written above");
    let request = ImportRequest { tenant: TenantId(1), may_correct: false, again: false };
    let Opened::Ready(import) = file.import(request, &database.store).await.expect("the database works")
    else {
        panic!("the database is fresh");
    };
    let options = RunOptions {
        store: database.store.clone(),
        pipeline,
        metrics: Default::default(),
        database: Default::default(),
        clock: Clock::System,
        stop: CancellationToken::new(),
        grace: Duration::ZERO,
    };
    let report = import.run(options, |_| {}).await.expect("the import ends well");
    let elapsed = started.elapsed();
    assert_eq!(report.committed.stored as usize, records, "{report:?}");
    elapsed
}
