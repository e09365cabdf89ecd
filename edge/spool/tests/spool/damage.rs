//! Damage on the disk: it costs what it touched, and is never silent.

use crate::{assert_accounted, assert_counted_as_found, bodies, drain, open, raw};
use noderr_protocol::{Entry, GapReason, Lane, Position};
use noderr_spool::{Appended, Spool, SpoolConfig};
use std::path::Path;

#[test]
fn a_record_damaged_on_disk_becomes_a_gap_and_its_neighbours_survive() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), 1).append(Lane::Result, &bodies(0..10)).unwrap();
    {
        let db = raw(folder.path());
        let tree = db.open_tree("result").unwrap();
        let mut block = tree.get(1_u64.to_be_bytes()).unwrap().unwrap().to_vec();
        let fifth_body = 9 + 4 * 12 + 8;
        block[fifth_body] ^= 0xff;
        tree.insert(1_u64.to_be_bytes(), block).unwrap();
        db.flush().unwrap();
    }
    let spool = open(folder.path(), 2);
    let entries = drain(&spool, Lane::Result);
    assert_accounted(&entries, 1, 11);
    spool.acknowledge(Lane::Result, Position { epoch: 1, seq: 10 }).unwrap();
    assert_eq!((spool.stats().damaged, spool.stats().lost), (1, 1));
    let gaps: Vec<_> = entries.iter().filter(|entry| matches!(entry, Entry::Gap(_))).collect();
    let [Entry::Gap(gap)] = gaps[..] else { panic!("{} gaps", gaps.len()) };
    assert_eq!((gap.first, gap.last, gap.reason), (5, 5, GapReason::Damaged));
}

#[test]
fn a_lost_block_is_reported_as_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 1);
    for start in [0, 10, 20] {
        spool.append(Lane::Result, &bodies(start..start + 10)).unwrap();
    }
    drop(spool);
    {
        let db = raw(folder.path());
        db.open_tree("result").unwrap().remove(11_u64.to_be_bytes()).unwrap();
        db.flush().unwrap();
    }
    let entries = drain(&open(folder.path(), 2), Lane::Result);
    assert_accounted(&entries, 1, 31);
    assert!(
        entries.iter().any(|entry| matches!(entry, Entry::Gap(gap) if (gap.first, gap.last) == (11, 20)))
    );
}

/// Takes the block that begins at `first` away.
fn lose_block(folder: &Path, lane: Lane, first: u64) {
    let db = raw(folder);
    db.open_tree(lane.as_str()).unwrap().remove(first.to_be_bytes()).unwrap();
    db.flush().unwrap();
}

#[test]
fn a_page_that_ends_where_a_block_is_missing_is_no_larger_than_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 1);
    for start in (0..40).step_by(8) {
        spool.append(Lane::Result, &bodies(start..start + 8)).unwrap();
    }
    drop(spool);
    lose_block(folder.path(), Lane::Result, 17);
    let spool = open(folder.path(), 2);
    for most in 1..20 {
        let page = spool.read(Lane::Result, 0, most, 1 << 16).unwrap();
        assert_eq!(page.len(), most);
    }
    // Nor does a missing block make a page larger in bytes.
    assert_eq!(spool.read(Lane::Result, 16, 100, 1).unwrap().len(), 1);
}

#[test]
fn blocks_that_are_missing_at_the_head_are_reported_too() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 1);
    for start in (0..18).step_by(6) {
        spool.append(Lane::Result, &bodies(start..start + 6)).unwrap();
    }
    spool.acknowledge(Lane::Result, Position { epoch: 1, seq: 6 }).unwrap();
    drop(spool);
    lose_block(folder.path(), Lane::Result, 7);
    let spool = open(folder.path(), 2);
    let held = spool.lanes().unwrap().into_iter().find(|state| state.lane == Lane::Result.tag()).unwrap();
    assert_eq!(held.oldest, 7, "the hello must not say that the box has let go of them");
    let entries = drain(&spool, Lane::Result);
    assert_accounted(&entries, 7, 19);
    assert!(matches!(&entries[0], Entry::Gap(gap) if (gap.first, gap.last) == (7, 12)));
}

#[test]
fn what_was_set_aside_goes_after_a_week() {
    let folder = tempfile::tempdir().unwrap();
    let aside = folder.path().join("spool.corrupt-7");
    std::fs::create_dir(&aside).unwrap();
    std::fs::write(aside.join("db"), vec![1; 5000]).unwrap();
    let spool = open(folder.path(), 1);
    assert_eq!(spool.clear_set_aside().unwrap(), 5000);
    let eight_days_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 86_400);
    std::fs::File::open(&aside).unwrap().set_modified(eight_days_ago).unwrap();
    assert_eq!(spool.clear_set_aside().unwrap(), 0);
    assert!(!aside.exists());
}

