//! Errors of the disk: EIO, ENOSPC and EROFS in answer to each request once, and to every request from one on. Whatever was
//! kept before, or is kept afterwards, is there; every number is accounted for; and nothing panics or stops for good. A slow
//! disk is seen to get on.

use anyhow::{Context as _, ensure};
use noderr_hil::forgetful::{Fault, ForgetfulDisk};
use noderr_hil::scratch;
use noderr_hil::victim::Count;
use noderr_part::Folder;
use noderr_protocol::{Entry, Lane, Position};
use noderr_spool::{Appended, Spool, SpoolConfig};
use rustix::io::Errno;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

const ERRORS: [Errno; 3] = [Errno::IO, Errno::NOSPC, Errno::ROFS];
/// Requests that are left out between two that fail, so that the suite takes seconds; `NODERR_EACH_REQUEST` leaves none out.
fn step() -> usize {
    if std::env::var_os("NODERR_EACH_REQUEST").is_some() { 1 } else { 7 }
}

fn config(place: &Path, epoch: u64) -> SpoolConfig {
    SpoolConfig { retry_every: Duration::ZERO, ..SpoolConfig::new(place.join("spool"), epoch) }
}

/// What is put in, and what must come out.
#[derive(Default)]
struct Ledger {
    kept: BTreeSet<u64>,
    next: u64,
}

impl Ledger {
    fn append(&mut self, spool: &Spool, times: u64) -> anyhow::Result<()> {
        for _ in 0..times {
            let number = self.next;
            self.next += 1;
            // As the node does; where it fails, the record is counted as missed.
            _ = spool.try_open(&|| {});
            let body = [&number.to_be_bytes()[..], &[3; 400]].concat();
            if spool.append(Lane::Result, &[body])? == Appended::Kept {
                self.kept.insert(number);
            }
        }
        Ok(())
    }

    /// Reads everything, and holds it against what was kept.
    fn check(&self, spool: &Spool) -> anyhow::Result<Option<Position>> {
        let (mut found, mut after, mut next, mut last) = (BTreeSet::new(), 0, None, None);
        loop {
            let entries = spool.read(Lane::Result, after, 64, 1 << 16)?;
            let Some(newest) = entries.last() else { break };
            after = newest.last().seq;
            for entry in &entries {
                ensure!(
                    next.is_none_or(|next| next == entry.first_seq()),
                    "a hole or a repetition at {next:?}"
                );
                next = Some(entry.last().seq + 1);
                last = Some(entry.last());
                let Entry::Record(record) = entry else { continue };
                let number = record.body.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
                ensure!(found.insert(number.context("a number")?), "a record is there twice");
            }
        }
        let gone: Vec<_> = self.kept.difference(&found).collect();
        ensure!(gone.is_empty(), "kept and gone: {gone:?}");
        Ok(last)
    }
}

/// A spool that held something is opened, written to, read and emptied while the disk fails as planned; then the disk is well.
fn live_through(fault: Option<Fault>) -> anyhow::Result<u64> {
    let place = scratch()?;
    let disk = ForgetfulDisk::mount(place.path(), 64)?;
    let mut ledger = Ledger::default();
    {
        let spool = Spool::open(config(place.path(), 1))?;
        ledger.append(&spool, 5)?;
    }
    let before = disk.requests();
    disk.plan(fault);
    let spool = Spool::closed(config(place.path(), 2));
    ledger.append(&spool, 6)?;
    // Reading may fail now, and must not cost anything.
    _ = spool.read(Lane::Result, 0, 64, 1 << 16);
    ledger.append(&spool, 3)?;
    let requests = disk.requests() - before;
    disk.plan(None);
    ledger.append(&spool, 2)?;
    ensure!(ledger.kept.contains(&(ledger.next - 1)), "the disk is well, and nothing is kept");
    let last = ledger.check(&spool)?.context("something is there")?;
    drop(spool);
    let spool = Spool::open(config(place.path(), 3))?;
    ledger.check(&spool)?;
    spool.acknowledge(Lane::Result, last)?;
    ensure!(spool.stats().records == 0, "what is acknowledged goes");
    Ok(requests)
}

#[test]
fn a_spool_lives_through_an_error_at_any_request() -> anyhow::Result<()> {
    let requests = live_through(None)?;
    for error in ERRORS {
        for for_good in [false, true] {
            for after in (0..requests).step_by(step()) {
                live_through(Some(Fault { after, error, for_good })).with_context(|| {
                    format!("{error:?} at request {after} of {requests}, for good: {for_good}")
                })?;
            }
        }
    }
    Ok(())
}

