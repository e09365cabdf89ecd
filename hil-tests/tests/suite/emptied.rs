//! An emptied spool is begun anew: whatever the disk does meanwhile, and at whichever request the power fails, no number is given
//! out again and nothing is reported as lost.

use anyhow::{Context as _, ensure};
use noderr_hil::forgetful::{Fault, ForgetfulDisk};
use noderr_hil::scratch;
use noderr_protocol::{Entry, GapReason, Lane, Position};
use noderr_spool::{Appended, Spool, SpoolConfig};
use rustix::io::Errno;
use std::path::Path;
use std::time::{Duration, Instant};

/// Requests that are left out between two that fail, so that the suite takes seconds; `NODERR_EACH_REQUEST` leaves none out.
fn step() -> usize {
    if std::env::var_os("NODERR_EACH_REQUEST").is_some() { 1 } else { 5 }
}

/// How many records each lane has had.
const HAD: u64 = 5;

fn config(place: &Path, epoch: u64) -> SpoolConfig {
    SpoolConfig { retry_every: Duration::ZERO, ..SpoolConfig::new(place.join("spool"), epoch) }
}

/// A spool that counts one loss, and whose records are all acknowledged.
fn emptied(place: &Path) -> anyhow::Result<Spool> {
    let spool = Spool::closed(config(place, 1));
    ensure!(spool.append(Lane::Alert, &[vec![0; 100]])? == Appended::NotKept, "it is not open");
    spool.try_open(&|| {})?;
    for lane in Lane::ALL {
        let records = if lane == Lane::Alert { HAD - 1 } else { HAD };
        spool.append(lane, &vec![vec![1; 100]; usize::try_from(records)?])?;
        let last = spool.read(lane, 0, 64, 1 << 16)?.last().context("something is there")?.last();
        spool.acknowledge(lane, last)?;
    }
    Ok(spool)
}

/// No number is given out again, nothing counts as lost that was not, and the loss is still known. What was acknowledged may be
/// there once more after a power cut: the control plane knows it.
fn check(spool: &Spool, is_empty: bool) -> anyhow::Result<()> {
    for lane in spool.lanes()? {
        ensure!(lane.next == HAD + 1 && (lane.oldest == lane.next || !is_empty), "{lane:?}");
    }
    ensure!(spool.stats().lost == 1 && spool.replaced().is_none(), "{:?}", spool.stats());
    for lane in Lane::ALL {
        ensure!(spool.append(lane, &[vec![2; 100]])? == Appended::Kept, "the disk is well");
        let all = spool.read(lane, 0, 64, 1 << 16)?;
        ensure!(
            all.iter().all(|entry| !matches!(entry, Entry::Gap(gap) if gap.reason == GapReason::Damaged)),
            "{all:?}"
        );
        let entries = spool.read(lane, HAD, 64, 1 << 16)?;
        ensure!(entries.len() == 1 && entries[0].first_seq() == HAD + 1, "{entries:?}");
    }
    Ok(())
}

/// Begins an emptied spool anew while the disk fails as planned; returns how many requests that took.
fn begin_anew_through(fault: Option<Fault>, cut: Option<u64>) -> anyhow::Result<u64> {
    let place = scratch()?;
    let disk = ForgetfulDisk::mount(place.path(), 64)?;
    let spool = emptied(place.path())?;
    let before = disk.requests();
    disk.plan(fault);
    // Where this fails, the spool is opened again and this is tried again, as whoever looks after it does.
    _ = spool.begin_anew();
    let requests = disk.requests() - before;
    if let Some(seed) = cut {
        drop(spool);
        disk.cut(seed);
        disk.plan(None);
        check(&Spool::open(config(place.path(), 2))?, false)?;
    } else {
        disk.plan(None);
        spool.try_open(&|| {})?;
        // A database that was closed by the failure may hold again what had been acknowledged, until the next mark comes.
        for lane in Lane::ALL {
            spool.acknowledge(lane, Position { epoch: 1, seq: HAD })?;
        }
        ensure!(spool.begin_anew()?, "the disk is well, and nothing is in the spool");
        check(&spool, true)?;
    }
    for remains in ["spool.begun", "spool.emptied"] {
        ensure!(!place.path().join(remains).exists(), "what was emptied still takes space: {remains}");
    }
    Ok(requests)
}

#[test]
fn numbers_go_on_when_the_power_fails_at_any_request() -> anyhow::Result<()> {
    let requests = begin_anew_through(None, Some(0))?;
    for seed in 0..5 {
        for after in (seed..requests).step_by(step()) {
            let dead = Fault { after, error: Errno::IO, for_good: true };
            begin_anew_through(Some(dead), Some(seed))
                .with_context(|| format!("cut at request {after} of {requests}, seed {seed}"))?;
        }
    }
    Ok(())
}

#[test]
fn numbers_go_on_when_the_disk_fails_at_any_request() -> anyhow::Result<()> {
    let requests = begin_anew_through(None, None)?;
    for error in [Errno::IO, Errno::NOSPC, Errno::ROFS] {
        for for_good in [false, true] {
            for after in (0..requests).step_by(step()) {
                begin_anew_through(Some(Fault { after, error, for_good }), None).with_context(|| {
                    format!("{error:?} at request {after} of {requests}, for good: {for_good}")
                })?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_spool_that_has_filled_its_disk_is_begun_anew_and_gives_the_disk_back() -> anyhow::Result<()> {
    let place = scratch()?;
    let _disk = ForgetfulDisk::mount(place.path(), 64)?;
    let spool = Spool::open(config(place.path(), 1))?;
    while spool.append(Lane::Telemetry, &vec![vec![7; 16_000]; 64])? == Appended::Kept {}
    ensure!(spool.stats().lost > 0 && spool.stats().disk_bytes > 32 << 20, "{:?}", spool.stats());
    // Acknowledging takes room too: where the disk refuses, the spool is opened again, as whoever looks after it does.
    let begun = Instant::now();
    while !(spool.stats().outgrown && spool.begin_anew()?) {
        ensure!(begun.elapsed() < Duration::from_secs(60), "{:?}", spool.stats());
        spool.try_open(&|| {})?;
        let Ok(entries) = spool.read(Lane::Telemetry, 0, 1000, 1 << 18) else { continue };
        if let Some(last) = entries.last() {
            // What is acknowledged twice does no harm.
            drop(spool.acknowledge(Lane::Telemetry, last.last()));
        }
    }
    ensure!(spool.append(Lane::Telemetry, &[vec![7; 100]])? == Appended::Kept, "there is room");
    Ok(())
}
