//! Things that somebody has laid into the folders of a box: pipes that nobody writes to, links, files without end.

use super::world;
use anyhow::{Context as _, bail, ensure};
use noderr_hil::SOON;
use noderr_hil::manager::noise;
use noderr_update::Stage;
use rustix::fs::{CWD, Mode, mkfifoat};
use std::fs;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const RELEASE: &str = "os/generic/1.0.0";

/// All files of a folder and below, by their names in the folder.
pub(super) fn files(folder: &Path, below: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            found.extend(files(folder, &name)?);
        } else {
            found.push(name);
        }
    }
    Ok(found)
}

/// The folder of what is coming, once its file has its length.
pub(super) async fn begun(coming: &Path) -> anyhow::Result<PathBuf> {
    loop {
        let folder = fs::read_dir(coming).ok().and_then(|mut all| all.next()).transpose()?;
        let folder = folder.map(|folder| folder.path());
        if let Some(folder) = folder
            && fs::metadata(folder.join("artefact")).is_ok_and(|file| file.len() > 0)
        {
            return Ok(folder);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn whatever_lies_in_the_place_of_any_file_hangs_nothing_and_nothing_is_written_through_it()
-> anyhow::Result<()> {
    let (place, handout, mut this) = world().await?;
    let artefact = noise(300_000, 1);
    handout.release(RELEASE, &artefact)?;
    assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
    let releases = this.data.root().join("releases");
    let all = files(&releases, Path::new(""))?;
    ensure!(all.len() >= 8, "{all:?}");
    // What a node may write to, and a box's own disk does not say.
    let victim = place.path().join("victim");
    for name in &all {
        for kind in ["pipe", "link", "endless", "folder"] {
            let file = releases.join(name);
            fs::remove_file(&file).with_context(|| format!("{} before {kind}", name.display()))?;
            let below = || fs::create_dir(&file).and_then(|()| fs::write(file.join("below"), b"something"));
            fs::write(&victim, b"as it was")?;
            match kind {
                "pipe" => mkfifoat(CWD, &file, Mode::RUSR | Mode::WUSR)?,
                "link" => symlink(&victim, &file)?,
                "folder" => below()?,
                // Nobody reads all of it in this test's time.
                _ => fs::File::create(&file)?.set_len(1 << 42)?,
            }
            this.restart();
            let what = format!("a {kind} as {}", name.display());
            timeout(SOON, this.holds_alone(RELEASE)).await.with_context(|| what.clone())??;
            let brought = timeout(SOON, this.bring(RELEASE)).await.with_context(|| what.clone())??;
            ensure!(brought.stage == Stage::Held, "{what}: {:?}", brought.stage);
            ensure!(this.held(RELEASE)? == artefact, "{what}: it holds something else");
            ensure!(fs::read(&victim)? == b"as it was", "{what}: something was written through it");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_link_in_the_place_of_the_stores_folders_leads_nowhere() -> anyhow::Result<()> {
    let (place, handout, mut this) = world().await?;
    let elsewhere = place.path().join("elsewhere");
    let mine = elsewhere.join("of-somebody-else/file");
    fs::create_dir_all(mine.parent().context("a folder")?)?;
    fs::write(&mine, b"as it was")?;
    for (number, name) in ["coming", "held"].iter().enumerate() {
        let folder = this.data.root().join("releases").join(name);
        for (patch, kind) in ["link", "nowhere", "file"].iter().enumerate() {
            match fs::symlink_metadata(&folder) {
                Ok(there) if there.is_dir() => fs::remove_dir_all(&folder)?,
                Ok(_) => fs::remove_file(&folder)?,
                Err(_) => {}
            }
            fs::create_dir_all(folder.parent().context("a folder")?)?;
            match *kind {
                "link" => symlink(&elsewhere, &folder)?,
                "nowhere" => symlink(place.path().join("nowhere"), &folder)?,
                _ => fs::write(&folder, b"a file")?,
            }
            this.restart();
            let release = format!("os/generic/1.{number}.{patch}");
            let artefact = noise(100_000, number as u64);
            handout.release(&release, &artefact)?;
            let stage = this.bring(&release).await?.stage;
            ensure!(stage == Stage::Held, "a {kind} as {name}: {stage:?}");
            ensure!(this.held(&release)? == artefact);
            ensure!(fs::read(&mine)? == b"as it was", "a {kind} as {name}: somebody else's file has changed");
            ensure!(
                fs::read_dir(&elsewhere)?.count() == 1,
                "a {kind} as {name}: something was laid elsewhere"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_coming_is_written_through_no_link() -> anyhow::Result<()> {
    let (place, handout, this) = world().await?;
    let artefact = noise(300_000, 1);
    handout.release(RELEASE, &artefact)?;
    handout.dawdle(Some(Duration::from_millis(100)));
    let coming = this.data.root().join("releases/coming");
    // Whoever waits for it no longer leaves what was begun.
    let folder = tokio::select! {
        brought = this.bring(RELEASE) => bail!("it came at once: {brought:?}"),
        folder = timeout(SOON, begun(&coming)) => folder??,
    };
    handout.be_honest();
    let elsewhere = place.path().join("elsewhere");
    for what in ["index", "manifest.json", "artefact", ""] {
        fs::remove_dir_all(&elsewhere).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        fs::create_dir_all(&elsewhere)?;
        for name in ["index", "manifest.json", "artefact"] {
            fs::write(elsewhere.join(name), b"as it was")?;
        }
        fs::create_dir_all(&folder)?;
        let laid = folder.join(what);
        if what.is_empty() {
            fs::remove_dir_all(&folder)?;
            symlink(&elsewhere, &folder)?;
        } else {
            fs::remove_file(&laid).ok();
            symlink(elsewhere.join(what), &laid)?;
        }
        assert_eq!(timeout(SOON, this.bring(RELEASE)).await??.stage, Stage::Held, "{what}");
        ensure!(this.held(RELEASE)? == artefact);
        for name in ["index", "manifest.json", "artefact"] {
            ensure!(fs::read(elsewhere.join(name))? == b"as it was", "{name} was written through {what:?}");
        }
        fs::remove_dir_all(this.data.root().join("releases/held"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_chunk_that_the_disk_loses_on_the_way_comes_again_and_nothing_else_does() -> anyhow::Result<()> {
    let (_place, handout, mut this) = world().await?;
    let artefact = noise(3_000_000, 1);
    handout.release(RELEASE, &artefact)?;
    handout.dawdle(Some(Duration::from_millis(50)));
    let coming = this.data.root().join("releases/coming");
    let lose = async {
        let file = begun(&coming).await?.join("artefact");
        let file = fs::File::options().read(true).write(true).open(file)?;
        let mut first = [0; 64];
        while first != artefact[..64] {
            sleep(Duration::from_millis(5)).await;
            file.read_exact_at(&mut first, 0)?;
        }
        file.write_all_at(&[0; 64], 0)?;
        handout.dawdle(None);
        anyhow::Ok(())
    };
    let (brought, lost) = tokio::join!(this.bring(RELEASE), timeout(SOON, lose));
    lost.context("nothing has come")??;
    let stage = brought?.stage;
    ensure!(matches!(&stage, Stage::Waiting(why) if why.contains("lost")), "{stage:?}");
    handout.be_honest();
    let before = handout.sent();
    this.restart();
    assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
    ensure!(this.held(RELEASE)? == artefact);
    let again = handout.sent() - before;
    ensure!(again < 400_000, "{again} bytes for one chunk");
    Ok(())
}
