//! One lane: an ordered run of blocks and the number the next record gets.

use crate::block::{self, Block};
use crate::error::SpoolError;
use crate::page::{Page, entries_of};
use noderr_protocol::{Entry, Gap, GapReason, Lane, Position};

pub(crate) const LANES: usize = Lane::ALL.len();
/// The numbers of all lanes, as in [`Lane::ALL`].
pub(crate) type LaneNumbers = [LaneCounters; LANES];

/// The numbers of one lane. They outlive the database: known while it is closed, and in part beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneCounters {
    pub(crate) lane: Lane,
    /// The number the next record gets.
    pub(crate) next: u64,
    /// How far the server has committed.
    pub(crate) acknowledged: u64,
    /// Numbers lost since the spool was made.
    pub(crate) lost: u64,
    /// Numbers among `lost` that damage on the disk has cost since the spool was opened.
    pub(crate) damaged: u64,
    /// Numbers given out while nothing could be written; written down when there is room again.
    pub(crate) pending: Option<Gap>,
}

impl LaneCounters {
    pub(crate) const fn new(lane: Lane) -> Self {
        Self { lane, next: 1, acknowledged: 0, lost: 0, damaged: 0, pending: None }
    }

    /// The number after the last that was given to something on disk.
    pub(crate) fn written(&self) -> u64 {
        self.pending.map_or(self.next, |gap| gap.first)
    }

    /// Gives numbers out to records that cannot be kept.
    pub(crate) fn lose(&mut self, epoch: u64, count: u64) {
        let last = self.next + count - 1;
        let first = self.written();
        self.pending = Some(Gap { epoch, first, last, reason: GapReason::Budget });
        self.next += count;
        self.lost += count;
    }
}

pub(crate) struct LaneTree {
    pub(crate) numbers: LaneCounters,
    tree: sled::Tree,
    /// The boot epoch of this start; a gap of unknown epoch is reported under it.
    epoch: u64,
    /// The number that the next record would get, going by the database alone.
    found: u64,
    pub(crate) held: Held,
}

/// What is on the disk: of one value, or of a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) records: u64,
    /// Bytes of values.
    pub(crate) bytes: u64,
    /// Records that only a later build can read.
    pub(crate) foreign: u64,
}

impl Held {
    fn of(first: u64, value: &[u8]) -> Self {
        let records = block::count_numbers(first, value).map_or(0, |(_, records)| records);
        let foreign = if block::is_foreign(value) { records } else { 0 };
        Self { records, bytes: value.len() as u64, foreign }
    }

    const fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.foreign += other.foreign;
    }

    /// A value may have been damaged since it was added.
    const fn subtract(&mut self, other: Self) {
        self.records = self.records.saturating_sub(other.records);
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.foreign = self.foreign.saturating_sub(other.foreign);
    }
}

impl LaneTree {
    /// Opens the lane and counts its records and bytes. `remembered` is the number of the next record as the
    /// database has it; `known` are the counters from elsewhere.
    pub(crate) fn open(
        tree: sled::Tree,
        epoch: u64,
        remembered: u64,
        known: LaneCounters,
        gets_on: &dyn Fn(),
    ) -> Result<Self, SpoolError> {
        let (mut next, mut held) = (remembered.max(1), Held::default());
        for item in &tree {
            gets_on();
            let (key, value) = item?;
            let first = number(&key);
            held.add(Held::of(first, &value));
            let count = block::count_numbers(first, &value).map_or(1, |(count, _)| count);
            next = next.max(first.saturating_add(count));
        }
        let numbers = LaneCounters { next: next.max(known.next), ..known };
        Ok(Self { numbers, tree, epoch, found: next, held })
    }

    /// Counts numbers that were on disk, and that the database no longer knows, as lost to damage.
    pub(crate) fn account_for_forgotten(&mut self) -> Result<(), SpoolError> {
        let first = self.found.max(self.numbers.acknowledged.saturating_add(1));
        let missing = self.numbers.written().saturating_sub(first);
        if missing == 0 {
            return Ok(());
        }
        self.numbers.lost += missing;
        self.numbers.damaged += missing;
        let last = first + missing - 1;
        self.put_gap(&Gap { epoch: self.epoch, first, last, reason: GapReason::Damaged })
    }

