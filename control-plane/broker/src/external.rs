//! An external MQTT cluster as the broker: one client connection with the control plane's own certificate.
//!
//! The cluster must enforce what the fence does (docs/admin.md shows the mosquitto configuration). It neither tells
//! who connects nor can be told to drop a session; a revoked node is kept out by the revocation list and by ingest,
//! which takes nothing from it.

use crate::{Broker, SendError, UpEvent, UpMessage};
use async_trait::async_trait;
use noderr_protocol::{Down, MAX_ENVELOPE, Message as _, NodeId, Topics};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use rustls::ClientConfig;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

const RECONNECT: Duration = Duration::from_secs(1);

/// Where the cluster is and how to speak to it.
pub struct ExternalConfig {
    /// Host name of the cluster, as its certificate has it.
    pub host: String,
    /// TLS port.
    pub port: u16,
    /// Topic grammar.
    pub topics: Topics,
    /// This instance's client id; two instances must not share one.
    pub client_id: String,
    /// Roots and client certificate.
    pub tls: Arc<ClientConfig>,
}

/// A broker somewhere else.
pub struct ExternalBroker {
    client: AsyncClient,
    topics: Topics,
    connected: Arc<AtomicBool>,
    _poller: AbortOnDropHandle<()>,
}

impl ExternalBroker {
    /// Connects, and keeps connecting for as long as the value lives.
    pub fn start(config: ExternalConfig, up: mpsc::Sender<UpEvent>) -> Self {
        let mut options = MqttOptions::new(config.client_id, config.host, config.port);
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(config.tls)));
        options.set_keep_alive(Duration::from_secs(20));
        options.set_max_packet_size(MAX_ENVELOPE + 512, MAX_ENVELOPE + 512);
        let (client, events) = AsyncClient::new(options, 256);
        let connected = Arc::new(AtomicBool::new(false));
        let poller = poll(events, client.clone(), config.topics.clone(), connected.clone(), up);
        let _poller = AbortOnDropHandle::new(tokio::spawn(poller));
        Self { client, topics: config.topics, connected, _poller }
    }
}

async fn poll(
    mut events: rumqttc::EventLoop,
    client: AsyncClient,
    topics: Topics,
    connected: Arc<AtomicBool>,
    up: mpsc::Sender<UpEvent>,
) {
    events.network_options.set_tcp_nodelay(true);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                connected.store(true, Ordering::Relaxed);
                if let Err(error) = client.try_subscribe(topics.all_up_filter(), QoS::AtLeastOnce) {
                    tracing::error!(%error, "cannot subscribe at the external broker");
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let Some((node, kind)) = topics.parse_up(&publish.topic) else {
                    metrics::counter!("noderr_broker_foreign_topics_total").increment(1);
                    continue;
                };
                let message = UpMessage { node, kind, payload: publish.payload };
                if up.send(UpEvent::Message(message)).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                connected.store(false, Ordering::Relaxed);
                tracing::warn!(%error, "the external broker is not reachable");
                tokio::time::sleep(RECONNECT).await;
            }
        }
    }
}

#[async_trait]
impl Broker for ExternalBroker {
    async fn send(&self, node: &NodeId, message: &Down) -> Result<(), SendError> {
        let payload = message.encode()?;
        if !self.connected.load(Ordering::Relaxed) {
            return Err(SendError::Unreachable);
        }
        let topic = self.topics.down(node, message.kind());
        self.client.try_publish(topic, QoS::AtLeastOnce, false, payload).map_err(|_| SendError::Unreachable)
    }

    fn disconnect(&self, _node: &NodeId) {}

    fn attached(&self) -> Option<Vec<NodeId>> {
        None
    }
}
