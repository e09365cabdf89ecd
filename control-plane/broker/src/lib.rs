//! The MQTT broker: TLS front end, per-node topic fence, rumqttd as in-memory router; an external broker as the
//! other implementation.
//!
//! Strangers meet [`Gate`] (handshakes, bounded) and then the fence (what one node may say). Nothing a node sends
//! reaches the router: `up/` goes straight to the ingest channel with back-pressure, and the router carries only
//! what the control plane itself publishes under `down/`. The broker stores nothing: what a node must not miss is
//! read from the database again when it says hello.

mod allowance;
mod embedded;
mod external;
mod fence;
mod gate;
mod registry;
mod router;
mod session;

use async_trait::async_trait;
use bytes::Bytes;
use noderr_ca::NodeCertificate;
use noderr_protocol::{Down, EncodeError, NodeId, UpKind};

pub use allowance::{Allowances, Rate, Rates};
pub use embedded::{EmbeddedBroker, EmbeddedConfig, StartError};
pub use external::{ExternalBroker, ExternalConfig, MakeTls};
pub use fence::{Fence, FenceLimits, Step, Violation};
pub use gate::{Gate, GateLimits, TlsConnection, subnet};

/// What the control plane asks of a broker, whichever one it is.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Hands a message on, at most once: a node that is not there misses it and learns the newest at its hello.
    async fn send(&self, node: &NodeId, message: &Down) -> Result<(), SendError>;

    /// Ends a live session, if this instance holds one.
    fn disconnect(&self, node: &NodeId);

    /// Takes from what a node may still send, for what its messages have turned out to cost. An external broker has
    /// bounds of its own.
    fn charge(&self, _node: &NodeId, _bytes: usize) {}

    /// Whether messages can be handed on now.
    fn is_well(&self) -> bool;

    /// Nodes whose sessions this instance may speak to. `None`: the broker does not say, try any.
    fn attached(&self) -> Option<Vec<NodeId>>;
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
    /// Who, by certificate.
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
    /// It or its certificate was revoked, it was unbound, or its operator is suspended.
    #[error("the node is revoked or unbound, or its operator is suspended")]
    Unwelcome,
    /// No such node, or the certificate is not one on record.
    #[error("the certificate is not on record")]
    Unknown,
    /// The database did not say in time; the node will come again.
    #[error("admission could not be decided: {0}")]
    Undecided(String),
}

/// Why a message was not handed on.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It does not fit the wire.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The router or the external broker is gone; a watchdog is bringing it back.
    #[error("the broker is not reachable")]
    Unreachable,
}
