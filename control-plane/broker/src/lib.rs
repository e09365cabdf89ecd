//! The MQTT broker: TLS front end, a fence for each node, rumqttd as in-memory router; an external broker is
//! the other implementation.
//!
//! Strangers meet the [`Gate`](noderr_front::Gate) (bounded handshakes) and then the fence (what one node may
//! send and hear). Nothing that a node sends reaches the router: `up/` goes straight to the ingest channel
//! with back-pressure, and the router carries only what the control plane itself publishes under `down/`. The
//! broker stores nothing: what a node must not miss is read from the database again when the node says hello.

mod allowance;
mod embedded;
mod external;
mod fence;
mod intake;
mod registry;
mod router;
mod session;
mod shares;

use async_trait::async_trait;
use bytes::Bytes;
use noderr_ca::NodeCertificate;
use noderr_protocol::{Down, EncodeError, NodeId, UpKind};

pub use allowance::{Allowances, Rates};
pub use embedded::{EmbeddedBroker, EmbeddedConfig, StartError};
pub use external::{ExternalBroker, ExternalConfig, MakeTls};
pub use fence::{Fence, FenceLimits, Step, Violation};
pub use intake::{Intake, IntakeClosed, IntakeQueue};
pub use shares::{SHARES, Shares, due};

/// What the control plane asks of a broker, embedded or external.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Hands a message on, at most once: a node that is not connected misses the message and learns the
    /// newest state at its next hello.
    async fn send(&self, node: &NodeId, message: &Down) -> Result<(), SendError>;

    /// Ends a live session, if this instance holds one.
    fn disconnect(&self, node: &NodeId);

    /// Charges a node for messages that have turned out to cost more: takes bytes from its allowances. An
    /// external broker has bounds of its own.
    fn charge(&self, _node: &NodeId, _bytes: usize) {}

    /// Whether messages can be handed on now.
    fn is_well(&self) -> bool;

    /// Whether this instance should send to the node: with the embedded broker, the instance that holds the
    /// node's session; with an external broker, the instance that holds the node's share.
    fn serves(&self, node: &NodeId) -> bool;

    /// The sessions that this instance holds; `None` if the broker does not tell.
    fn attached(&self) -> Option<Vec<Attached>>;
}

/// A live session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// The node.
    pub node: NodeId,
    /// The serial number of the certificate that the session began with.
    pub serial: [u8; 16],
}

/// What a broker tells ingest.
#[derive(Debug)]
pub enum UpEvent {
    /// A session ended.
    Disconnected(NodeId),
    /// A node published.
    Message(UpMessage),
}

/// One publication, still encoded.
#[derive(Debug, Clone)]
pub struct UpMessage {
    /// The node that published, by its certificate.
    pub node: NodeId,
    /// The topic's last level.
    pub kind: UpKind,
    /// The envelope.
    pub payload: Bytes,
}

/// Decides, for every new session, whether a node with a valid certificate may come in now.
#[async_trait]
pub trait Admission: Send + Sync {
    /// `Err` turns the node away; the reason is logged.
    async fn admit(&self, peer: &NodeCertificate) -> Result<(), Denied>;
}

/// Why a node with a valid certificate is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The node or its certificate was revoked, the node was unbound, or its operator is suspended.
    #[error("the node is revoked or unbound, or its operator is suspended")]
    NotAdmitted,
    /// The node or the certificate is not on record.
    #[error("the certificate is not on record")]
    Unknown,
    /// The database did not answer in time; the node will connect again.
    #[error("admission could not be decided: {0}")]
    Undecided(String),
}

/// Why a message was not handed on.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The message does not fit the wire.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The router or the external broker is gone; a watchdog is bringing back the connection.
    #[error("the broker is not reachable")]
    Unreachable,
}

/// The metrics of this crate: name and help.
pub const METRICS: &[(&str, &str)] = &[
    (
        "noderr_broker_deliveries_dropped_total",
        "Messages to nodes that the node had not subscribed to or had no room for",
    ),
    (
        "noderr_broker_foreign_topics_total",
        "Publications of an external broker under a topic that belongs to no node",
    ),
    (
        "noderr_broker_refused_total",
        "Publications of an external broker that are too large, or retained, by reason",
    ),
    (
        "noderr_broker_left_to_others_total",
        "Publications of an external broker that another instance of the control plane serves",
    ),
    ("noderr_broker_unheard_total", "Publications of kinds that this version does not know"),
    ("noderr_broker_router_restarts_total", "MQTT routers that stopped answering and were replaced"),
    ("noderr_broker_sessions_ended_total", "MQTT sessions that ended, by reason"),
    (
        "noderr_broker_slow_readers_total",
        "MQTT sessions that were ended because the node did not take its messages",
    ),
];
