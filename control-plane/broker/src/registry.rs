//! The registry: which nodes are connected to this instance. A node has one session; the newest wins.

use crate::Attached;
use bytes::Bytes;
use noderr_protocol::{DownKind, NodeId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Deliveries that may wait for one session's writer. A session with more is too slow and is ended.
const QUEUE: usize = 32;

/// A delivery on its way to a session.
pub(crate) type Delivery = (DownKind, Bytes);

#[derive(Default)]
pub(crate) struct Registry {
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    last: u64,
    by_node: HashMap<NodeId, Entry>,
}

struct Entry {
    session: u64,
    /// The serial number of the certificate that the session began with.
    serial: [u8; 16],
    deliveries: mpsc::Sender<Delivery>,
    end: CancellationToken,
}

/// A session's place in the registry, given up when dropped.
pub(crate) struct Seat<'a> {
    registry: &'a Registry,
    node: NodeId,
    session: u64,
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    pub(crate) end: CancellationToken,
}

impl Registry {
    /// Takes the node's seat; ends the session that held the seat before.
    pub(crate) fn seat(&self, node: NodeId, serial: [u8; 16]) -> Seat<'_> {
        let (sender, deliveries) = mpsc::channel(QUEUE);
        let end = CancellationToken::new();
        let mut sessions = self.lock();
        sessions.last += 1;
        let session = sessions.last;
        let entry = Entry { session, serial, deliveries: sender, end: end.clone() };
        if let Some(previous) = sessions.by_node.insert(node, entry) {
            previous.end.cancel();
        }
        Seat { registry: self, node, session, deliveries, end }
    }

    /// Queues a delivery. A session whose queue is full is ended; the node learns the newest state at its
    /// next hello.
    pub(crate) fn deliver(&self, node: &NodeId, delivery: Delivery) {
        let sessions = self.lock();
        let Some(entry) = sessions.by_node.get(node) else { return };
        if entry.deliveries.try_send(delivery).is_err() {
            metrics::counter!("noderr_broker_slow_readers_total").increment(1);
            entry.end.cancel();
        }
    }

    pub(crate) fn end(&self, node: &NodeId) {
        if let Some(entry) = self.lock().by_node.get(node) {
            entry.end.cancel();
        }
    }

    pub(crate) fn attached(&self) -> Vec<Attached> {
        let sessions = self.lock();
        sessions.by_node.iter().map(|(node, entry)| Attached { node: *node, serial: entry.serial }).collect()
    }

    pub(crate) fn holds(&self, node: &NodeId) -> bool {
        self.lock().by_node.contains_key(node)
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat<'_> {
    /// Whether a newer session of the same node has taken over.
    pub(crate) fn is_taken_over(&self) -> bool {
        self.registry.lock().by_node.get(&self.node).is_some_and(|entry| entry.session != self.session)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut sessions = self.registry.lock();
        if sessions.by_node.get(&self.node).is_some_and(|entry| entry.session == self.session) {
            sessions.by_node.remove(&self.node);
        }
    }
}
