use std::process::ExitCode;

use tracing::info;

use crate::app::{Bridge, StartOptions};
use crate::config::Loaded;
use crate::domain::Clock;
use crate::service_manager;
use crate::shutdown::{Signals, exit_on_next_signal, log_panics};
use crate::telemetry;

use super::failure::Failure;

pub(super) async fn run(loaded: Loaded) -> Result<ExitCode, Failure> {
    telemetry::init(&loaded.config.log);
    log_panics();
    let mut signals = Signals::new().map_err(|e| Failure::new(69, format!("cannot handle signals: {e}")))?;
    let bridge = tokio::select! {
        started = Bridge::start(&loaded.config, StartOptions { clock: Clock::System, open: false }) => started?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let show = |address: Option<std::net::SocketAddr>| address.map_or("off".to_owned(), |a| a.to_string());
    info!(
        mqtt = show(bridge.mqtt_addr),
        mqtts = show(bridge.mqtt.tls),
        ws = show(bridge.mqtt.websocket),
        wss = show(bridge.mqtt.websocket_tls),
        http = show(bridge.http_addr),
        "simbridge is ready"
    );
    service_manager::ready();
    tokio::select! {
        () = signals.next() => {}
        () = service_manager::prove_life(|patience| bridge.stuck(patience)) => {}
    }
    service_manager::stopping();
    info!("stopping: what was received is being committed");
    exit_on_next_signal(signals);
    bridge.drain().await;
    bridge.close().await;
    Ok(ExitCode::SUCCESS)
}
