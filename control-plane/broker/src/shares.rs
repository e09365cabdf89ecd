//! Shares of the nodes: behind an external broker every instance hears every node, and serves those of the shares that it holds.

use noderr_protocol::NodeId;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How many shares there are: as many instances can have something to do.
pub const SHARES: u8 = 16;

/// The shares that this instance holds, and until when.
#[derive(Debug, Default)]
pub struct Shares(Mutex<Option<(u16, Instant)>>);

impl Shares {
    /// Holds these shares, and no others, until then.
    pub fn hold(&self, shares: &[u8], until: Instant) {
        let held = shares.iter().fold(0, |held, share| held | 1_u16 << (share % SHARES));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((held, until));
    }

    /// Whether a node is in a share that is held now.
    pub fn holds(&self, node: &NodeId) -> bool {
        let held = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.is_some_and(|(held, until)| {
            held & (1 << (node.as_bytes()[0] % SHARES)) != 0 && Instant::now() < until
        })
    }
}

/// The shares that an instance should hold, of all instances that live: each has as many as another, or one more.
pub fn due<I: Ord>(me: &I, alive: &[I]) -> Vec<u8> {
    let mut alive: Vec<_> = alive.iter().collect();
    alive.sort_unstable();
    let mine = |share: &u8| alive.get(usize::from(*share) % alive.len().max(1)) == Some(&me);
    (0..SHARES).filter(mine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_share_is_due_to_one_of_those_that_live() {
        for instances in 1..20_u32 {
            let alive: Vec<_> = (0..instances).rev().collect();
            let mut all: Vec<_> = alive.iter().flat_map(|me| due(me, &alive)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..SHARES).collect::<Vec<_>>());
        }
        assert!(due(&7, &[1, 2]).is_empty(), "whoever does not live holds nothing");
    }

    #[test]
    fn a_share_is_held_until_its_time_is_over() {
        let (shares, node) = (Shares::default(), NodeId::from_bytes([0x13; 32]));
        assert!(!shares.holds(&node));
        shares.hold(&[2, 3], Instant::now() + Duration::from_secs(60));
        assert!(shares.holds(&node) && !shares.holds(&NodeId::from_bytes([0x14; 32])));
        shares.hold(&[3], Instant::now());
        assert!(!shares.holds(&node));
    }
}
