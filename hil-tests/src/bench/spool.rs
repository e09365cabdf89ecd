//! A million records in and out, against a plain segment file that is appended to and synced at the same points.

use noderr_protocol::Lane;
use noderr_spool::{Spool, SpoolConfig};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

const RECORDS: usize = 1_000_000;
const BATCH: usize = 100;
const SIZE: usize = 256;

pub(super) fn run() -> anyhow::Result<()> {
    let folder = noderr_hil::scratch()?;
    let batch: Vec<Vec<u8>> = (0..BATCH).map(|n| vec![n as u8; SIZE]).collect();

    let began = Instant::now();
    let mut file = File::create(folder.path().join("segment"))?;
    for _ in 0..RECORDS / BATCH {
        let bytes: Vec<u8> =
            batch.iter().flat_map(|record| [&record.len().to_be_bytes()[..], record].concat()).collect();
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    let plain = rate(began);

    let path = folder.path().join("spool");
    let config = SpoolConfig { budget_bytes: 4 << 30, ..SpoolConfig::new(&path, 1) };
    let spool = Spool::open(config.clone())?;
    let began = Instant::now();
    for _ in 0..RECORDS / BATCH {
        spool.append(Lane::Telemetry, &batch)?;
    }
    let ours = rate(began);
    let full = disk(&path)?;

    let began = Instant::now();
    let mut after = 0;
    loop {
        let entries = spool.read(Lane::Telemetry, after, 256, 60_000)?;
        let Some(last) = entries.last() else { break };
        after = last.last().seq;
        spool.acknowledge(Lane::Telemetry, last.last())?;
    }
    let drained = rate(began);
    drop(spool);
    drop(Spool::open(config)?);
    println!("spool: {RECORDS} records of {SIZE} bytes, synced every {BATCH}");
    println!(
        "  appends          {ours:>10.0}/s  = {:.2} of a plain segment file's {plain:.0}/s",
        ours / plain
    );
    println!("  read and forget  {drained:>10.0}/s");
    println!(
        "  disk, full       {:>10.2} bytes for each byte of payload",
        full as f64 / (RECORDS * SIZE) as f64
    );
    lanes_at_once(&batch)?;
    println!("  disk, emptied    {:>10.1} MiB after a reopening", disk(&path)? as f64 / 1048576.0);
    Ok(())
}

/// Three writers at once, each with its lane, or with its segment file: one sync serves all who wait.
fn lanes_at_once(batch: &[Vec<u8>]) -> anyhow::Result<()> {
    const ROUNDS: usize = RECORDS / BATCH / 10;
    let folder = noderr_hil::scratch()?;
    let of_three = |began: Instant| (Lane::ALL.len() * ROUNDS * BATCH) as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let write = |lane: Lane| {
            let mut file = File::create(folder.path().join(lane.as_str()))?;
            for _ in 0..ROUNDS {
                file.write_all(&batch.concat())?;
                file.sync_data()?;
            }
            anyhow::Ok(())
        };
        let writers = Lane::ALL.map(|lane| scope.spawn(move || write(lane)));
        writers.into_iter().try_for_each(joined)
    })?;
    let plain = of_three(began);
    let spool = Spool::open(SpoolConfig {
        budget_bytes: 4 << 30,
        ..SpoolConfig::new(folder.path().join("spool"), 1)
    })?;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let spool = &spool;
        let append = |lane: Lane| {
            for _ in 0..ROUNDS {
                spool.append(lane, batch)?;
            }
            anyhow::Ok(())
        };
        let writers = Lane::ALL.map(|lane| scope.spawn(move || append(lane)));
        writers.into_iter().try_for_each(joined)
    })?;
    let ours = of_three(began);
    println!("  three lanes      {ours:>10.0}/s  = {:.2} of three segment files' {plain:.0}/s", ours / plain);
    Ok(())
}

fn joined(writer: std::thread::ScopedJoinHandle<'_, anyhow::Result<()>>) -> anyhow::Result<()> {
    writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?
}

fn rate(began: Instant) -> f64 {
    RECORDS as f64 / began.elapsed().as_secs_f64()
}

fn disk(path: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