    /// Whether nothing is on the disk.
    pub(crate) fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// The first number that is still held or accounted for: where blocks are missing at the head, the first that is missing.
    pub(crate) fn oldest(&self) -> Result<u64, SpoolError> {
        let first = self.tree.first()?.map(|(key, _)| number(&key));
        let pending = self.numbers.pending.map(|gap| gap.first);
        let held = first.or(pending);
        Ok(held.map_or(self.numbers.next, |held| held.min(self.numbers.acknowledged + 1)))
    }

    /// Writes one block; the block is not on disk until the store is flushed.
    pub(crate) fn append(&mut self, bodies: &[Vec<u8>]) -> Result<(), SpoolError> {
        self.settle()?;
        let count = bodies.len() as u64;
        self.put(self.numbers.next, block::encode_records(self.epoch, self.numbers.next, bodies))?;
        self.numbers.next += count;
        Ok(())
    }

    /// Writes down what was lost while nothing could be written.
    pub(crate) fn settle(&mut self) -> Result<(), SpoolError> {
        if let Some(gap) = self.numbers.pending {
            self.put_gap(&gap)?;
            self.numbers.pending = None;
        }
        Ok(())
    }

    /// Replaces the oldest records with a gap; `false` if there are none.
    pub(crate) fn drop_oldest(&mut self) -> Result<bool, SpoolError> {
        let mut before: Option<Gap> = None;
        for item in &self.tree {
            let (key, value) = item?;
            let first = number(&key);
            let count = self.count_of(first, &value)?;
            match block::decode(first, count, &value) {
                Block::Gap { epoch, last, reason } => before = Some(Gap { epoch, first, last, reason }),
                Block::Records { epoch, .. } => {
                    self.replace(
                        before,
                        Gap { epoch, first, last: first + count - 1, reason: GapReason::Budget },
                    )?;
                    return Ok(true);
                }
                block @ (Block::Foreign { .. } | Block::Damaged) => {
                    // Of this start's epoch, the gap would outlive the marks of all that was written before this start.
                    let epoch = match (&block, before) {
                        (Block::Foreign { epoch }, _) => *epoch,
                        (_, Some(gap)) => gap.epoch,
                        (_, None) => 0,
                    };
                    let damaged = block == Block::Damaged;
                    let reason = if damaged { GapReason::Damaged } else { GapReason::Budget };
                    self.replace(before, Gap { epoch, first, last: first + count - 1, reason })?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Puts a gap in the place of a block. Neighbouring gaps of one reason become one, so that a long outage costs one value
    /// and not thousands.
    fn replace(&mut self, before: Option<Gap>, gap: Gap) -> Result<(), SpoolError> {
        let count = gap.last - gap.first + 1;
        self.numbers.lost += count;
        if gap.reason == GapReason::Damaged {
            self.numbers.damaged += count;
        }
        match before.filter(|before| before.last + 1 == gap.first && before.reason == gap.reason) {
            Some(before) => {
                self.remove(gap.first)?;
                self.put_gap(&Gap { first: before.first, ..gap })
            }
            None => self.put_gap(&gap),
        }
    }

    fn put_gap(&mut self, gap: &Gap) -> Result<(), SpoolError> {
        self.put(gap.first, block::encode_gap(gap))
    }

    fn put(&mut self, first: u64, value: Vec<u8>) -> Result<(), SpoolError> {
        self.held.add(Held::of(first, &value));
        if let Some(before) = self.tree.insert(first.to_be_bytes(), value)? {
            self.held.subtract(Held::of(first, &before));
        }
        Ok(())
    }

    fn remove(&mut self, first: u64) -> Result<(), SpoolError> {
        if let Some(value) = self.tree.remove(first.to_be_bytes())? {
            self.held.subtract(Held::of(first, &value));
        }
        Ok(())
    }

    /// Entries behind number `after` (0: behind what the server has committed) and before `end`, without a hole: damage and
    /// missing blocks are reported as gaps.
    pub(crate) fn read(
        &self,
        after: u64,
        end: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, SpoolError> {
        let mut page = Page::new(max_entries, max_bytes);
        let after = if after == 0 { self.numbers.acknowledged } else { after };
        let mut expected = after + 1;
        let start = self.tree.range(..=expected.to_be_bytes()).next_back().transpose()?;
        let start = start.map_or_else(|| expected.to_be_bytes().to_vec(), |(key, _)| key.to_vec());
        let mut epoch = self.epoch;
        for item in self.tree.range(start..) {
            let (key, value) = item?;
            let first = number(&key);
            if first >= end {
                return Ok(page.into_entries());
            }
            let count = self.count_of(first, &value)?;
            if first + count <= expected {
                continue;
            }
            if first > expected {
                let gap = Gap { epoch, first: expected, last: first - 1, reason: GapReason::Damaged };
                if !page.take(Entry::Gap(gap)) {
                    return Ok(page.into_entries());
                }
            }
            let Some(of_block) = entries_of(first, count, &value, &mut epoch) else {
                // A block of a later build must not be passed over: entries from behind the block would tell
                // the server that its records are lost.
                return Ok(page.into_entries());
            };
            expected = first + count;
            for entry in of_block.into_iter().filter(|entry| entry.last().seq > after) {
                if !page.take(entry) {
                    return Ok(page.into_entries());
                }
            }
        }
        // Numbers behind the last block: given out to blocks that never reached the disk, or lost for lack of space.
        let unwritten = self.numbers.written().min(end);
        if expected < unwritten {
            let gap = Gap { epoch, first: expected, last: unwritten - 1, reason: GapReason::Damaged };
            if !page.take(Entry::Gap(gap)) {
                return Ok(page.into_entries());
            }
        }
        let all_written = end >= self.numbers.written();
        if let Some(gap) = self.numbers.pending.filter(|gap| all_written && gap.last > after) {
            page.take(Entry::Gap(gap));
        }
        Ok(page.into_entries())
    }

    /// Deletes every block that lies wholly at or before `through`, and counts its unreadable records as
    /// lost; returns how many records were deleted.
    pub(crate) fn acknowledge(&mut self, through: Position) -> Result<u64, SpoolError> {
        let mut gone = 0;
        while let Some((key, value)) = self.tree.first()? {
            let first = number(&key);
            let count = self.count_of(first, &value)?;
            let (epoch, in_it, damaged) = match block::decode(first, count, &value) {
                Block::Records { epoch, bodies } => {
                    (epoch, bodies.len() as u64, bodies.iter().filter(|body| body.is_none()).count() as u64)
                }
                Block::Gap { epoch, .. } => (epoch, 0, 0),
                Block::Foreign { epoch } => (epoch, count, 0),
                Block::Damaged => (0, 0, count),
            };
            let last = first + count - 1;
            // Marks of an epoch before a wiped disk say nothing of the numbers that were given out since.
            if first > through.seq || epoch > through.epoch {
                break;
            }
            self.numbers.acknowledged = self.numbers.acknowledged.max(last.min(through.seq));
            if last > through.seq {
                break;
            }
            self.numbers.lost += damaged;
            self.numbers.damaged += damaged;
            self.remove(first)?;
            gone += in_it;
        }
        let settled = |gap: &Gap| gap.last <= through.seq && gap.epoch <= through.epoch;
        if let Some(gap) = self.numbers.pending.take_if(|gap| settled(gap)) {
            self.numbers.acknowledged = self.numbers.acknowledged.max(gap.last);
        }
        Ok(gone)
    }

    /// How many numbers a value accounts for: as many as it says, or, where it is damaged, up to its
    /// neighbour.
    fn count_of(&self, first: u64, value: &[u8]) -> Result<u64, SpoolError> {
        let neighbour = match self.tree.get_gt(first.to_be_bytes())? {
            Some((key, _)) => number(&key),
            None => self.numbers.written(),
        };
        let room = neighbour.saturating_sub(first).max(1);
        Ok(block::count_numbers(first, value).map_or(room, |(count, _)| count.min(room)))
    }
}

fn number(key: &[u8]) -> u64 {
    key.try_into().map(u64::from_be_bytes).unwrap_or_default()
}
