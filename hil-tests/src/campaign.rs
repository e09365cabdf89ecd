//! Campaigns: the same code in a short form in the suite and in its whole length by `./dev campaign`. Every one
//! prints the seed it ran with.

use crate::lab::{Lab, LabOptions};
use crate::proxy::LinkQuality;
use crate::rig::BoxOptions;
use crate::{ProcessRig, account};
use anyhow::ensure;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// A box that samples a hundred times a second.
const LOADED: BoxOptions =
    BoxOptions { software: false, sample_every_ms: Some(10), disk_mib: None, spool_mib: None, program: None };

/// Power cuts of one loaded box at random moments, over the same data folder.
pub async fn kills(folder: &Path, rounds: u32, seed: u64) -> anyhow::Result<()> {
    println!("kills: {rounds} rounds, seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let lab = Lab::start(folder, LabOptions::default(), |_| {}).await?;
    let (node, mut rig) = lab.add_box("killed", &LOADED).await?;
    rig.power_on()?;
    rig.online(SOON).await?;
    for round in 1..=rounds {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..1200))).await;
        ensure!(!rig.has_ended()?, "the node ended by itself in round {round}; see {}", rig.log().display());
        rig.power_cut().await?;
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

/// Everything that can go away goes away while two boxes are under load.
pub async fn outages(folder: &Path, cut: Duration, seed: u64) -> anyhow::Result<()> {
    println!("outages: network cut for {cut:?}, seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut lab = Lab::start(folder, LabOptions::default(), |_| {}).await?;
    let mut boxes = Vec::new();
    for label in ["one", "two"] {
        let (node, mut rig) = lab.add_box(label, &LOADED).await?;
        rig.power_on()?;
        rig.online(SOON).await?;
        boxes.push((node, rig));
    }
    let pause = |rng: &mut StdRng| Duration::from_millis(rng.random_range(300..1500));

    tokio::time::sleep(pause(&mut rng)).await;
    println!("outages: the control plane and its broker are restarted");
    lab.control.stop().await?;
    tokio::time::sleep(pause(&mut rng)).await;
    lab.control.start().await?;
    hold_to_account(&lab, &mut boxes).await?;

    println!("outages: kill -9 of the control plane");
    lab.control.kill().await?;
    tokio::time::sleep(pause(&mut rng)).await;
    lab.control.start().await?;
    hold_to_account(&lab, &mut boxes).await?;

    println!("outages: PostgreSQL is restarted");
    lab.control.restart_database().await?;
    hold_to_account(&lab, &mut boxes).await?;

    println!("outages: the network is cut, then silent, then slow");
    for (_, rig) in &boxes {
        rig.network(LinkQuality::Down);
    }
    tokio::time::sleep(cut).await;
    for (_, rig) in &boxes {
        rig.network(LinkQuality::Silent);
    }
    tokio::time::sleep(cut / 4).await;
    for (_, rig) in &boxes {
        rig.network(LinkQuality::Slow(Duration::from_millis(40)));
    }
    tokio::time::sleep(cut / 4).await;
    for (_, rig) in &boxes {
        rig.network(LinkQuality::Up);
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
