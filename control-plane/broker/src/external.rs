//! An external MQTT cluster as the broker: one client connection with the control plane's own certificate.
//!
//! The cluster must enforce what the fence does (docs/admin.md shows the mosquitto configuration). The
//! cluster neither tells which nodes connect nor can be told to drop a session; a revoked node is kept out by
//! the revocation list, and ingest takes nothing from a revoked node.

use crate::{Attached, Broker, Intake, SendError, Shares, UpEvent, UpMessage};
use async_trait::async_trait;
use noderr_protocol::{Down, MAX_ENVELOPE, Message as _, NodeId, Topics};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use rustls::ClientConfig;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// The largest packet that is read of the cluster, which should hold its clients to far less.
const LARGEST_READ: usize = 64 << 20;
const RECONNECT: Duration = Duration::from_secs(1);
/// Messages to nodes that wait for the connection. Ingest answers in bursts and never waits: when the queue is full, the
/// message is dropped, and the node sends again after its stall timeout.
const WAITING: usize = 16 * 1024;

/// Makes the roots and a fresh client certificate for one session.
pub type MakeTls = Box<dyn Fn() -> anyhow::Result<Arc<ClientConfig>> + Send + Sync>;

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
    /// Which nodes this instance serves, of all that it hears.
    pub shares: Arc<Shares>,
    /// Makes the TLS configuration of a session; called before every session.
    pub tls: MakeTls,
    /// How long one session may last, which is well within the life of its certificate.
    pub session: Duration,
}

/// A broker somewhere else.
pub struct ExternalBroker {
    /// The client of the current session.
    client: Arc<Mutex<Option<AsyncClient>>>,
    topics: Topics,
    shares: Arc<Shares>,
    _keeper: AbortOnDropHandle<()>,
}

impl ExternalBroker {
    /// Connects, and keeps connecting for as long as the value lives.
    pub fn start(config: ExternalConfig, up: Intake) -> Self {
        let client = Arc::new(Mutex::new(None));
        let (topics, shares) = (config.topics.clone(), config.shares.clone());
        let _keeper = AbortOnDropHandle::new(tokio::spawn(keep(config, client.clone(), up)));
        Self { client, topics, shares, _keeper }
    }

    fn client(&self) -> Option<AsyncClient> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One session after another, each with a client and a certificate of its own.
async fn keep(config: ExternalConfig, client: Arc<Mutex<Option<AsyncClient>>>, up: Intake) {
    loop {
        let ended = tokio::time::timeout(config.session, session(&config, &client, &up)).await;
        *client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::warn!(error = format!("{error:#}"), "the external broker is not reachable");
                tokio::time::sleep(RECONNECT).await;
            }
            Err(_) => tracing::info!("a new session with the external broker, with a new certificate"),
        }
    }
}

/// Runs one session until it is lost (`Err`), or ingest no longer listens (`Ok`).
async fn session(
    config: &ExternalConfig,
    client: &Mutex<Option<AsyncClient>>,
    up: &Intake,
) -> anyhow::Result<()> {
    let mut options = MqttOptions::new(config.client_id.clone(), config.host.clone(), config.port);
    options.set_transport(Transport::Tls(TlsConfiguration::Rustls((config.tls)()?)));
    options.set_keep_alive(Duration::from_secs(20));
    // Larger than any message is taken for: what is too large is refused below, one by one. The client itself would end the
    // session over it, and the next session over the same message.
    options.set_max_packet_size(LARGEST_READ, MAX_ENVELOPE + 512);
    let (fresh, mut events) = AsyncClient::new(options, WAITING);
    events.network_options.set_tcp_nodelay(true);
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::ConnAck(_)) => {
                fresh.try_subscribe(config.topics.all_up_filter(), QoS::AtLeastOnce)?;
            }
            Event::Incoming(Packet::SubAck(_)) => {
                *client.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
            }
            Event::Incoming(Packet::Publish(publish)) if publish.payload.len() > MAX_ENVELOPE => {
                refused("size", &publish.topic);
            }
            // Nodes ask for nothing to be retained; what is retained all the same would come again at every connection.
            Event::Incoming(Packet::Publish(publish)) if publish.retain => {
                refused("retained", &publish.topic)
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let Some((node, kind)) = config.topics.parse_up(&publish.topic) else {
                    match config.topics.up_of(&publish.topic) {
                        Some(_) => metrics::counter!("noderr_broker_unheard_total").increment(1),
                        None => metrics::counter!("noderr_broker_foreign_topics_total").increment(1),
                    }
                    continue;
                };
                if !config.shares.holds(&node) {
                    metrics::counter!("noderr_broker_left_to_others_total").increment(1);
                    continue;
                }
                let message = UpMessage { node, kind, payload: publish.payload };
                if up.send(UpEvent::Message(message)).await.is_err() {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
}

/// Counts a publication that a node could not have made at the embedded broker.
fn refused(why: &'static str, topic: &str) {
    metrics::counter!("noderr_broker_refused_total", "why" => why).increment(1);
    tracing::warn!(
        why,
        topic = topic.get(..120).unwrap_or(topic),
        "a publication is refused; the cluster should not let it pass"
    );
}

#[async_trait]
impl Broker for ExternalBroker {
    async fn send(&self, node: &NodeId, message: &Down) -> Result<(), SendError> {
        let payload = message.encode()?;
        let client = self.client().ok_or(SendError::Unreachable)?;
        let topic = self.topics.down(node, message.kind());
        let qos = if message.kind().wants_acknowledgement() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        client.try_publish(topic, qos, false, payload).map_err(|_| SendError::Unreachable)
    }

    fn disconnect(&self, _node: &NodeId) {}

    fn is_well(&self) -> bool {
        self.client().is_some()
    }

    fn serves(&self, node: &NodeId) -> bool {
        self.shares.holds(node)
    }

    fn attached(&self) -> Option<Vec<Attached>> {
        None
    }
}
