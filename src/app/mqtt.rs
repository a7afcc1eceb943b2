//! Where the embedded broker listens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Readiness;
use crate::broker::tls::Tls;
use crate::broker::{Broker, Listener};
use crate::config::mqtt::MqttConfig;
use crate::shutdown::vital;

use super::{StartError, listen};

/// Where clients find the broker.
#[derive(Clone, Copy, Debug, Default)]
pub struct MqttAddresses {
    pub tcp: Option<SocketAddr>,
    pub tls: Option<SocketAddr>,
    pub websocket: Option<SocketAddr>,
    pub websocket_tls: Option<SocketAddr>,
}

/// The broker's sockets, bound and not served yet.
pub(super) struct BrokerListeners {
    listeners: [Option<Listener>; 4],
    /// Of the listeners with TLS.
    tls: Option<Arc<Tls>>,
}

impl BrokerListeners {
    /// `None` without a broker. In the demo everybody may come in from everywhere, as `open` says.
    pub(super) async fn open(config: &MqttConfig, open: bool) -> Result<Option<Self>, StartError> {
        if !config.enabled {
            return Ok(None);
        }
        let mut listening = config.listeners().into_iter().filter(|(_, listen)| !listen.is_empty());
        if config.anonymous && !open && !listening.all(|(_, listen)| is_loopback(listen)) {
            return Err(StartError::Refused(
                "mqtt.anonymous is for this machine alone: let mqtt.listen, and what else listens, be loopback addresses, or add users with `simbridge devices add`",
            ));
        }
        let tls = match config.is_encrypted() {
            true => Some(Arc::new(Tls::load(&config.tls)?)),
            false => None,
        };
        let certificate = || tls.clone();
        let everybody = ["*".to_owned()];
        let origins = if open { &everybody } else { &config.websocket.origins[..] };
        let bind =
            async |what, address: &str, setting| listen(what, !address.is_empty(), address, setting).await;
        let tcp = bind("MQTT", &config.listen, "--mqtt-addr").await?;
        let encrypted = bind("MQTT over TLS", &config.tls.listen, "mqtt.tls.listen").await?;
        let websocket = &config.websocket;
        let ws = bind("MQTT over WebSocket", &websocket.listen, "mqtt.websocket.listen").await?;
        let wss = "MQTT over WebSocket and TLS";
        let wss = bind(wss, &websocket.tls_listen, "mqtt.websocket.tls_listen").await?;
        let listeners = [
            tcp.map(|listener| Listener::mqtt(listener, None)),
            encrypted.map(|listener| Listener::mqtt(listener, certificate())),
            ws.map(|listener| Listener::websocket(listener, None, origins)),
            wss.map(|listener| Listener::websocket(listener, certificate(), origins)),
        ];
        Ok(Some(Self { listeners, tls }))
    }

    pub(super) fn addresses(&self) -> MqttAddresses {
        let [tcp, tls, websocket, websocket_tls] =
            self.listeners.each_ref().map(|listener| listener.as_ref().and_then(Listener::address));
        MqttAddresses { tcp, tls, websocket, websocket_tls }
    }

    /// What SIGHUP reads again, if anything.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Runs `broker` behind these listeners until `soft` and everything is answered, or `hard`.
    pub(super) fn spawn(
        self,
        broker: Broker,
        readiness: Arc<Readiness>,
        tasks: &TaskTracker,
        soft: &CancellationToken,
        hard: &CancellationToken,
    ) {
        let (soft, hard) = (soft.clone(), hard.clone());
        let listeners = self.listeners.into_iter().flatten().collect();
        tasks.spawn(vital("broker", async move {
            broker.run(listeners, soft, hard).await;
            readiness.broker_runs.store(false, Ordering::Relaxed);
        }));
    }
}

fn is_loopback(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
        || address.rsplit_once(':').is_some_and(|(host, _)| host == "localhost")
}
