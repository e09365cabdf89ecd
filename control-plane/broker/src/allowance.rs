//! What one node may cost, however many sessions it begins: token buckets, kept beyond the end of a session.

use noderr_front::{Bucket, Rate};
use noderr_protocol::NodeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many nodes are remembered before the ledger looks for nodes to forget.
const REMEMBERED: usize = 4096;

/// Bounds on one node.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Packets of any kind; above the rate, reading waits.
    pub packets: Rate,
    /// Bytes of publications, which end up in the database; above the rate, reading waits.
    pub bytes: Rate,
    /// Publications that are not records: a node has few of these to send, and each costs a transaction.
    pub beside_records: Rate,
    /// Sessions begun, each of which costs two queries. Above the rate, the connection is closed before
    /// CONNECT is read.
    pub sessions: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            packets: Rate { per_second: 2000, burst: 4000 },
            bytes: Rate { per_second: 64 * 1024, burst: 32 * 1024 * 1024 },
            beside_records: Rate { per_second: 5, burst: 100 },
            sessions: Rate { per_second: 1, burst: 30 },
        }
    }
}

/// What a node may still spend, shared by its sessions.
#[derive(Debug, Clone)]
pub struct Allowances(Arc<Mutex<Buckets>>);

#[derive(Debug)]
struct Buckets {
    packets: Bucket,
    bytes: Bucket,
    beside_records: Bucket,
    sessions: Bucket,
}

impl Allowances {
    /// Full allowances.
    pub fn new(rates: Rates, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Buckets {
            packets: Bucket::new(rates.packets, now),
            bytes: Bucket::new(rates.bytes, now),
            beside_records: Bucket::new(rates.beside_records, now),
            sessions: Bucket::new(rates.sessions, now),
        })))
    }

    /// Whether the node may begin a session now; counts the session.
    pub(crate) fn begin(&self, now: Instant) -> bool {
        let mut buckets = self.lock();
        let may = buckets.sessions.delay(now).is_none();
        if may {
            buckets.sessions.spend(1);
        }
        may
    }

    pub(crate) fn packet(&self) {
        self.lock().packets.spend(1);
    }

    pub(crate) fn publication(&self, bytes: usize, is_record: bool) {
        let mut buckets = self.lock();
        buckets.bytes.spend(bytes);
        if !is_record {
            buckets.beside_records.spend(1);
        }
    }

    /// How long reading must wait before the next packet may be taken.
    pub(crate) fn delay(&self, now: Instant) -> Option<Duration> {
        let mut buckets = self.lock();
        let Buckets { packets, bytes, beside_records, .. } = &mut *buckets;
        [packets, bytes, beside_records].into_iter().filter_map(|bucket| bucket.delay(now)).max()
    }

    fn is_untouched(&self, now: Instant) -> bool {
        let mut buckets = self.lock();
        let Buckets { packets, bytes, beside_records, sessions } = &mut *buckets;
        [packets, bytes, beside_records, sessions].into_iter().all(|bucket| bucket.is_full(now))
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The allowances of all nodes seen lately.
pub(crate) struct Ledger {
    rates: Rates,
    nodes: Mutex<Remembered>,
}

struct Remembered {
    allowances: HashMap<NodeId, Allowances>,
    /// The number of nodes at which the next sweep forgets nodes with full buckets and no session.
    sweep_at: usize,
}

impl Ledger {
    pub(crate) fn new(rates: Rates) -> Self {
        let nodes = Remembered { allowances: HashMap::new(), sweep_at: REMEMBERED };
        Self { rates, nodes: Mutex::new(nodes) }
    }

    /// Takes bytes from the allowances of a node, if the node is remembered.
    pub(crate) fn charge(&self, node: &NodeId, bytes: usize) {
        if let Some(left) = self.lock().allowances.get(node) {
            left.lock().bytes.spend(bytes);
        }
    }

    /// The allowances of a node.
    pub(crate) fn allowances_of(&self, node: NodeId, now: Instant) -> Allowances {
        let mut nodes = self.lock();
        if nodes.allowances.len() >= nodes.sweep_at {
            // A node with full buckets and no session is the same as one never seen: forget it.
            nodes.allowances.retain(|_, left| Arc::strong_count(&left.0) > 1 || !left.is_untouched(now));
            nodes.sweep_at = (2 * nodes.allowances.len()).max(REMEMBERED);
        }
        nodes.allowances.entry(node).or_insert_with(|| Allowances::new(self.rates, now)).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::from_bytes([7; 32]);

    #[test]
    fn a_new_session_gives_nothing_back() {
        let (ledger, now) = (Ledger::new(Rates::default()), Instant::now());
        ledger.allowances_of(NODE, now).publication(40 << 20, true);
        let wait =
            ledger.allowances_of(NODE, now).delay(now).expect("the burst is spent, whatever the session");
        assert_eq!(ledger.allowances_of(NODE, now + wait).delay(now + wait), None);
        let other = ledger.allowances_of(NodeId::from_bytes([8; 32]), now);
        assert_eq!(other.delay(now), None, "others do not pay for it");
    }

    #[test]
    fn sessions_in_a_row_are_bounded() {
        let (ledger, now) = (Ledger::new(Rates::default()), Instant::now());
        let begun = (0..1000).filter(|_| ledger.allowances_of(NODE, now).begin(now)).count();
        assert!((30..=31).contains(&begun), "{begun}");
        assert!(ledger.allowances_of(NODE, now).begin(now + Duration::from_secs(2)));
    }

    #[test]
    fn only_those_who_have_spent_something_are_remembered() {
        let (ledger, now) = (Ledger::new(Rates::default()), Instant::now());
        ledger.allowances_of(NODE, now).publication(40 << 20, true);
        for n in 0..3 * REMEMBERED {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            ledger.allowances_of(NodeId::from_bytes(id), now);
        }
        let nodes = ledger.nodes.lock().unwrap();
        assert!(nodes.allowances.len() <= REMEMBERED, "{} are remembered", nodes.allowances.len());
        assert!(nodes.allowances.contains_key(&NODE));
    }
}
