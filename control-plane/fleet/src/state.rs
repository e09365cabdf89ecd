//! The state that the features of this area share.

use crate::authority::vendor_roots;
use crate::settings::FleetSettings;
use crate::values::node_id;
use anyhow::Context as _;
use noderr_attestation::VendorRoots;
use noderr_broker::Broker;
use noderr_ca::Authority;
use noderr_kernel::{Database, HasKernel, Kernel};
use noderr_protocol::{Down, NodeId};
use rand::RngCore as _;
use std::sync::{Arc, OnceLock};
use tokio::sync::Mutex;

/// The state of the area.
pub struct Fleet {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// The area's sections of the configuration.
    pub settings: FleetSettings,
    /// The network's certificate authority.
    pub authority: Arc<Authority>,
    pub(crate) vendor_roots: VendorRoots,
    /// Makes the secrets and nonces of exchanges; the same for all instances.
    pub(crate) exchange_key: Vec<u8>,
    /// The revocation list that was last written for an external broker.
    pub(crate) published: Mutex<Option<Published>>,
    /// The broker; set once, when it is up.
    pub(crate) broker: OnceLock<Arc<dyn Broker>>,
}

/// A revocation list that was written.
pub(crate) struct Published {
    pub(crate) at: i64,
    /// The serial numbers of void certificates, and since when each is void.
    pub(crate) list: Vec<([u8; 16], i64)>,
}

impl Fleet {
    /// Opens the state of the area.
    pub async fn open(
        kernel: Arc<Kernel>,
        settings: FleetSettings,
        authority: Arc<Authority>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            vendor_roots: vendor_roots(&settings.enrolment)?,
            exchange_key: exchange_key(&kernel.database).await.context("cannot read the key of exchanges")?,
            published: Mutex::default(),
            broker: OnceLock::new(),
            kernel,
            settings,
            authority,
        })
    }

    /// The broker; `None` only while the instance is starting.
    pub fn broker(&self) -> Option<&dyn Broker> {
        self.broker.get().map(AsRef::as_ref)
    }

    /// Sends a message to a node. A node that is not connected gets the newest state at its next hello.
    pub(crate) async fn say(&self, node: &NodeId, message: &Down) {
        let Some(broker) = self.broker() else { return };
        if let Err(error) = broker.send(node, message).await {
            tracing::debug!(node = %node.short(), kind = message.kind().as_str(), %error, "a message was not handed on");
        }
    }

    /// The ids of the connected nodes that this instance serves. An external broker does not tell who is connected: what nodes
    /// have said does.
    pub(crate) async fn served(&self) -> sqlx::Result<Vec<Vec<u8>>> {
        if let Some(attached) = self.broker().and_then(Broker::attached) {
            return Ok(attached.iter().map(|session| session.node.as_bytes().to_vec()).collect());
        }
        let mut online = sqlx::query_scalar!("SELECT node_id FROM heartbeats WHERE online")
            .fetch_all(self.kernel.database.system())
            .await?;
        online.retain(|id| self.serves(&node_id(id)));
        Ok(online)
    }

    /// Whether this instance should send to a node; see [`Broker::serves`].
    pub(crate) fn serves(&self, node: &NodeId) -> bool {
        self.broker().is_some_and(|broker| broker.serves(node))
    }
}

impl HasKernel for Fleet {
    fn kernel(&self) -> &Kernel {
        &self.kernel
    }
}

/// The key behind the secrets and nonces of exchanges: made by the first instance, the same for all.
async fn exchange_key(database: &Database) -> sqlx::Result<Vec<u8>> {
    let mut fresh = [0; 32];
    rand::rng().fill_bytes(&mut fresh);
    sqlx::query!(
        "INSERT INTO secrets (key, value) VALUES ('exchange', $1) ON CONFLICT DO NOTHING",
        fresh.as_slice()
    )
    .execute(database.system())
    .await?;
    sqlx::query_scalar!("SELECT value FROM secrets WHERE key = 'exchange'").fetch_one(database.system()).await
}
