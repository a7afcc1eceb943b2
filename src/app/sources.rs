//! Brokers of others: their configuration made usable, one task for each.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, MqttSourceConfig};
use crate::domain::{Clock, TenantId};
use crate::ingest::queue::IngestQueue;
use crate::ingest::topics::UsageTopics;
use crate::metrics::Metrics;
use crate::source::mqtt::{Address, MqttSource, MqttSourceOptions, SourceFault, TlsFiles, Version};
use crate::store::Store;

use super::StartError;

/// A source whose task had a defect is started again after so long.
const AFTER_DEFECT: Duration = Duration::from_secs(5);

/// Subscribes at every broker of the configuration, all of them or none. They end at the first of `stops` when what they
/// received is acknowledged, at the second at once.
pub(super) async fn start(
    config: &Config,
    clock: Clock,
    store: &Store,
    metrics: &Metrics,
    queue: &IngestQueue,
    tasks: &TaskTracker,
    stops: [&CancellationToken; 2],
) -> Result<(), StartError> {
    for source in prepare(config, clock, store, metrics).await? {
        let (queue, stops) = (queue.clone(), stops.map(CancellationToken::clone));
        let defective = source.clone();
        let run = {
            let [soft, hard] = stops.clone();
            move || {
                let (source, queue, soft, hard) = (source.clone(), queue.clone(), soft.clone(), hard.clone());
                async move { source.run(queue, soft, hard).await }
            }
        };
        tasks.spawn(keep_running(run, move || defective.note_defect(), AFTER_DEFECT, stops));
    }
    Ok(())
}

/// Looks up tenants and reads files; nothing is connected yet.
async fn prepare(
    config: &Config,
    clock: Clock,
    store: &Store,
    metrics: &Metrics,
) -> Result<Vec<Arc<MqttSource>>, StartError> {
    let mut sources = Vec::new();
    for source in &config.source.mqtt {
        let failed = |fault| StartError::Source { name: source.name.clone(), fault };
        let tenant = store.tenant_by_name(&source.tenant).await?.ok_or_else(|| {
            let problem = format!("there is no tenant `{}`", source.tenant);
            failed(SourceFault { key: "tenant", problem })
        })?;
        let options = options(source, config.source.client_id(source), tenant).map_err(failed)?;
        let state = metrics.sources.source(&source.name, clock);
        sources.push(Arc::new(MqttSource::new(options, state).map_err(failed)?));
    }
    Ok(sources)
}

/// Runs a source until it ends by itself, or until one of `stops`. A broker is foreign: what it sends may end its source's task, not
/// the program.
async fn keep_running<R>(
    mut run: impl FnMut() -> R,
    mut note_defect: impl FnMut(),
    pause: Duration,
    [soft, hard]: [CancellationToken; 2],
) where
    R: Future<Output = ()> + Send + 'static,
{
    // A panic is in the log, and its error is all that `await` can give here.
    while tokio::spawn(run()).await.is_err() {
        note_defect();
        tokio::select! {
            () = soft.cancelled() => return,
            () = hard.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn options(
    source: &MqttSourceConfig,
    client_id: String,
    tenant: TenantId,
) -> Result<MqttSourceOptions, SourceFault> {
    let address = Address::parse(&source.url).expect("checked when the configuration was loaded");
    Ok(MqttSourceOptions {
        login: login(source, &address)?,
        address,
        version: if source.version == 5 { Version::V5 } else { Version::V311 },
        topics: UsageTopics::parse(&source.topics).expect("checked when the configuration was loaded"),
        share_group: source.share_group.clone(),
        tenant,
        tenant_name: source.tenant.clone(),
        may_correct: source.may_correct,
        client_id,
        in_flight: source.in_flight,
        backlog_max_bytes: source.backlog_max_bytes,
        max_packet_bytes: source.max_packet_bytes,
        keep_alive: Duration::from_secs(source.keep_alive_seconds.into()),
        session_expiry_seconds: source.session_expiry_seconds,
        connect_timeout: Duration::from_secs(source.connect_timeout_seconds),
        tls: TlsFiles {
            ca: source.ca_file.clone(),
            certificate: source.certificate_file.clone(),
            key: source.key_file.clone(),
        },
        reconnect_first: Duration::from_millis(source.reconnect_first_ms),
        reconnect_longest: Duration::from_millis(source.reconnect_longest_ms),
    })
}

/// What is stated by itself goes before what the address holds.
fn login(source: &MqttSourceConfig, address: &Address) -> Result<Option<(String, String)>, SourceFault> {
    let stated = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut password = stated(&source.password).or_else(|| address.password.clone());
    let path = &source.password_file;
    if !path.as_os_str().is_empty() {
        let text = std::fs::read_to_string(path).map_err(|cause| SourceFault {
            key: "password_file",
            problem: format!("{}: {cause}", path.display()),
        })?;
        password = Some(text.trim_end().to_owned());
    }
    let username = stated(&source.username).or_else(|| address.username.clone());
    Ok(username.map(|username| (username, password.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn stops() -> [CancellationToken; 2] {
        [(); 2].map(|()| CancellationToken::new())
    }

    /// Runs something that panics twice and then ends by itself; returns how often it ran and how often it was said to be defective.
    async fn panics_twice(stops: [CancellationToken; 2], pause: Duration) -> (usize, usize) {
        let (runs, defects) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let run = || {
            let runs = runs.clone();
            async move {
                let before = runs.fetch_add(1, Ordering::Relaxed);
                assert!(before >= 2, "this panic is part of the test");
            }
        };
        let kept = keep_running(
            run,
            || {
                defects.fetch_add(1, Ordering::Relaxed);
            },
            pause,
            stops,
        );
        tokio::time::timeout(PATIENCE, kept).await.expect("it ends");
        (runs.load(Ordering::Relaxed), defects.load(Ordering::Relaxed))
    }

    /// Catches a defect that ends a source for good (`keep_running` that awaits the task once), one that ends the program (the
    /// panic would reach this test), and one that leaves it shown as subscribed.
    #[tokio::test]
    async fn a_source_that_panics_is_started_again_until_it_ends_by_itself() {
        assert_eq!(panics_twice(stops(), Duration::from_millis(1)).await, (3, 2));
    }

    /// Catches a stop that waits for the end of the pause.
    #[tokio::test]
    async fn a_stop_ends_the_pause_after_a_defect() {
        for which in 0..2 {
            let stops = stops();
            stops[which].cancel();
            assert_eq!(panics_twice(stops, Duration::from_secs(3600)).await, (1, 1));
        }
    }
}
