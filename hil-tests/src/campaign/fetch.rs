//! Kills a box in the middle of transfers.

use crate::binaries::binary;
use crate::handout::{Bringer, Handout};
use crate::manager::noise;
use anyhow::{Context as _, ensure};
use noderr_update::{Stage, store_in};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The largest chunk of an artefact of this size, and what may be on its way besides.
const A_CHUNK: u64 = (128 + 32) * 1024;
const BYTES: usize = 6_000_000;
/// The pause of the server after each 4 KiB: so that hardly anything is on its way when the box is killed.
const PAUSE: Duration = Duration::from_millis(1);

/// Kills a process that brings release after release, at random moments; whatever is there afterwards is whole, nothing was
/// fetched twice but the chunk that was on its way, and in the end everything is held.
pub async fn fetches(folder: &Path, kills: u32, seed: u64) -> anyhow::Result<()> {
    println!("fetch: {kills} kills, seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let handout = Handout::start(&folder.join("server")).await?;
    let (data, root) = (folder.join("data"), folder.join("root.json"));
    std::fs::write(&root, handout.root()?)?;
    handout.dawdle(Some(PAUSE));
    let (mut killed, mut number) = (0, 0_u64);
    while killed < kills {
        let release = format!("os/generic/1.{number}.0");
        let artefact = noise(BYTES, number);
        let manifest = handout.release(&release, &artefact)?;
        let (before, killed_before) = (handout.sent(), killed);
        while !bring_and_kill(&handout, &release, (&root, &data), rng.random_range(20..700)).await? {
            killed += 1;
            whole_or_absent(&data, &handout, &release, &artefact)?;
        }
        let (sent, kills) = (handout.sent() - before, killed - killed_before);
        let most = manifest.archive.bytes + u64::from(kills) * A_CHUNK;
        ensure!(sent <= most, "{sent} bytes were sent of {}, over {kills} kills", manifest.archive.bytes);
        ensure!(Bringer::new(&data, &handout)?.held(&release)? == artefact, "something else is held");
        number += 1;
    }
    println!("fetch: {killed} kills over {number} releases, {} bytes were sent", handout.sent());
    Ok(())
}

/// Whether the process got to its end within its life.
async fn bring_and_kill(
    handout: &Handout,
    release: &str,
    (root, data): (&Path, &Path),
    life_ms: u64,
) -> anyhow::Result<bool> {
    let mut bringer = Command::new(binary("noderr-hil")?)
        .args(["bring", "--address", &handout.address, "--release", release, "--root"])
        .args([root, data])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    match tokio::time::timeout(Duration::from_millis(life_ms), bringer.wait()).await {
        Ok(ended) => {
            ensure!(ended?.success(), "it ended by itself, and badly");
            Ok(true)
        }
        Err(_) => {
            bringer.kill().await?;
            Ok(false)
        }
    }
}

/// What a consumer finds after a kill: the whole artefact, or none.
fn whole_or_absent(data: &Path, handout: &Handout, release: &str, artefact: &[u8]) -> anyhow::Result<()> {
    if !data.exists() {
        return Ok(());
    }
    let this = Bringer::new(data, handout)?;
    if store_in(&this.data, this.settings.store).stored_as(&release.parse()?).is_some() {
        ensure!(this.held(release)? == artefact, "a part can be opened as if it were all");
    }
    Ok(())
}

/// Brings one release, for a process that is killed meanwhile.
pub async fn bring(data: &Path, address: &str, root: &Path, release: &str) -> anyhow::Result<()> {
    let this = Bringer::of(data, address, std::fs::read(root).context("the root")?)?;
    let brought = this.bring(release).await?;
    ensure!(brought.stage == Stage::Held, "{:?}", brought.stage);
    Ok(())
}