#[test]
fn what_was_read_after_a_failed_sync_is_there_after_a_power_cut() -> anyhow::Result<()> {
    let mut failed = 0;
    for seed in 0..20 {
        let place = scratch()?;
        let disk = ForgetfulDisk::mount(place.path(), 64)?;
        let mut ledger = Ledger::default();
        let spool = Spool::open(config(place.path(), 1))?;
        ledger.append(&spool, 5)?;
        drop(spool);
        // What was read once stays in the kernel's memory, and what is written next is written there too.
        let spool = Spool::open(config(place.path(), 2))?;
        disk.fail_next_sync();
        ledger.append(&spool, 1)?;
        // sled syncs now and then too, and may have met the failure in the record's place.
        failed += u32::from(ledger.kept.len() == 5);
        spool.try_open(&|| {})?;
        // Whatever can be read now may leave the box; its number must not be given out again.
        let last = ledger.check(&spool)?.context("something is there")?;
        drop(spool);
        disk.cut(seed);
        let spool = Spool::open(config(place.path(), 3))?;
        ensure!(
            ledger.check(&spool)? >= Some(last),
            "{last:?} was read, and is gone after the cut of {seed}"
        );
    }
    ensure!(failed > 10, "only {failed} of 20 records met the failure");
    Ok(())
}

#[test]
fn opening_a_large_spool_on_a_slow_disk_says_all_the_time_that_it_gets_on() -> anyhow::Result<()> {
    const RATE: u64 = 2_000_000;
    let place = scratch()?;
    let disk = ForgetfulDisk::mount(place.path(), 64)?;
    let spool = Spool::open(config(place.path(), 1))?;
    for _ in 0..16 {
        spool.append(Lane::Telemetry, &vec![vec![3; 16_000]; 64])?;
    }
    drop(spool);
    // Empties the kernel's memory of what is on the disk.
    disk.cut(1);
    disk.slow_down(Some(RATE));
    let bytes = std::fs::metadata(place.path().join("spool/db"))?.len();
    let (begun, spool) = (Instant::now(), Spool::closed(config(place.path(), 2)));
    let (last, longest) = (Cell::new(begun), Cell::new(Duration::ZERO));
    let gets_on = || longest.set(longest.get().max(last.replace(Instant::now()).elapsed()));
    spool.try_open(&gets_on)?;
    gets_on();
    let (took, longest) = (begun.elapsed(), longest.get());
    ensure!(
        took.as_secs_f64() > bytes as f64 / RATE as f64,
        "{took:?} for {bytes} bytes: the disk was not slow"
    );
    ensure!(longest < took / 4, "no sign for {longest:?} of {took:?}");
    ensure!(spool.stats().records == 16 * 64, "everything is there");
    Ok(())
}

/// A document is read and written while the disk fails as planned; what was there, or is there now, can be read.
fn rewrite_through(fault: Option<Fault>) -> anyhow::Result<u64> {
    let place = scratch()?;
    let disk = ForgetfulDisk::mount(place.path(), 16)?;
    let folder = Folder::open(place.path())?;
    for count in 1..=3 {
        folder.write(&Count { count })?;
    }
    let before = disk.requests();
    disk.plan(fault);
    let written = folder.write(&Count { count: 4 }).is_ok();
    let read = folder.read::<Count>();
    let requests = disk.requests() - before;
    ensure!(!matches!(read, Ok(None)), "an error of the disk passes for a document that is not there");
    disk.plan(None);
    let found = folder.read::<Count>()?.context("the document is gone")?.count;
    ensure!(found == 4 || (!written && found == 3), "{found}, written: {written}");
    folder.write(&Count { count: 5 })?;
    ensure!(folder.read::<Count>()?.map(|read| read.count) == Some(5), "the disk is well");
    Ok(requests)
}

#[test]
fn a_document_lives_through_an_error_at_any_request() -> anyhow::Result<()> {
    let requests = rewrite_through(None)?;
    for error in ERRORS {
        for for_good in [false, true] {
            for after in 0..requests {
                rewrite_through(Some(Fault { after, error, for_good })).with_context(|| {
                    format!("{error:?} at request {after} of {requests}, for good: {for_good}")
                })?;
            }
        }
    }
    Ok(())
}
