//! What the box relies on: order, durability, bounds, and that no number is ever lost silently.

#![expect(clippy::unwrap_used, reason = "in a test a failure is a failure")]

mod damage;

use noderr_protocol::{Entry, GapReason, Lane, Position};
use noderr_spool::{Appended, Spool, SpoolConfig};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn open(folder: &Path, epoch: u64) -> Spool {
    Spool::open(SpoolConfig::new(folder.join("spool"), epoch)).unwrap()
}

fn bodies(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range.map(|n| n.to_be_bytes().to_vec()).collect()
}

/// The database itself, once the spool has released its lock.
fn raw(folder: &Path) -> sled::Db {
    loop {
        match sled::Config::new().path(folder.join("spool")).segment_size(2 << 20).open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("lock") => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn drain(spool: &Spool, lane: Lane) -> Vec<Entry> {
    let (mut entries, mut after) = (Vec::new(), 0);
    loop {
        let more = spool.read(lane, after, 7, 1 << 16).unwrap();
        assert!(more.len() <= 7, "{} entries where 7 were asked for", more.len());
        let Some(last) = more.last() else { return entries };
        after = last.last().seq;
        entries.extend(more);
    }
}

/// Every number from the first to `next`, once, as a record or in a gap.
fn assert_accounted(entries: &[Entry], first: u64, next: u64) {
    let mut expected = first;
    for entry in entries {
        assert_eq!(entry.first_seq(), expected, "a hole or a repetition");
        expected = entry.last().seq + 1;
    }
    assert_eq!(expected, next);
}

#[test]
fn records_come_back_in_order_across_starts_and_keep_their_epoch() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), 1).append(Lane::Telemetry, &bodies(0..120)).unwrap();
    let spool = open(folder.path(), 2);
    spool.append(Lane::Telemetry, &bodies(120..130)).unwrap();
    let entries = drain(&spool, Lane::Telemetry);
    assert_accounted(&entries, 1, 131);
    for (n, entry) in entries.iter().enumerate() {
        let Entry::Record(record) = entry else { panic!("a gap where nothing was lost") };
        let epoch = if n < 120 { 1 } else { 2 };
        assert_eq!(record.position, Position { epoch, seq: n as u64 + 1 });
        assert_eq!(record.body.to_vec(), (n as u32).to_be_bytes());
    }
}

/// What the spool says that it holds is what the next start finds.
fn assert_counted_as_found(spool: Spool, reopen: impl FnOnce() -> Spool) -> Spool {
    let counted = spool.stats();
    drop(spool);
    let spool = reopen();
    let found = spool.stats();
    assert_eq!(
        (counted.records, counted.bytes, counted.foreign),
        (found.records, found.bytes, found.foreign)
    );
    spool
}

#[test]
fn acknowledged_records_go_and_numbers_go_on_even_when_the_lane_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 1);
    spool.append(Lane::Alert, &bodies(0..10)).unwrap();
    spool.acknowledge(Lane::Alert, Position { epoch: 1, seq: 10 }).unwrap();
    assert_eq!(spool.stats().records, 0);
    drop(spool);
    let spool = open(folder.path(), 2);
    spool.append(Lane::Alert, &bodies(10..11)).unwrap();
    assert_accounted(&drain(&spool, Lane::Alert), 11, 12);
}

#[test]
fn an_acknowledgement_of_an_earlier_epoch_does_not_take_records_of_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 2);
    spool.append(Lane::Result, &bodies(0..5)).unwrap();
    spool.acknowledge(Lane::Result, Position { epoch: 1, seq: 100 }).unwrap();
    assert_eq!(spool.stats().records, 5);
    assert_accounted(&drain(&spool, Lane::Result), 1, 6);
}

#[test]
fn over_budget_the_oldest_of_the_least_important_lane_become_one_gap() {
    let folder = tempfile::tempdir().unwrap();
    let config = SpoolConfig { budget_bytes: 200_000, ..SpoolConfig::new(folder.path().join("spool"), 1) };
    let spool = Spool::open(config).unwrap();
    let record = vec![vec![7; 1000]];
    for _ in 0..20 {
        spool.append(Lane::Alert, &record).unwrap();
    }
    for _ in 0..300 {
        spool.append(Lane::Telemetry, &record).unwrap();
    }
    assert_eq!(drain(&spool, Lane::Alert).len(), 20, "alerts are kept");
    let telemetry = drain(&spool, Lane::Telemetry);
    assert_accounted(&telemetry, 1, 301);
    let gaps: Vec<_> = telemetry.iter().filter(|entry| matches!(entry, Entry::Gap(_))).collect();
    let [Entry::Gap(gap)] = gaps[..] else { panic!("{} gaps", gaps.len()) };
    assert_eq!((gap.reason, gap.first), (GapReason::Budget, 1));
    assert_eq!(spool.stats().lost, gap.last);
    assert!(spool.stats().bytes <= 200_000 * 5 / 11);
}

