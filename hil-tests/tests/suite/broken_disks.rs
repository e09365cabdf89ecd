//! Broken disks: a box starts and talks whatever its disk does.

use crate::comeback::obeys;
use crate::{LIVELY, SOON, lab};
use anyhow::Context as _;
use noderr_hil::forgetful::Fault;
use noderr_hil::{BoxOptions, LabOptions, LinkQuality, account};
use noderr_protocol::Lane;
use noderr_spool::{Spool, SpoolConfig};
use rustix::io::Errno;
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};
use tokio::net::UnixDatagram;

fn spool_is_out(status: &Value) -> bool {
    let failing = status["failing"].as_array().cloned().unwrap_or_default();
    failing.iter().any(|check| check.as_str().is_some_and(|check| check.starts_with("spool")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_without_a_spool_is_reached_and_gets_its_spool_back_without_a_start() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("spoolless", &LIVELY).await?;
    account::settled(&lab.database, &node, 10).await?;
    rig.shut_down().await?;
    let (spool, away) = (rig.data().join("spool"), rig.data().join("away"));
    fs::rename(&spool, &away)?;
    fs::write(&spool, "where a folder should be")?;
    rig.power_on()?;
    rig.online(SOON).await?;
    rig.status_where("the node to say so", SOON, spool_is_out).await?;
    obeys(&lab, &node, &rig).await?;
    lab.admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await?;
    lab.node_where(&node, "a verdict", SOON, |shown| shown["attestation"] == "trusted").await?;

    fs::remove_file(&spool)?;
    fs::rename(&away, &spool)?;
    rig.status_where("the spool to be back", SOON, |status| !spool_is_out(status)).await?;
    let account = account::drained(&lab.database, &node, &rig).await?;
    assert!(account.missing > 0, "what was measured without a spool is counted: {account:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_starts_on_a_disk_that_cannot_be_written_to() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let options = BoxOptions { disk_mib: Some(48), spool_mib: Some(4), ..LIVELY };
    let (node, mut rig) = lab.online_box("protected", &options).await?;
    account::settled(&lab.database, &node, 10).await?;
    rig.shut_down().await?;
    rig.small_disk()?.write_protect(true)?;
    rig.power_on()?;
    rig.online(SOON).await?;
    rig.status_where("the node to say so", SOON, spool_is_out).await?;
    obeys(&lab, &node, &rig).await?;
    rig.small_disk()?.write_protect(false)?;
    rig.status_where("the spool to be back", SOON, |status| !spool_is_out(status)).await?;
    account::drained(&lab.database, &node, &rig).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_starts_on_a_full_disk() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let options = BoxOptions { disk_mib: Some(48), spool_mib: Some(8), ..LIVELY };
    let (node, mut rig) = lab.online_box("full", &options).await?;
    rig.network(LinkQuality::Down);
    rig.status_where("a backlog", SOON, |status| status["spool_records"].as_u64() > Some(60)).await?;
    rig.small_disk()?.fill()?;
    rig.power_cut(1).await?;
    // The reserve is spent too: an alert has used it.
    rig.network(LinkQuality::Up);
    rig.power_on()?;
    rig.online(SOON).await?;
    obeys(&lab, &node, &rig).await?;
    rig.small_disk()?.free()?;
    rig.status_where("the node to recover", SOON, |status| status["failing"] == json!([])).await?;
    let account = account::drained(&lab.database, &node, &rig).await?;
    assert!(account.stored > 60, "{account:?}");
    Ok(())
}

/// Starts that are left out between two with a fault, so that the suite takes seconds; `NODERR_EACH_REQUEST` leaves none out.
fn step(usual: usize) -> usize {
    if std::env::var_os("NODERR_EACH_REQUEST").is_some() { 1 } else { usual }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_comes_up_whichever_request_of_its_start_the_disk_refuses() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let options = BoxOptions { disk_mib: Some(64), spool_mib: Some(4), forgetful: true, ..LIVELY };
    let (node, mut rig) = lab.online_box("refused", &options).await?;
    account::settled(&lab.database, &node, 10).await?;
    rig.shut_down().await?;
    let before = rig.forgetful_disk()?.requests();
    rig.power_on()?;
    rig.online(SOON).await?;
    let requests = rig.forgetful_disk()?.requests() - before;
    for (error, for_good, usual) in
        [(Errno::IO, false, 43), (Errno::NOSPC, true, 199), (Errno::ROFS, true, 199)]
    {
        for after in (0..requests).step_by(step(usual)) {
            rig.shut_down().await?;
            rig.forgetful_disk()?.plan(Some(Fault { after, error, for_good }));
            rig.power_on()?;
            // A node that ends is started again, as its unit has it.
            if rig.online(SOON).await.is_err() && rig.has_ended()? {
                rig.power_on()?;
            }
            let planned = || format!("{error:?} at request {after} of {requests}, for good: {for_good}");
            rig.online(SOON).await.with_context(planned)?;
            rig.forgetful_disk()?.plan(None);
        }
    }
    obeys(&lab, &node, &rig).await?;
    account::drained(&lab.database, &node, &rig).await?;
    Ok(())
}

/// MiB in the spool that is opened slowly; `NODERR_SPOOL_MIB=130` takes longer than the watchdog's patience without signs.
fn slow_mib() -> usize {
    std::env::var("NODERR_SPOOL_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(10)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_fed_while_a_large_spool_is_opened_on_a_slow_disk() -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let (folder, lab) = lab(LabOptions::default()).await?;
    let mib = u32::try_from(slow_mib())?;
    let options =
        BoxOptions { disk_mib: Some(4 * mib + 64), spool_mib: Some(4 * mib), forgetful: true, ..LIVELY };
    let (_, mut rig) = lab.online_box("slow", &options).await?;
    rig.shut_down().await?;
    let spool =
        Spool::open(SpoolConfig { budget_bytes: 1 << 30, ..SpoolConfig::new(rig.data().join("spool"), 1) })?;
    for _ in 0..mib {
        spool.append(Lane::Result, &vec![vec![3; 16_000]; 64])?;
    }
    drop(spool);
    let disk = rig.forgetful_disk()?;
    // Empties the kernel's memory of what is on the disk.
    disk.cut(1);
    disk.slow_down(Some(2_000_000));
    rig.network(LinkQuality::Down);
    let path = folder.path().join("notify");
    let init_system = UnixDatagram::bind(&path)?;
    rig.notify_socket(&path);
    rig.power_on()?;
    let begun = Instant::now();
    let opened = rig.status_where("the spool to be open", Duration::from_secs(600), |status| {
        status["spool_records"].as_u64() >= Some(u64::from(mib) * 64)
    });
    let fed = async {
        let mut said = [0; 256];
        loop {
            let len = tokio::time::timeout(PATIENCE, init_system.recv(&mut said)).await;
            let len =
                len.with_context(|| format!("the watchdog kills the node after {:?}", begun.elapsed()))??;
            anyhow::ensure!(!said[..len].starts_with(b"STOPPING"), "the node stops");
        }
    };
    tokio::select! {
        opened = opened => opened.map(drop)?,
        starved = fed => return starved,
    }
    let took = begun.elapsed().as_secs_f64();
    assert!(took > f64::from(mib) / 2.0, "{took} s: the disk was not slow");
    Ok(())
}
