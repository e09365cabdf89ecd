//! Disks that are worn: sectors that cannot be read any more, folders that cannot be removed, blocks that keep nothing. The damage
//! stays, over every start of the box; nobody comes to mend it.

use super::planted::files;
use anyhow::{Context as _, ensure};
use noderr_hil::forgetful::{Damage, ForgetfulDisk};
use noderr_hil::manager::noise;
use noderr_hil::{Bringer, Handout, SOON, SmallDisk, scratch};
use noderr_update::{Stage, StoreLimits};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

const RELEASE: &str = "os/generic/1.0.0";

/// A server, and a box on a disk that holds a release.
async fn begun(mib: usize) -> anyhow::Result<(Handout, Bringer, ForgetfulDisk, [TempDir; 2])> {
    let (server, mounted) = (tempfile::tempdir()?, scratch()?);
    let handout = Handout::start(server.path()).await?;
    let disk = ForgetfulDisk::mount(mounted.path(), mib)?;
    let this = Bringer::new(&mounted.path().join("data"), &handout)?;
    handout.release(RELEASE, &noise(300_000, 1))?;
    ensure!(this.bring(RELEASE).await?.stage == Stage::Held);
    Ok((handout, this, disk, [server, mounted]))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_file_of_a_box_cannot_be_read_any_more_the_next_release_comes() -> anyhow::Result<()> {
    let (handout, mut this, disk, _places) = begun(64).await?;
    let releases = this.data.root().join("releases");
    let all = files(&releases, Path::new(""))?;
    ensure!(all.iter().any(|name| name.ends_with("floor")) && all.len() >= 8, "{all:?}");
    for (number, name) in all.iter().enumerate() {
        disk.damage(&releases.join(name), Damage::Unreadable)?;
        this.restart();
        let next = format!("os/generic/1.{}.0", number + 1);
        let artefact = noise(100_000, number as u64);
        handout.release(&next, &artefact)?;
        let what = || format!("{} cannot be read", name.display());
        let brought = timeout(SOON, this.bring_of(&next, &[RELEASE, &next])).await.with_context(what)??;
        ensure!(brought.stage == Stage::Held, "{}: {:?}", what(), brought.stage);
        ensure!(this.held(&next)? == artefact);
    }
    // What is wanted and was on bad sectors comes again, into others.
    let mut stages = Vec::new();
    for _ in 0..3 {
        this.restart();
        stages.push(this.bring(RELEASE).await?.stage);
    }
    ensure!(stages.last() == Some(&Stage::Held), "what was on bad sectors does not come again: {stages:?}");
    ensure!(this.held(RELEASE)? == noise(300_000, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_removed_stands_in_no_releases_way() -> anyhow::Result<()> {
    let (handout, mut this, disk, _places) = begun(64).await?;
    this.settings.store = StoreLimits { bytes: 8 << 30, versions: 1 };
    let releases = this.data.root().join("releases");
    let held = fs::read_dir(releases.join("held"))?.next().context("what is held")??.path();
    let begun = releases.join("coming/0000");
    fs::create_dir_all(&begun)?;
    fs::write(begun.join("artefact"), b"begun once")?;
    for stuck in [held.join("artefact"), held, begun.join("artefact"), begun] {
        disk.damage(&stuck, Damage::Stuck)?;
    }
    for number in 1..4 {
        this.restart();
        let next = format!("os/generic/1.{number}.0");
        let artefact = noise(100_000, number);
        handout.release(&next, &artefact)?;
        let brought = this.bring(&next).await?;
        ensure!(brought.stage == Stage::Held, "{next}: {:?}", brought.stage);
        ensure!(this.held(&next)? == artefact);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_keep_nothing_are_left_for_others() -> anyhow::Result<()> {
    let (handout, this, disk, _places) = begun(64).await?;
    let (next, artefact) = ("os/generic/1.1.0", noise(3_000_000, 2));
    handout.release(next, &artefact)?;
    handout.dawdle(Some(Duration::from_millis(100)));
    let coming = this.data.root().join("releases/coming");
    let folder = tokio::select! {
        brought = this.bring(next) => anyhow::bail!("it came at once: {brought:?}"),
        folder = timeout(SOON, super::planted::begun(&coming)) => folder??,
    };
    handout.dawdle(None);
    disk.damage(&folder.join("artefact"), Damage::Lost(1_000_000..1_000_512))?;
    let before = handout.sent();
    let mut stages = Vec::new();
    for _ in 0..3 {
        stages.push(this.bring(next).await?.stage);
    }
    ensure!(stages.last() == Some(&Stage::Held), "{stages:?}");
    ensure!(this.held(next)? == artefact);
    let sent = handout.sent() - before;
    ensure!(sent < 4_000_000, "{sent} bytes came for 3,000,000, of which 512 were lost");
    Ok(())
}

/// The folder of what is coming, by the name of the manifest where it is handed out.
fn coming_of(handout: &Handout, this: &Bringer, version: &str) -> anyhow::Result<PathBuf> {
    let targets = handout.manager.folder.targets().join("os/generic");
    for entry in fs::read_dir(targets)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(hash) = name.strip_suffix(version) {
            return Ok(this.data.root().join("releases/coming").join(hash.trim_end_matches('.')));
        }
    }
    anyhow::bail!("nothing of {version} is handed out")
}

#[tokio::test]
async fn nothing_that_is_held_goes_for_what_was_begun_and_has_no_room() -> anyhow::Result<()> {
    let place = scratch()?;
    let handout = Handout::start(&place.path().join("server")).await?;
    let data = place.path().join("data");
    fs::create_dir_all(&data)?;
    let _disk = SmallDisk::mount(&data, 8)?;
    let mut this = Bringer::new(&data, &handout)?;
    let small = noise(1_000_000, 1);
    handout.release(RELEASE, &small)?;
    ensure!(this.bring(RELEASE).await?.stage == Stage::Held);
    handout.release("os/generic/2.0.0", &noise(12_000_000, 2))?;
    this.settings.store = StoreLimits { bytes: 12_500_000, versions: 3 };
    // The power went when the file was there, and its room was not.
    let coming = coming_of(&handout, &this, "2.0.0")?;
    for length in [0, 12_000_000] {
        fs::create_dir_all(&coming)?;
        fs::File::create(coming.join("artefact"))?.set_len(length)?;
        let brought = this.bring("os/generic/2.0.0").await?;
        ensure!(matches!(brought.stage, Stage::Waiting(_)), "{:?}", brought.stage);
        ensure!(this.held(RELEASE)? == small, "what is held has gone for what has no room");
    }
    Ok(())
}
