//! What the parts of a node share: each part takes what it needs from here.

use crate::config::Config;
use crate::desired::Desired;
use crate::outbox::Outbox;
use crate::status::Board;
use noderr_identity::{NodeKeys, TrustedClock};
use noderr_link::LinkState;
use noderr_part::Folder;
use noderr_protocol::{AttestationChallenge, Down, Up};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Cheap to clone, so that a part can be started again.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) data: Arc<Folder>,
    pub(crate) keys: NodeKeys,
    pub(crate) clock: TrustedClock,
    pub(crate) board: Board,
    pub(crate) outbox: Outbox,
    pub(crate) desired: Desired,
    /// Seconds between samples.
    pub(crate) sample_every_s: watch::Sender<u16>,
    /// The newest challenge.
    pub(crate) challenge: watch::Sender<Option<AttestationChallenge>>,
    /// What the control plane says.
    pub(crate) incoming: Arc<Mutex<mpsc::Receiver<Down>>>,
    /// What makes sense only now: dropped while there is no session.
    pub(crate) outgoing: mpsc::Sender<Up>,
    pub(crate) link: watch::Receiver<LinkState>,
    pub(crate) started: Instant,
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// What starts a part, again and again.
    pub(crate) fn part<F>(&self, run: fn(Self) -> F) -> impl FnMut() -> F + Send + 'static + use<F>
    where
        F: Future<Output = ()> + 'static,
    {
        let shared = self.clone();
        move || run(shared.clone())
    }
}