#[test]
fn a_spool_that_is_not_open_yet_counts_what_it_cannot_keep_and_reports_it_later() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), 1).append(Lane::Result, &bodies(0..3)).unwrap();
    // The odometer is not brought to the disk by itself: after a power cut it may be gone.
    std::fs::remove_file(folder.path().join("spool.numbers")).unwrap();
    let held = raw(folder.path());
    let spool = Spool::closed(SpoolConfig::new(folder.path().join("spool"), 2));
    assert_eq!(spool.append(Lane::Result, &bodies(3..5)).unwrap(), Appended::NotKept, "another holds it");
    assert!(!spool.stats().open && spool.lanes().is_err());
    assert_eq!(spool.stats().lost, 2);
    drop((held, spool));
    let spool = open(folder.path(), 3);
    spool.append(Lane::Result, &bodies(5..6)).unwrap();
    assert_accounted(&drain(&spool, Lane::Result), 1, 5);
}

#[test]
fn blocks_of_a_later_build_wait_for_it_and_only_the_budget_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        |epoch| SpoolConfig { budget_bytes: 100_000, ..SpoolConfig::new(folder.path().join("spool"), epoch) };
    let spool = Spool::open(config(1)).unwrap();
    for start in [0, 10, 20] {
        spool.append(Lane::Result, &bodies(start..start + 10)).unwrap();
    }
    drop(spool);
    let mut later = vec![9];
    later.extend_from_slice(&1_u64.to_be_bytes());
    later.extend_from_slice(&10_u32.to_be_bytes());
    later.extend_from_slice(b"as nobody writes it yet");
    later.extend_from_slice(&crc32fast::hash(&later).to_be_bytes());
    {
        let db = raw(folder.path());
        db.open_tree("result").unwrap().insert(11_u64.to_be_bytes(), later.clone()).unwrap();
        db.flush().unwrap();
    }
    let spool = Spool::open(config(2)).unwrap();
    assert_accounted(&drain(&spool, Lane::Result), 1, 11);
    spool.acknowledge(Lane::Result, Position { epoch: 1, seq: 10 }).unwrap();
    spool.append(Lane::Result, &bodies(30..31)).unwrap();
    assert_eq!((drain(&spool, Lane::Result), spool.stats().lost), (vec![], 0));
    drop(spool);
    assert_eq!(
        raw(folder.path()).open_tree("result").unwrap().get(11_u64.to_be_bytes()).unwrap().unwrap(),
        later
    );
    let spool = Spool::open(config(3)).unwrap();
    for _ in 0..60 {
        spool.append(Lane::Result, &[vec![7; 1000]]).unwrap();
    }
    let entries = drain(&spool, Lane::Result);
    assert_accounted(&entries, 11, 92);
    assert!(matches!(&entries[0], Entry::Gap(gap) if gap.reason == GapReason::Budget));
}

#[test]
fn a_record_over_the_bound_is_refused_and_takes_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 1);
    assert!(spool.append(Lane::Result, &[vec![0; 20_000]]).is_err());
    assert!(spool.lanes().unwrap().iter().all(|lane| lane.next == 1));
}

