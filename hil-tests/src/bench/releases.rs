//! Releases: what the control plane hands out, beside nginx with the same files, and what a box spends to hear that nothing is
//! new.

use super::asking::{Asks, Question, ask};
use super::line;
use anyhow::{Context as _, ensure};
use noderr_hil::manager::noise;
use noderr_hil::{Bringer, Handout, Lab, LabOptions, Nginx, Publisher, ReleaseManager, scratch};
use noderr_update::Stage;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CLIENTS: u64 = 16;
const MEASURE: Duration = Duration::from_secs(5);
/// Both servers are asked in turn, so often; the middle one of each counts.
const TURNS: usize = 5;
const ARTEFACT: usize = 64 << 20;
/// A box asks for no more at once.
const RANGE: u64 = 1 << 20;
const SMALL_RANGE: u64 = 64 << 10;
/// Releases in the metadata that a box refreshes.
const RELEASES: usize = 1000;

pub(super) async fn run() -> anyhow::Result<()> {
    println!("releases: {CLIENTS} clients over HTTPS on the same machine; control plane / nginx");
    let folder = scratch()?;
    let lab = Lab::start(folder.path(), LabOptions::default(), |_| {}).await?;
    let place = folder.path().join("manager");
    fs::create_dir_all(&place)?;
    let manager = ReleaseManager::for_plane(&place, &lab.admin).await?;
    let publisher = Publisher::new(lab.control.api_url(), lab.control.root_file(), &lab.admin).await?;
    let manifest = manager.release("os/generic/1.0.0", &noise(ARTEFACT, 1))?;
    manager.publish(&publisher).await?;
    publisher.ctl(&["channels", "activate", "os/generic/1.0.0"]).await?;

    let archive = manager.folder.object(&manifest.archive.sha256);
    let name = archive.file_name().context("a name")?.to_string_lossy().into_owned();
    let files = folder.path().join("nginx");
    let nginx = Nginx::start(&files, lab.control.authority()).await?;
    fs::create_dir_all(files.join("files/releases/objects"))?;
    fs::copy(&archive, files.join("files/releases/objects").join(&name))?;
    let beacon = lab.control.shows("/releases/beacon.json").await?.context("there is no beacon")?;
    fs::write(files.join("files/releases/beacon.json"), &beacon)?;

    let both = [lab.control.api(), nginx.address()];
    let roots = lab.control.root_file();
    let bytes = beacon.len() as u64;
    let beacons: Asks =
        Arc::new(move |_| Question { path: "/releases/beacon.json".to_owned(), range: None, bytes });
    compare("the beacon", "1/s", both, &roots, (&beacons, 1.0)).await?;
    for (what, range) in [("ranges of 64 KiB", SMALL_RANGE), ("ranges of 1 MiB", RANGE)] {
        let (path, most) = (format!("/releases/objects/{name}"), manifest.archive.bytes - range);
        let ranges: Asks = Arc::new(move |number| {
            // Spread over the archive, the same for both.
            let first = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % most;
            Question { path: path.clone(), range: Some((first, first + range - 1)), bytes: range }
        });
        compare(what, "MiB/s", both, &roots, (&ranges, range as f64 / 1_048_576.0)).await?;
    }
    drop(lab);
    a_box().await
}

/// Asks both servers in turn, and prints the middle of what each has answered.
async fn compare(
    what: &str,
    unit: &str,
    servers: [SocketAddr; 2],
    roots: &Path,
    (asks, each): (&Asks, f64),
) -> anyhow::Result<()> {
    let mut answered = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for (server, answered) in servers.into_iter().zip(&mut answered) {
            answered.push(ask(server, roots, CLIENTS, MEASURE, asks).await? * each);
        }
    }
    let [ours, theirs] = answered.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[TURNS / 2]
    });
    line(what, unit, ours, theirs);
    Ok(())
}

/// What a box spends to hear that nothing is new among many releases.
async fn a_box() -> anyhow::Result<()> {
    let place = scratch()?;
    let handout = Handout::start(&place.path().join("server")).await?;
    handout.release("models/series-0/1.0.0", &noise(10_000, 1))?;
    handout.manager.name_again(RELEASES)?;
    handout.refresh()?;
    let this = Bringer::new(&place.path().join("box"), &handout)?;
    let wanted = "models/series-0/1.0.0";
    let (mut before, mut took) = (0, Vec::new());
    for _ in 0..21 {
        let began = Instant::now();
        let brought = this.bring(wanted).await?;
        ensure!(brought.stage == Stage::Held, "{:?}", brought.stage);
        took.push((began.elapsed(), brought.spent - before));
        before = brought.spent;
    }
    let (first, first_bytes) = took.remove(0);
    took.sort();
    let (again, bytes) = took[took.len() / 2];
    println!(
        "  a box, {RELEASES} releases: first {first_bytes} bytes in {first:.0?} with the artefact, then {bytes} bytes in {again:.1?}"
    );
    Ok(())
}