#[test]
fn a_spool_that_cannot_be_opened_is_set_aside_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), 1).append(Lane::Alert, &bodies(0..3)).unwrap();
    std::fs::write(folder.path().join("spool/conf"), b"not a configuration").unwrap();
    let spool = open(folder.path(), 2);
    assert_eq!(spool.stats().damaged, 3, "what was in it is counted as lost");
    let aside = spool.replaced().expect("the old one is kept for inspection");
    assert!(aside.exists());
    // The database breaks again: only the newest broken database is kept, or they would fill the disk.
    drop(spool);
    std::fs::write(folder.path().join("spool/conf"), b"not a configuration").unwrap();
    let spool = open(folder.path(), 3);
    assert!(spool.replaced().is_some_and(|path| path.exists()) && !aside.exists());
    assert_eq!(spool.append(Lane::Alert, &bodies(0..1)).unwrap(), Appended::Kept);
}

#[test]
fn a_spool_damaged_anywhere_opens_and_takes_records() {
    let original = tempfile::tempdir().unwrap();
    {
        let spool = open(original.path(), 1);
        for part in 0..30 {
            spool.append(Lane::Telemetry, &bodies(part * 50..part * 50 + 50)).unwrap();
        }
        spool.append(Lane::Alert, &bodies(0..10)).unwrap();
    }
    let database = std::fs::read(original.path().join("spool/db")).unwrap();
    let used = database.iter().rposition(|byte| *byte != 0).unwrap();
    let mut damaged_numbers = 0;
    for at in (0..used).step_by(used / 150) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("spool")).unwrap();
        std::fs::copy(original.path().join("spool.numbers"), folder.path().join("spool.numbers")).unwrap();
        for entry in std::fs::read_dir(original.path().join("spool")).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), folder.path().join("spool").join(entry.file_name())).unwrap();
            }
        }
        let mut damaged = database.clone();
        let end = (at + 2048).min(damaged.len());
        damaged[at..end].iter_mut().for_each(|byte| *byte ^= 0xa5);
        std::fs::write(folder.path().join("spool/db"), damaged).unwrap();
        let spool = open(folder.path(), 2);
        assert_eq!(spool.append(Lane::Alert, &bodies(0..3)).unwrap(), Appended::Kept, "damaged at {at}");
        for (lane, next) in [(Lane::Alert, 14), (Lane::Telemetry, 1501)] {
            let state = spool.lanes().unwrap().into_iter().find(|state| state.lane == lane.tag()).unwrap();
            assert_eq!(state.next, next, "numbers are given out twice, damaged at {at}");
            assert!(spool.stats().damaged >= state.oldest - 1, "lost without a word, damaged at {at}");
            assert_accounted(&drain(&spool, lane), state.oldest, next);
        }
        damaged_numbers = damaged_numbers.max(spool.stats().damaged);
    }
    assert!(damaged_numbers > 1000, "the damage that makes sled forget most was not among these");
}

#[test]
fn a_block_that_was_dropped_unread_does_not_outlive_the_marks_of_what_was_written_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 1);
    for from in [0, 50, 100] {
        spool.append(Lane::Telemetry, &bodies(from..from + 50)).unwrap();
    }
    drop(spool);
    let database = raw(folder.path());
    let tree = database.open_tree("telemetry").unwrap();
    tree.insert(1_u64.to_be_bytes(), vec![0xff; 700]).unwrap();
    database.flush().unwrap();
    drop((tree, database));

    // The next start's budget is too small for all of it: the oldest goes, unread.
    let config = SpoolConfig { budget_bytes: 2600, ..SpoolConfig::new(folder.path().join("spool"), 2) };
    let spool = Spool::open(config).unwrap();
    spool.append(Lane::Telemetry, &bodies(150..151)).unwrap();
    assert!(spool.stats().damaged > 0, "nothing was dropped: {:?}", spool.stats());
    // The server has committed what the first start has written, and says so in its epoch.
    spool.acknowledge(Lane::Telemetry, Position { epoch: 1, seq: 150 }).unwrap();
    let telemetry = Lane::Telemetry.tag();
    let held = spool.lanes().unwrap().into_iter().find(|lane| lane.lane == telemetry).unwrap();
    assert_eq!(held.oldest, 151, "the gap keeps everything behind it");
    assert_counted_as_found(spool, || open(folder.path(), 3));
}
