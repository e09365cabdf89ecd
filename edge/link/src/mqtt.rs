//! The MQTT client of one session, on a thread of its own, and why a session ends.

use noderr_protocol::{EncodeError, MAX_ENVELOPE, NodeId, Topics};
use noderr_spool::SpoolError;
use rumqttc::{AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, Packet};
use rumqttc::{TlsConfiguration, Transport};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Events of the broker, and at last the error that ended the connection.
pub(crate) type Arrivals = mpsc::Receiver<Result<Event, ConnectionError>>;

/// Where to connect, and as which node.
#[derive(Clone)]
pub struct LinkConfig {
    /// Host and port of the broker.
    pub broker: (String, u16),
    /// The node.
    pub node: NodeId,
    /// Topic grammar.
    pub topics: Topics,
    /// The TLS configuration, with the node's key.
    pub tls: Arc<ClientConfig>,
    /// Shortest and longest pause between attempts.
    pub pauses: (Duration, Duration),
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("{0}")]
    Connection(String),
    #[error(
        "the broker turned this node away: it is revoked or suspended, or its certificate is not on record"
    )]
    TurnedAway,
    #[error("the control plane keeps asking for records that are gone")]
    Astray,
    #[error("the broker did not answer in time")]
    Silent,
    #[error("the spool cannot be read: {0}")]
    Spool(#[from] SpoolError),
    #[error("the task that used the spool panicked: {0}")]
    SpoolPanicked(String),
    #[error("a message cannot be written: {0}")]
    Unwritable(#[from] EncodeError),
    #[error("too much is waiting to be sent")]
    Congested,
    #[error("the node is stopping")]
    Stopping,
}

/// Begins to connect; returns the client and its arrivals.
pub(crate) fn client(config: &LinkConfig) -> (AsyncClient, Arrivals) {
    // A fresh client each time: a client that lost its session can stall for ever on packet ids of the old
    // session.
    let mut options = MqttOptions::new(config.node.to_string(), config.broker.0.clone(), config.broker.1);
    options.set_transport(Transport::Tls(TlsConfiguration::Rustls(config.tls.clone())));
    options.set_keep_alive(KEEP_ALIVE).set_clean_session(true).set_inflight(64);
    options.set_max_packet_size(MAX_ENVELOPE + 512, MAX_ENVELOPE + 512);
    let (client, mut events) = AsyncClient::new(options, 256);
    events.network_options.set_tcp_nodelay(true);
    events.network_options.set_connection_timeout(CONNECT_DEADLINE.as_secs());
    let (sender, arrivals) = mpsc::channel(64);
    // Polling has a thread of its own: it must go on while the spool is read, must not be cancelled half-way,
    // and waits for the TPM in the middle of a handshake. The thread ends when the arrivals are dropped.
    let reactor = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        reactor.block_on(async {
            loop {
                let event = tokio::select! {
                    event = events.poll() => event,
                    () = sender.closed() => return,
                };
                let over = event.is_err();
                if sender.send(event).await.is_err() || over {
                    return;
                }
            }
        });
    });
    (client, arrivals)
}

/// The next packet of the broker.
pub(crate) async fn next(arrivals: &mut Arrivals) -> Result<Packet, Lost> {
    loop {
        match arrivals.recv().await {
            Some(Ok(Event::Incoming(packet))) => return Ok(packet),
            Some(Ok(Event::Outgoing(_))) => {}
            Some(Err(ConnectionError::ConnectionRefused(
                ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword,
            ))) => return Err(Lost::TurnedAway),
            Some(Err(error)) => return Err(Lost::Connection(error.to_string())),
            None => return Err(Lost::Connection("the MQTT client ended".to_owned())),
        }
    }
}
