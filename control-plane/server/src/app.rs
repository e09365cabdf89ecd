//! What every request and every job holds: the one shared value of an instance.

use crate::config::Config;
use crate::database::Database;
use crate::features::nodes::Revocations;
use crate::http::LoginThrottle;
use metrics_exporter_prometheus::PrometheusHandle;
use noderr_attestation::VendorRoots;
use noderr_broker::Broker;
use noderr_ca::Authority;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Shared by all parts of this instance.
pub(crate) type App = Arc<Instance>;

/// One running control plane.
pub(crate) struct Instance {
    /// This start of this process: who holds a lease, to whom a node is connected.
    pub(crate) id: Uuid,
    pub(crate) config: Config,
    pub(crate) database: Database,
    pub(crate) authority: Authority,
    pub(crate) vendor_roots: VendorRoots,
    /// Makes the secrets and nonces of exchanges; the same for all instances.
    pub(crate) exchange_key: Vec<u8>,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) logins: LoginThrottle,
    /// When the list for an external broker was last written, and what it said.
    pub(crate) revocations: Mutex<Option<(i64, Revocations)>>,
    /// Cancelled when the instance is told to stop.
    pub(crate) stop: CancellationToken,
    /// Set once, when the broker is up.
    pub(crate) broker: OnceLock<Arc<dyn Broker>>,
}

impl Instance {
    /// The broker; `None` only while the instance is starting.
    pub(crate) fn broker(&self) -> Option<&dyn Broker> {
        self.broker.get().map(AsRef::as_ref)
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
