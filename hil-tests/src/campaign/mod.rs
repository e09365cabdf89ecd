//! Campaigns: long tests, which the suite runs in a short form and `./dev campaign` in their whole length.
//! Every campaign prints its seed.

mod fetch;
mod large;

pub use fetch::{bring, fetches};
pub use large::large;

use crate::lab::{Lab, LabOptions};
use crate::proxy::LinkQuality;
use crate::rig::BoxOptions;
use crate::{ControlPlane, ProcessRig, SOON, account};
use anyhow::ensure;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::path::Path;
use std::time::Duration;

/// How many control planes a campaign runs against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planes {
    /// One, alone.
    One,
    /// Two on one database.
    Two,
}

/// A box that samples a hundred times a second.
const LOADED: BoxOptions = BoxOptions { sample_every_ms: Some(10), ..BoxOptions::PLAIN };

/// Power cuts of one loaded box at random moments, over the same data folder.
pub async fn kills(folder: &Path, rounds: u32, seed: u64) -> anyhow::Result<()> {
    println!("kills: {rounds} rounds, seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let lab = Lab::start(folder, LabOptions::default(), |_| {}).await?;
    let forgetful = BoxOptions { disk_mib: Some(128), forgetful: true, ..LOADED };
    let (node, mut rig) = lab.online_box("killed", &forgetful).await?;
    for round in 1..=rounds {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..1200))).await;
        ensure!(!rig.has_ended()?, "the node ended by itself in round {round}; see {}", rig.log().display());
        rig.power_cut(rng.random()).await?;
        rig.power_on()?;
    }
    rig.online(SOON).await?;
    let account = account::drained(&lab.database, &node, &rig).await?;
    println!("kills: {account:?}");
    ensure!(account.missing == 0, "{} records are missing", account.missing);
    ensure!(account.stored > i64::from(rounds), "hardly anything was recorded: {account:?}");
    let status = rig.status().await?;
    ensure!(status["spool_lost"] == 0, "the node says it lost records: {status}");
    Ok(())
}

/// Takes away everything that can go away while two boxes are under load. The boxes are at one control plane,
/// or spread over two on one database, where the boxes of a control plane that is gone must come to the
/// other.
pub async fn outages(folder: &Path, planes: Planes, cut: Duration, seed: u64) -> anyhow::Result<()> {
    println!("outages: {planes:?}, network cut for {cut:?}, seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut lab = Lab::start(folder, LabOptions::default(), |_| {}).await?;
    let second = match planes {
        Planes::One => None,
        Planes::Two => Some(lab.add_plane("second").await?),
    };
    let mut doors: Vec<_> =
        [Some(&lab.control), second.as_ref()].into_iter().flatten().map(ControlPlane::doors).collect();
    let mut boxes = Vec::new();
    for label in ["one", "two"] {
        let (node, mut rig) = lab.add_box(label, &LOADED).await?;
        rig.lead_to(&doors);
        // The next box prefers the other plane.
        doors.rotate_left(1);
        rig.power_on()?;
        rig.online(SOON).await?;
        boxes.push((node, rig));
    }
    let pause = |rng: &mut StdRng| Duration::from_millis(rng.random_range(300..1500));

    tokio::time::sleep(pause(&mut rng)).await;
    println!("outages: kill -9 of the first control plane");
    lab.control.kill().await?;
    if second.is_some() {
        // The boxes of the killed control plane come to the other meanwhile.
        hold_to_account(&lab, &mut boxes).await?;
    } else {
        tokio::time::sleep(pause(&mut rng)).await;
    }
    lab.control.start().await?;
    hold_to_account(&lab, &mut boxes).await?;

    // A control plane's private PostgreSQL stops with it, unless the other instance is connected.
    println!(
        "outages: the first control plane is restarted, with its broker and, if it is alone, its PostgreSQL"
    );
    lab.control.stop().await?;
    tokio::time::sleep(pause(&mut rng)).await;
    lab.control.start().await?;
    hold_to_account(&lab, &mut boxes).await?;

    println!("outages: PostgreSQL is restarted");
    lab.control.restart_database().await?;
    hold_to_account(&lab, &mut boxes).await?;

    println!("outages: the network is cut, then silent, then slow");
    for (quality, time) in [
        (LinkQuality::Down, cut),
        (LinkQuality::Silent, cut / 4),
        (LinkQuality::Slow(Duration::from_millis(40)), cut / 4),
        (LinkQuality::Up, Duration::ZERO),
    ] {
        boxes.iter().for_each(|(_, rig)| rig.network(quality));
        tokio::time::sleep(time).await;
    }
    hold_to_account(&lab, &mut boxes).await
}

async fn hold_to_account(lab: &Lab, boxes: &mut [(String, ProcessRig)]) -> anyhow::Result<()> {
    for (node, rig) in boxes {
        let account = account::drained(&lab.database, node, rig).await?;
        println!("outages: {}: {account:?}", rig.name());
        ensure!(account.missing == 0, "{} records of {} are missing", account.missing, rig.name());
    }
    Ok(())
}
