//! What every part of an instance holds.

use crate::act::Act;
use crate::database::Database;
use crate::node::NodeHooks;
use crate::notices::NoticeBus;
use crate::principal::{Authenticate, Permissions, Principal};
use metrics_exporter_prometheus::PrometheusHandle;
use noderr_front::Limiter;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// One running instance, as far as no feature is concerned.
pub struct Kernel {
    /// This start of this process: who holds a lease, to whom a node is connected.
    pub instance: Uuid,
    /// The database.
    pub database: Database,
    /// Finds out who asks.
    pub authenticate: Box<dyn Authenticate>,
    /// Everything there is to be allowed.
    pub permissions: Permissions,
    /// What a principal may ask.
    pub asking: Limiter<Uuid>,
    /// What the instances tell each other.
    pub notices: NoticeBus,
    /// What the features do about nodes; set once, when they are plugged in.
    pub hooks: OnceLock<NodeHooks>,
    /// The metrics that were recorded.
    pub metrics: PrometheusHandle,
    /// Cancelled when the instance is told to stop.
    pub stop: CancellationToken,
}

impl Kernel {
    /// Begins a transaction on somebody's behalf: it sees and changes only what they may.
    pub async fn begin(&self, who: Principal) -> sqlx::Result<Act> {
        Ok(Act::new(self.database.scoped(&who).await?, who))
    }

    /// What the features do about nodes; nothing while the instance is starting.
    pub fn hooks(&self) -> &NodeHooks {
        static NONE: NodeHooks = NodeHooks::none();
        self.hooks.get().unwrap_or(&NONE)
    }
}

/// Whatever holds a kernel: the state of an area, so that what the kernel brings works on it.
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
