//! Power cuts: what the box was told is on the disk is there after the power has failed, whatever the disk did with the rest.
//! The disk loses, tears and reorders everything that was not synced. That the tests would notice is tried with a disk whose
//! syncs do nothing, which is a box that does not sync.

use anyhow::{Context as _, ensure};
use noderr_hil::forgetful::ForgetfulDisk;
use noderr_hil::victim::Count;
use noderr_hil::{binary, scratch};
use noderr_part::Folder;
use noderr_protocol::{Entry, Lane, Position};
use noderr_spool::{Spool, SpoolConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often the power is cut; `NODERR_CUTS` makes it more.
fn rounds() -> u64 {
    std::env::var("NODERR_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(30)
}

/// Runs a victim until it has said something and some time has passed; kills it; returns what it has said.
fn kill_midway(arguments: &[&str], folder: &Path, life: Duration) -> anyhow::Result<Vec<String>> {
    let mut victim =
        Command::new(binary("noderr-hil")?).args(arguments).arg(folder).stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(victim.stdout.take().context("a pipe")?);
    let (mut said, mut since) = (Vec::new(), None);
    for line in output.lines() {
        said.push(line?);
        let began: &mut Instant = since.get_or_insert_with(Instant::now);
        if began.elapsed() >= life {
            // What it has said and nobody has read yet counts too: the loop goes on until the pipe is empty.
            victim.kill()?;
        }
    }
    victim.wait()?;
    ensure!(!said.is_empty(), "the victim said nothing");
    Ok(said)
}

/// Every number that a lane holds, by lane.
fn held(folder: &Path, epoch: u64) -> anyhow::Result<BTreeMap<&'static str, BTreeSet<u64>>> {
    let spool = Spool::open(SpoolConfig::new(folder.join("spool"), epoch))?;
    let mut held = BTreeMap::new();
    for (lane, state) in Lane::ALL.into_iter().zip(spool.lanes()?) {
        let (mut numbers, mut after, mut next) = (BTreeSet::new(), 0, state.oldest);
        loop {
            let entries = spool.read(lane, after, 256, 1 << 16)?;
            let Some(last) = entries.last() else { break };
            after = last.last().seq;
            for entry in &entries {
                ensure!(entry.first_seq() == next, "a hole or a repetition at {next} of {lane}");
                next = entry.last().seq + 1;
                let Entry::Record(record) = entry else { continue };
                let number = record.body.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
                ensure!(numbers.insert(number.context("a number")?), "a record is there twice");
            }
        }
        held.insert(lane.as_str(), numbers);
    }
    Ok(held)
}

fn acknowledge_all(folder: &Path, epoch: u64) -> anyhow::Result<()> {
    let spool = Spool::open(SpoolConfig::new(folder.join("spool"), epoch))?;
    for (lane, state) in Lane::ALL.into_iter().zip(spool.lanes()?) {
        spool.acknowledge(lane, Position { epoch, seq: state.next - 1 })?;
    }
    Ok(())
}

/// Cuts the power again and again while records are appended; returns how many records that were kept are missing.
fn cut_a_spool(loses_syncs: bool, rounds: u64) -> anyhow::Result<usize> {
    let place = scratch()?;
    let disk = ForgetfulDisk::mount(place.path(), 256)?;
    disk.lose_syncs(loses_syncs);
    let (mut promised, mut missing) = (BTreeMap::<String, BTreeSet<u64>>::new(), 0);
    for round in 1..=rounds {
        let (epoch, first) = ((2 * round).to_string(), (round * 1_000_000).to_string());
        let life = Duration::from_millis(20 + 13 * (round % 7));
        for line in kill_midway(&["rehearse", "append", &epoch, &first], place.path(), life)? {
            let (lane, number) = line.split_once(' ').context("lane and number")?;
            promised
                .entry(lane.to_owned())
                .or_default()
                .insert(number.parse().with_context(|| line.clone())?);
        }
        disk.cut(round);
        let held = held(place.path(), 2 * round + 1)?;
        let lost = |lane: &String, numbers: &BTreeSet<u64>| numbers.difference(&held[lane.as_str()]).count();
        missing += promised.iter().map(|(lane, numbers)| lost(lane, numbers)).sum::<usize>();
        if missing > 0 {
            break;
        }
        // A spool that nobody empties drops its oldest by its budget.
        if round % 40 == 0 {
            acknowledge_all(place.path(), 2 * round + 1)?;
            promised.clear();
        }
    }
    Ok(missing)
}

/// Cuts the power again and again while a document is written; returns how often less was there than had been promised.
fn cut_a_document(loses_syncs: bool, rounds: u64) -> anyhow::Result<usize> {
    let place = scratch()?;
    let disk = ForgetfulDisk::mount(place.path(), 16)?;
    disk.lose_syncs(loses_syncs);
    let (mut next, mut losses) = (1, 0);
    for round in 1..=rounds {
        let first = next.to_string();
        let life = Duration::from_millis(5 + 7 * (round % 5));
        let said = kill_midway(&["rehearse", "write", "1", &first], place.path(), life)?;
        let promised: u64 = said.last().context("a number")?.parse()?;
        disk.cut(round);
        let found = Folder::open(place.path()).map(|folder| folder.read::<Count>());
        match found.map(|read| read.ok().flatten()) {
            Ok(Some(Count { count })) if count >= promised => next = count + 1,
            _ => {
                losses += 1;
                next = promised + 1;
            }
        }
    }
    Ok(losses)
}

#[test]
fn records_that_were_kept_survive_power_cuts() -> anyhow::Result<()> {
    assert_eq!(cut_a_spool(false, rounds())?, 0);
    Ok(())
}

#[test]
fn records_that_are_not_synced_are_missed() -> anyhow::Result<()> {
    assert!(cut_a_spool(true, rounds())? > 0, "these tests notice nothing");
    Ok(())
}

#[test]
fn documents_that_were_written_survive_power_cuts() -> anyhow::Result<()> {
    assert_eq!(cut_a_document(false, rounds())?, 0);
    Ok(())
}

#[test]
fn documents_that_are_not_synced_are_missed() -> anyhow::Result<()> {
    assert!(cut_a_document(true, rounds())? > 0, "these tests notice nothing");
    Ok(())
}