#[test]
fn an_emptied_spool_is_begun_anew_under_the_hands_of_those_who_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, ended) = (open(folder.path(), 1), AtomicBool::new(false));
    let begun = std::thread::scope(|scope| {
        let writers = Lane::ALL.map(|lane| {
            let spool = &spool;
            scope.spawn(move || {
                for n in 0..200 {
                    assert_eq!(spool.append(lane, &bodies(n..n + 1)).unwrap(), Appended::Kept);
                    // Until it is read, so that there are moments in which nothing waits.
                    while spool.stats().records > 0 {
                        std::thread::yield_now();
                    }
                }
            })
        });
        let reader = scope.spawn(|| {
            let mut heard = BTreeMap::from(Lane::ALL.map(|lane| (lane, Vec::new())));
            loop {
                let last_round = ended.load(Ordering::SeqCst);
                for lane in Lane::ALL {
                    let entries = spool.read(lane, 0, 1000, 1 << 16).unwrap();
                    if let Some(last) = entries.last() {
                        spool.acknowledge(lane, last.last()).unwrap();
                        heard.get_mut(&lane).unwrap().extend(entries);
                    }
                }
                if last_round {
                    return heard;
                }
            }
        });
        let beginner = scope.spawn(|| {
            let mut begun = 0;
            while !ended.load(Ordering::SeqCst) {
                begun += u32::from(spool.begin_anew().unwrap());
            }
            begun
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        ended.store(true, Ordering::SeqCst);
        for (lane, entries) in reader.join().unwrap() {
            assert_accounted(&entries, 1, 201);
            assert!(entries.iter().all(|entry| matches!(entry, Entry::Record(_))), "{lane}: nothing is lost");
        }
        beginner.join().unwrap()
    });
    assert!(begun > 5, "only {begun} beginnings");
    assert_eq!(spool.stats().lost, 0);
}

#[derive(Debug, Clone)]
enum Act {
    Append(Lane, Vec<u16>),
    Acknowledge(Lane, prop::sample::Index),
    BeginAnew,
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let lane = prop::sample::select(Lane::ALL.to_vec());
    prop_oneof![
        4 => (lane.clone(), prop::collection::vec(0..600_u16, 1..80)).prop_map(|(lane, sizes)| Act::Append(lane, sizes)),
        2 => (lane, any::<prop::sample::Index>()).prop_map(|(lane, at)| Act::Acknowledge(lane, at)),
        1 => Just(Act::BeginAnew),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is done to a spool, every lane accounts for every number that it gave out and was not yet
    /// told to forget.
    #[test]
    fn no_number_is_lost_without_a_word(acts in prop::collection::vec(act(), 1..25), budget in 20_000..400_000_u64) {
        let folder = tempfile::tempdir().unwrap();
        let config = |epoch| SpoolConfig { budget_bytes: budget, ..SpoolConfig::new(folder.path().join("spool"), epoch) };
        let (mut epoch, mut next) = (1, BTreeMap::from(Lane::ALL.map(|lane| (lane, 1_u64))));
        let (mut acknowledged, mut lost) = (BTreeMap::from(Lane::ALL.map(|lane| (lane, 0_u64))), BTreeSet::new());
        let mut spool = Spool::open(config(epoch)).unwrap();
        for act in acts {
            match act {
                Act::Append(lane, sizes) => {
                    *next.get_mut(&lane).unwrap() += sizes.len() as u64;
                    let bodies: Vec<_> = sizes.into_iter().map(|size| vec![1; size.into()]).collect();
                    spool.append(lane, &bodies).unwrap();
                }
                Act::Acknowledge(lane, at) => {
                    let entries = drain(&spool, lane);
                    if !entries.is_empty() {
                        let last = entries[at.index(entries.len())].last();
                        acknowledged.insert(lane, last.seq);
                        spool.acknowledge(lane, last).unwrap();
                    }
                }
                Act::BeginAnew => {
                    let waits = Lane::ALL.iter().any(|lane| acknowledged[lane] + 1 < next[lane]);
                    assert_eq!(spool.begin_anew().unwrap(), !waits, "all are begun anew that are empty, and no others");
                }
                Act::Restart => {
                    epoch += 1;
                    spool = assert_counted_as_found(spool, || Spool::open(config(epoch)).unwrap());
                }
            }
            for lane in Lane::ALL {
                let entries = drain(&spool, lane);
                let first = entries.first().map_or(next[&lane], Entry::first_seq);
                assert!(first <= acknowledged[&lane] + 1, "{first}: more is gone than was acknowledged");
                assert_accounted(&entries, first, next[&lane]);
                for entry in entries {
                    if let Entry::Gap(gap) = entry {
                        lost.extend((gap.first..=gap.last).map(|number| (lane, number)));
                    }
                }
            }
            assert_eq!(spool.stats().lost, lost.len() as u64, "lost numbers are counted");
        }
    }
}

#[test]
fn an_emptied_spool_that_has_grown_or_has_segments_of_before_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    drop(sled::Config::new().path(folder.path().join("spool")).segment_size(512 << 10).open().unwrap());
    let spool = open(folder.path(), 1);
    assert!(spool.stats().outgrown, "a power cut may cost its large records");
    spool.append(Lane::Alert, &bodies(0..1)).unwrap();
    assert!(!spool.stats().outgrown && !spool.begin_anew().unwrap(), "something waits in it");
    spool.acknowledge(Lane::Alert, Position { epoch: 1, seq: 1 }).unwrap();
    assert!(spool.begin_anew().unwrap() && !spool.stats().outgrown);
    for _ in 0..20 {
        spool.append(Lane::Result, &vec![vec![7; 16_000]; 64]).unwrap();
    }
    spool.acknowledge(Lane::Result, Position { epoch: 1, seq: 20 * 64 }).unwrap();
    assert!(spool.stats().outgrown);
    assert!(spool.begin_anew().unwrap() && spool.stats().disk_bytes < 4 << 20);
    spool.append(Lane::Result, &bodies(1..2)).unwrap();
    assert_accounted(&drain(&spool, Lane::Result), 20 * 64 + 1, 20 * 64 + 2);
}
