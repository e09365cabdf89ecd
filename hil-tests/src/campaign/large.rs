//! An artefact of more than 4 GiB on its whole way: packed, published, fetched and updated in memory that does not grow with it.

use crate::lab::{Lab, LabOptions};
use crate::memory::memory_kib;
use crate::rig::BoxOptions;
use crate::{Publisher, ReleaseManager};
use anyhow::{Context as _, ensure};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const PIECE: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(3600);
/// What each program may take at its peak.
const MOST_MIB: u64 = 192;

/// Brings an artefact of so many MiB to a box, and another of which 1 % differs.
pub async fn large(folder: &Path, mib: u64) -> anyhow::Result<()> {
    println!("large: {mib} MiB");
    let lab = Lab::start(&folder.join("lab"), LabOptions::default(), |_| {}).await?;
    let store = format!("store_mib = {}", 3 * mib);
    let options = BoxOptions { releases: store.into(), ..BoxOptions::PLAIN };
    let (_, rig) = lab.online_box("large", &options).await?;
    let place = folder.join("manager");
    fs::create_dir_all(&place)?;
    let manager = ReleaseManager::for_plane(&place, &lab.admin).await?;
    let publisher = Publisher::new(lab.control.api_url(), lab.control.root_file(), &lab.admin).await?;
    let artefact = folder.join("artefact");
    make(&artefact, mib)?;
    for (version, is_change) in [("1.0.0", false), ("1.1.0", true)] {
        if is_change {
            change(&artefact, mib)?;
        }
        let (name, began) = (format!("os/large/{version}"), Instant::now());
        manager.add(&name, &artefact, |_| {})?;
        manager.sign()?;
        let packed = began.elapsed();
        manager.publish(&publisher).await?;
        let published = began.elapsed() - packed;
        publisher.ctl(&["channels", "activate", &name]).await?;
        let held = rig.release_is(&name, "held", PATIENCE).await?;
        let fetched = began.elapsed() - packed - published;
        ensure!(
            same(&artefact, Path::new(held["path"].as_str().context("a path")?))?,
            "it holds something else"
        );
        let shown = publisher.json(&["published", "show", &name]).await?;
        println!(
            "  {version}: {} bytes on the way, {} as an update; packed in {packed:.0?}, published in {published:.0?}, held after {fetched:.0?}",
            shown["archive_bytes"], shown["update_bytes"]
        );
        for (what, pid) in [
            ("this program, which packs", Some(std::process::id())),
            ("control plane", lab.control.pid()),
            ("node", rig.pid()),
        ] {
            let most = memory_kib(pid.context("it does not run")?, "VmHWM:")? / 1024;
            println!("    peak of {what:<28} {most:>6} MiB");
            ensure!(most < MOST_MIB, "{what} has taken {most} MiB");
        }
    }
    let spent = rig.status().await?["releases_month_bytes"].as_u64().context("what it has cost")?;
    println!("  {spent} bytes in all");
    Ok(())
}

/// Bytes that look like nothing, faster than a generator of ours.
fn random() -> anyhow::Result<File> {
    Ok(File::open("/dev/urandom")?)
}

fn make(path: &Path, mib: u64) -> anyhow::Result<()> {
    let made = io::copy(&mut random()?.take(mib * PIECE as u64), &mut File::create(path)?)?;
    ensure!(made == mib * PIECE as u64, "only {made} bytes were made");
    Ok(())
}

/// Makes every hundredth MiB another one, some of them behind 4 GiB.
fn change(path: &Path, mib: u64) -> anyhow::Result<()> {
    let (file, mut piece) = (File::options().write(true).open(path)?, vec![0; PIECE]);
    for place in (50..mib).step_by(100) {
        random()?.read_exact(&mut piece)?;
        file.write_all_at(&piece, place * PIECE as u64)?;
    }
    Ok(())
}

fn same(one: &Path, other: &Path) -> anyhow::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    let mut rest = one.seek(SeekFrom::End(0))?;
    one.seek(SeekFrom::Start(0))?;
    while rest > 0 {
        let length = rest.min(PIECE as u64);
        let (left, right) = (&mut left[..length as usize], &mut right[..length as usize]);
        one.read_exact(left)?;
        other.read_exact(right)?;
        if left != right {
            return Ok(false);
        }
        rest -= length;
    }
    Ok(true)
}
