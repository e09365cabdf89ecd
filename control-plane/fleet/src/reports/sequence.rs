//! Does an entry join on to what is committed? Pure arithmetic, the heart of "exactly once".

use noderr_protocol::{Entry, Gap, Position};

/// The largest number that is stored.
const LARGEST: u64 = i64::MAX as u64;
/// The bound of boot epochs. Epochs begin with the seconds since 1970 and grow by one: no honest epoch comes
/// near.
pub(super) const EPOCH_BOUND: u64 = 1 << 40;

/// What to do with one entry, given how far its lane is committed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Stored before: ignore.
    Duplicate,
    /// The next in line: store the entry, and move the mark to this position.
    Store(Entry, Position),
    /// Something between is missing, or the numbers are absurd: the node must send again from behind the mark.
    Refused,
}

/// Judges one entry.
pub(super) fn step(mark: Position, entry: Entry) -> Step {
    let last = entry.last();
    // PostgreSQL's integers end here; a node that counts further is not counting.
    if last.seq > LARGEST || last.epoch >= EPOCH_BOUND || entry.first_seq() > last.seq {
        return Step::Refused;
    }
    let later_boot = last.epoch > mark.epoch;
    if entry.first_seq() > mark.seq.saturating_add(1) {
        return Step::Refused;
    }
    match entry {
        // The epoch of a gap is the node's best guess where the record with the true epoch is damaged: a gap
        // says nothing new
        // about numbers that are committed, and nothing about which boot the next record is of.
        Entry::Gap(_) if last.seq <= mark.seq => Step::Duplicate,
        Entry::Gap(gap) => {
            let gap = Gap { first: gap.first.max(mark.seq.saturating_add(1)), ..gap };
            Step::Store(Entry::Gap(gap), Position { epoch: mark.epoch, seq: last.seq })
        }
        Entry::Record(_) if last.seq <= mark.seq && !later_boot => Step::Duplicate,
        // A later boot may give a number out again whose record never reached the disk it was written to: both
        // records are real, and their positions differ.
        record @ Entry::Record(_) => {
            Step::Store(record, Position { epoch: last.epoch.max(mark.epoch), seq: last.seq })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noderr_protocol::{GapReason, Record};
    use proptest::prelude::*;

    fn record(epoch: u64, seq: u64) -> Entry {
        Entry::Record(Record { position: Position { epoch, seq }, body: vec![1].try_into().unwrap() })
    }

    fn gap(epoch: u64, first: u64, last: u64) -> Entry {
        Entry::Gap(Gap { epoch, first, last, reason: GapReason::Budget })
    }

    fn at(epoch: u64, seq: u64) -> Position {
        Position { epoch, seq }
    }

    #[test]
    fn the_next_record_is_stored_an_earlier_one_ignored_a_later_one_refused() {
        assert_eq!(step(at(1, 5), record(1, 6)), Step::Store(record(1, 6), at(1, 6)));
        assert_eq!(step(at(1, 5), record(1, 5)), Step::Duplicate);
        assert_eq!(step(at(1, 5), record(1, 7)), Step::Refused);
    }

    #[test]
    fn numbers_go_on_across_boots() {
        assert_eq!(step(at(1, 5), record(2, 6)), Step::Store(record(2, 6), at(2, 6)));
        assert_eq!(step(at(2, 6), record(1, 6)), Step::Duplicate);
    }

    #[test]
    fn a_number_given_out_again_by_a_later_boot_is_another_record() {
        assert_eq!(step(at(1, 5), record(2, 3)), Step::Store(record(2, 3), at(2, 3)));
        assert_eq!(step(at(1, 5), record(2, 1)), Step::Store(record(2, 1), at(2, 1)));
    }

    #[test]
    fn a_gap_whose_epoch_was_guessed_never_takes_the_mark_back() {
        assert_eq!(step(at(1, 150), gap(2, 51, 100)), Step::Duplicate);
        assert_eq!(step(at(1, 5), gap(9, 6, 8)), Step::Store(gap(9, 6, 8), at(1, 8)));
        assert_eq!(step(at(1, 8), record(1, 9)), Step::Store(record(1, 9), at(1, 9)));
    }

    #[test]
    fn numbers_beyond_any_real_ones_are_refused() {
        assert_eq!(step(at(1, 5), record(1, u64::MAX)), Step::Refused);
        assert_eq!(step(at(1, 5), record(u64::MAX, 6)), Step::Refused);
        assert_eq!(step(at(1, 5), gap(1, 6, u64::MAX)), Step::Refused);
    }

    #[test]
    fn a_gap_that_grew_is_stored_from_where_it_grew() {
        assert_eq!(step(at(1, 5), gap(1, 3, 9)), Step::Store(gap(1, 6, 9), at(1, 9)));
        assert_eq!(step(at(1, 5), gap(1, 3, 5)), Step::Duplicate);
        assert_eq!(step(at(1, 5), gap(1, 7, 9)), Step::Refused);
    }

    /// What a node has: records and gaps without a hole, over several boots.
    fn history() -> impl Strategy<Value = Vec<Entry>> {
        prop::collection::vec((1..4_u64, any::<bool>(), 0..2_u64), 1..40).prop_map(|steps| {
            let (mut seq, mut epoch, mut entries) = (1, 1, Vec::new());
            for (len, is_gap, boot) in steps {
                epoch += boot;
                if is_gap {
                    entries.push(gap(epoch, seq, seq + len - 1));
                    seq += len;
                } else {
                    entries.push(record(epoch, seq));
                    seq += 1;
                }
            }
            entries
        })
    }

    proptest! {
        /// However often and from wherever a node sends again, every number is stored exactly once.
        #[test]
        fn resending_stores_every_number_once(
            entries in history(), sends in prop::collection::vec((any::<prop::sample::Index>(), 1..20_usize), 0..30)
        ) {
            let (mut mark, mut stored) = (at(0, 0), Vec::new());
            let mut send = |slice: &[Entry], mark: &mut Position| {
                for entry in slice {
                    match step(*mark, entry.clone()) {
                        Step::Store(entry, next) => {
                            stored.extend(entry.first_seq()..=entry.last().seq);
                            *mark = next;
                        }
                        Step::Duplicate => {}
                        Step::Refused => break,
                    }
                }
            };
            for (from, len) in sends {
                let from = from.index(entries.len());
                send(&entries[from..(from + len).min(entries.len())], &mut mark);
            }
            send(&entries, &mut mark);
            let last = entries.last().unwrap().last().seq;
            prop_assert_eq!(stored, (1..=last).collect::<Vec<_>>());
        }
    }
}
