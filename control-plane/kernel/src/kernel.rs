//! The kernel of an instance: what every part of the instance holds.

use crate::act::Act;
use crate::database::Database;
use crate::node::NodeHooks;
use crate::notices::NoticeBus;
use crate::principal::{Authenticate, Permissions, Principal};
use crate::recognised::Recognised;
use metrics_exporter_prometheus::PrometheusHandle;
use noderr_front::Limiter;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Everything of a running instance that is of no feature.
pub struct Kernel {
    /// The id of this start of the process: names the holder of a lease, and the instance that a node is
    /// connected to.
    pub instance: Uuid,
    /// The database.
    pub database: Database,
    /// Finds the principal of a credential.
    pub authenticate: Box<dyn Authenticate>,
    /// All permissions.
    pub permissions: Permissions,
    /// The rate of requests of each principal.
    pub asking: Limiter<Uuid>,
    /// The rate of each address whose requests carry no credential that counts.
    pub strangers: Arc<Limiter<IpAddr>>,
    /// Credentials that were good lately.
    pub recognised: Recognised,
    /// The notices that the instances send each other.
    pub notices: NoticeBus,
    /// What the features do about nodes; set once, when the features are plugged in.
    pub hooks: OnceLock<NodeHooks>,
    /// The metrics that were recorded.
    pub metrics: PrometheusHandle,
    /// The token that is cancelled when the instance is told to stop.
    pub stop: CancellationToken,
}

impl Kernel {
    /// Begins an act on behalf of a principal: the transaction sees and changes only what the principal may.
    pub async fn begin(&self, who: Principal) -> sqlx::Result<Act> {
        Ok(Act::new(self.database.scoped(&who).await?, who))
    }

    /// What the features do about nodes; nothing while the instance is starting.
    pub fn hooks(&self) -> &NodeHooks {
        static NONE: NodeHooks = NodeHooks::none();
        self.hooks.get().unwrap_or(&NONE)
    }
}

/// A state that holds a kernel, such as that of an area, so that the kernel's extractors and jobs work with
/// the state.
pub trait HasKernel: Send + Sync {
    /// The kernel.
    fn kernel(&self) -> &Kernel;
}

impl HasKernel for Kernel {
    fn kernel(&self) -> &Kernel {
        self
    }
}

impl<T: HasKernel> HasKernel for Arc<T> {
    fn kernel(&self) -> &Kernel {
        self.as_ref().kernel()
    }
}
