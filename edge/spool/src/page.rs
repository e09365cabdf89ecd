//! A page of entries: what is read of a lane at once, and what the blocks on the disk become in it.

use crate::block::{self, Block};
use noderr_protocol::{Entry, Gap, GapReason, Position, Record};

/// Entries that are read together, as many and as large as asked for and no more.
pub(crate) struct Page {
    entries: Vec<Entry>,
    max_entries: usize,
    /// Bytes that are left.
    bytes: usize,
}

impl Page {
    /// An empty page for so many entries of so many bytes.
    pub(crate) const fn new(max_entries: usize, bytes: usize) -> Self {
        Self { entries: Vec::new(), max_entries, bytes }
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// Takes an entry if there is room; the first always fits.
    pub(crate) fn take(&mut self, entry: Entry) -> bool {
        let size = size_of(&entry);
        let fits = self.entries.len() < self.max_entries && (size <= self.bytes || self.entries.is_empty());
        if fits {
            self.bytes = self.bytes.saturating_sub(size);
            self.entries.push(entry);
        }
        fits
    }
}

/// The entries of a block; `None` for a block that only a later build can read.
pub(crate) fn entries_of(first: u64, count: u64, value: &[u8], epoch: &mut u64) -> Option<Vec<Entry>> {
    match block::decode(first, count, value) {
        Block::Foreign { .. } => None,
        Block::Gap { epoch: of, last, reason } => {
            *epoch = of;
            Some(vec![Entry::Gap(Gap { epoch: of, first, last, reason })])
        }
        Block::Damaged => {
            let last = first + count - 1;
            Some(vec![Entry::Gap(Gap { epoch: *epoch, first, last, reason: GapReason::Damaged })])
        }
        Block::Records { epoch: of, bodies } => {
            *epoch = of;
            let entry = |(seq, body): (u64, Option<Vec<u8>>)| match body.and_then(|body| body.try_into().ok())
            {
                Some(body) => Entry::Record(Record { position: Position { epoch: of, seq }, body }),
                None => Entry::Gap(Gap { epoch: of, first: seq, last: seq, reason: GapReason::Damaged }),
            };
            Some((first..).zip(bodies).map(entry).collect())
        }
    }
}

fn size_of(entry: &Entry) -> usize {
    match entry {
        // Position and length take at most 24 bytes on the wire.
        Entry::Record(record) => record.body.len() + 24,
        Entry::Gap(_) => 40,
    }
}
