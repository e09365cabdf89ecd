//! Damage that stays until the file is gone: bad sectors and broken folders, by the numbers of the files.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// How a file or a folder is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Its bytes cannot be read.
    Unreadable,
    /// It can be neither removed nor renamed.
    Stuck,
    /// These bytes come back as zeros, whatever is written there.
    Lost(Range<usize>),
}

/// All that is damaged.
#[derive(Debug, Default)]
pub(super) struct Worn {
    unreadable: BTreeSet<u64>,
    stuck: BTreeSet<u64>,
    lost: BTreeMap<u64, Range<usize>>,
}

impl Worn {
    pub(super) fn note(&mut self, id: u64, damage: Damage) {
        match damage {
            Damage::Unreadable => drop(self.unreadable.insert(id)),
            Damage::Stuck => drop(self.stuck.insert(id)),
            Damage::Lost(range) => drop(self.lost.insert(id, range)),
        }
    }

    pub(super) fn is_unreadable(&self, id: u64) -> bool {
        self.unreadable.contains(&id)
    }

    pub(super) fn is_stuck(&self, id: u64) -> bool {
        self.stuck.contains(&id)
    }

    /// Whether what the kernel has of it is not what the disk gives back.
    pub(super) fn has_lost(&self, id: u64) -> bool {
        self.lost.contains_key(&id)
    }

    /// What the disk gives back of bytes that begin at `start`.
    pub(super) fn read(&self, id: u64, start: usize, bytes: &mut [u8]) {
        let Some(lost) = self.lost.get(&id) else { return };
        let within = |at: usize| at.saturating_sub(start).min(bytes.len());
        let lost = within(lost.start)..within(lost.end);
        bytes[lost].fill(0);
    }
}
