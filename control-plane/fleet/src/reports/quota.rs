//! What a lane of a node may store in a day. Beyond it numbers become one growing gap, so that they are still accounted for, and
//! a node that counts wildly to make many gaps comes to an end too.

use crate::settings::TelemetrySettings;
use noderr_protocol::{Entry, Gap, GapReason};

/// What one lane of one node may store in a day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quota {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Quota {
    pub(super) fn of(settings: &TelemetrySettings) -> Self {
        Self { rows: settings.node_rows_per_day.into(), bytes: u64::from(settings.node_mib_per_day) << 20 }
    }
}

/// What one lane has used of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Records that were refused.
    pub(super) refused: u64,
    /// The first and the last number of the gap that still grows; 0 if none does.
    pub(super) growing: (u64, u64),
}

/// What a record costs that no sink can read, in records of its size: it is kept as long as an alert, and nobody looks at it. A
/// box that is newer than its control plane sends a few of them.
const UNREADABLE_COSTS: u64 = 16;

impl Used {
    /// Charges what a stored record costs beyond other records because no sink can read it.
    pub(super) const fn was_unreadable(&mut self, bytes: usize) {
        self.rows += UNREADABLE_COSTS - 1;
        self.bytes = self.bytes.saturating_add(bytes as u64 * (UNREADABLE_COSTS - 1));
    }

    /// Takes an entry that joins on, and returns what is stored of the entry: itself, the gap that grew by it, or nothing, of a node
    /// that has made as many gaps as its quota has rows.
    pub(super) fn take(&mut self, entry: Entry, quota: Quota) -> Option<Entry> {
        let entry = claimed_by_node(entry);
        let (first, last) = (entry.first_seq(), entry.last());
        let (records, bytes) = match &entry {
            Entry::Record(record) => (1, record.body.len() as u64),
            Entry::Gap(_) => (0, 0),
        };
        if self.rows < quota.rows && self.bytes.saturating_add(bytes) <= quota.bytes {
            self.rows += 1;
            self.bytes += bytes;
            self.growing = (0, 0);
            return Some(entry);
        }
        self.refused = self.refused.saturating_add(records);
        if self.growing.0 == 0 || self.growing.1.checked_add(1) != Some(first) {
            if self.rows >= quota.rows.saturating_mul(2) {
                return None;
            }
            self.rows += 1;
            self.growing.0 = first;
        }
        self.growing.1 = last.seq;
        let (first, last) = (self.growing.0, last);
        Some(Entry::Gap(Gap { epoch: last.epoch, first, last: last.seq, reason: GapReason::OverQuota }))
    }
}

/// A gap of a node, whose reason is none that only the control plane gives.
fn claimed_by_node(entry: Entry) -> Entry {
    match entry {
        Entry::Gap(gap) if gap.reason == GapReason::OverQuota => {
            Entry::Gap(Gap { reason: GapReason::Budget, ..gap })
        }
        entry => entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noderr_protocol::{Position, Record};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const QUOTA: Quota = Quota { rows: 10, bytes: 1000 };

    fn record(epoch: u64, seq: u64, bytes: usize) -> Entry {
        Entry::Record(Record { position: Position { epoch, seq }, body: vec![1; bytes].try_into().unwrap() })
    }

    fn refused(first: u64, last: u64) -> Option<Entry> {
        Some(Entry::Gap(Gap { epoch: 1, first, last, reason: GapReason::OverQuota }))
    }

    #[test]
    fn beyond_the_quota_of_rows_one_gap_grows() {
        let mut used = Used::default();
        for seq in 1..=10 {
            assert_eq!(used.take(record(1, seq, 1), QUOTA), Some(record(1, seq, 1)));
        }
        assert_eq!(used.take(record(1, 11, 1), QUOTA), refused(11, 11));
        assert_eq!(used.take(record(1, 12, 1), QUOTA), refused(11, 12));
        assert_eq!((used.refused, used.rows), (2, 11));
    }

    #[test]
    fn a_node_cannot_claim_what_only_the_control_plane_can_know() {
        let claimed = Entry::Gap(Gap { epoch: 1, first: 1, last: 4, reason: GapReason::OverQuota });
        let kept = Entry::Gap(Gap { epoch: 1, first: 1, last: 4, reason: GapReason::Budget });
        assert_eq!(Used::default().take(claimed, QUOTA), Some(kept));
    }

    #[test]
    fn records_that_nobody_can_read_use_the_quota_up_sooner() {
        let mut used = Used::default();
        assert_eq!(used.take(record(1, 1, 60), QUOTA), Some(record(1, 1, 60)));
        used.was_unreadable(60);
        assert_eq!((used.rows, used.bytes), (16, 960));
        assert_eq!(used.take(record(1, 2, 60), QUOTA), refused(2, 2));
    }

    #[test]
    fn a_record_too_large_for_what_is_left_is_refused_and_a_smaller_one_is_not() {
        let mut used = Used::default();
        assert_eq!(used.take(record(1, 1, 900), QUOTA), Some(record(1, 1, 900)));
        assert_eq!(used.take(record(1, 2, 200), QUOTA), refused(2, 2));
        assert_eq!(used.take(record(1, 3, 100), QUOTA), Some(record(1, 3, 100)));
        assert_eq!(used.take(record(1, 4, 1), QUOTA), refused(4, 4));
    }

    proptest! {
        /// Whatever a node sends in a day, it has no more rows than twice its quota.
        #[test]
        fn rows_are_bounded_for_liars_too(
            sent in prop::collection::vec((1..5_u64, 1..10_000_u64, any::<bool>()), 0..200)
        ) {
            let (mut used, mut stored, mut gaps) = (Used::default(), 0, BTreeSet::new());
            for (epoch, seq, is_gap) in sent {
                let gap = Gap { epoch, first: seq, last: seq + 3, reason: GapReason::Budget };
                let entry = if is_gap { Entry::Gap(gap) } else { record(epoch, seq, 1) };
                match used.take(entry, QUOTA) {
                    // In the database a gap that grows is one row, found by its first number.
                    Some(Entry::Gap(gap)) if gap.reason == GapReason::OverQuota => drop(gaps.insert(gap.first)),
                    Some(_) => stored += 1,
                    None => {}
                }
            }
            prop_assert!(stored + gaps.len() as u64 <= 2 * QUOTA.rows);
        }
    }
}
