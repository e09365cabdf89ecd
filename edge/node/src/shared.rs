//! What the parts of a node share: each part takes what it needs from here.

use crate::config::Config;
use crate::desired::Desired;
use crate::outbox::Outbox;
use crate::status::Board;
use noderr_identity::{NodeKeys, Papers, TrustedClock};
use noderr_link::LinkState;
use noderr_part::Folder;
use noderr_protocol::{AttestationChallenge, Down, Up};
use noderr_update::Known;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What the parts share; cheap to clone, so that a part can be started again.
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
    /// The challenge of the newest attestation whose event log is asked for.
    pub(crate) wanted_log: watch::Sender<Option<[u8; 16]>>,
    /// Messages of the control plane.
    pub(crate) incoming: Arc<Mutex<mpsc::Receiver<Down>>>,
    /// Messages that make sense only now; dropped while there is no session.
    pub(crate) outgoing: mpsc::Sender<Up>,
    pub(crate) link: watch::Receiver<LinkState>,
    pub(crate) papers: watch::Receiver<Arc<Papers>>,
    /// Releases whose bytes were checked since this start.
    pub(crate) known: Known,
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// Makes the function that starts a part, for as often as the supervisor needs to.
    pub(crate) fn part<F>(&self, run: fn(Self) -> F) -> impl FnMut() -> F + Send + 'static + use<F>
    where
        F: Future<Output = ()> + 'static,
    {
        let shared = self.clone();
        move || run(shared.clone())
    }
}
