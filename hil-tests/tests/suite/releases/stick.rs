//! Releases that come on a stick: to a box that no network reaches, and to one whose network is dear.

use super::{Network, refused, world};
use anyhow::{Context as _, ensure};
use noderr_hil::forgetful::ForgetfulDisk;
use noderr_hil::manager::{noise, refusal};
use noderr_hil::{BoxOptions, LabOptions, LinkQuality, ProcessRig, SOON, scratch, until};
use noderr_protocol::release::ReleaseRefusal;
use noderr_update::{Stage, StickFolder};
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_no_network_reaches_takes_what_lies_on_a_stick() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (manager, publisher) = (&network.manager, &network.publisher);
    let folder = manager.folder.root().display().to_string();
    let place = tempfile::tempdir()?;
    let port = place.path().join("port");
    let releases = format!("ask_after_s = 1\nstick = \"{}\"", port.display());
    let options = BoxOptions { releases: releases.into(), ..BoxOptions::PLAIN };
    let (node, mut rig) = network.lab.online_box("first", &options).await?;
    manager.release("os/generic/1.0.0", &noise(300_000, 1))?;
    manager.publish(publisher).await?;
    let stick = |name: &str| place.path().join(name).display().to_string();
    let unmounted = refusal(publisher.ctl(&["release", "stick", &folder, &stick("empty")]).await)?;
    ensure!(unmounted.contains("is the stick mounted?") && !fs::exists(stick("empty"))?, "{unmounted}");
    for name in ["empty", "old", "early", "new"] {
        fs::create_dir(stick(name))?;
    }
    let nothing = refusal(publisher.ctl(&["release", "stick", &folder, &stick("empty")]).await)?;
    ensure!(nothing.contains("no channel has a release"), "{nothing}");
    publisher.ctl(&["channels", "activate", "os/generic/1.0.0"]).await?;
    rig.release_is("os/generic/1.0.0", "held", SOON).await?;
    publisher.ctl(&["release", "stick", &folder, &stick("old")]).await?;
    // What it is told of other matters is no reason to forget what a stick will bring.
    network.lab.admin.patch(&format!("/nodes/{node}/desired"), &json!({ "sample_every_s": 7 })).await?;
    rig.status_where("the box to obey", SOON, |status| status["sample_every_s"] == 7).await?;

    rig.network(LinkQuality::Down);
    rig.status_where("the box to be alone", SOON, |status| status["online"] == false).await?;
    let spent = rig.status().await?["releases_month_bytes"].as_u64().context("what it has cost")?;
    let artefact = noise(400_000, 2);
    manager.release("os/generic/1.1.0", &artefact)?;
    // What is signed and not published is not the control plane's to vouch for.
    let early = refusal(publisher.ctl(&["release", "stick", &folder, &stick("early")]).await)?;
    ensure!(early.contains("something else than the folder has"), "{early}");
    activated(&network, "os/generic/1.1.0").await?;
    let said = publisher.ctl(&["release", "stick", &folder, &stick("new")]).await?;
    ensure!(said.contains("holds os/generic/1.1.0; boxes take it until"), "{said}");

    // A stick whose beacon somebody has changed moves nothing, neither now nor for the stick that comes after it: not to what no key
    // has signed, and not to what is signed, lies there, and is in no channel.
    let unwanted =
        manager.folder.object(&manager.release("os/generic/1.2.0", &noise(500_000, 3))?.archive.sha256);
    manager.publish(publisher).await?;
    publisher.ctl(&["release", "stick", &folder, &stick("new")]).await?;
    fs::copy(
        &unwanted,
        Path::new(&stick("new")).join("objects").join(unwanted.file_name().context("a name")?),
    )?;
    lies_move_nothing(&rig, Path::new(&stick("new")), &port).await?;

    // Plugged in while the box runs; one whose releases lie below its top is named.
    put_in(&rig, Path::new(&stick("new")), &port).await?;
    let held = rig.release_is("os/generic/1.1.0", "held", SOON).await?;
    ensure!(fs::read(held["path"].as_str().context("a path")?)? == artefact, "it holds something else");
    // Another one, on which all is older, leads the box nowhere.
    fs::rename(&port, stick("new"))?;
    fs::rename(stick("old"), &port)?;
    logged(&rig, "the stick is of no use", 1).await?;
    rig.release_is("os/generic/1.1.0", "held", SOON).await?;
    // Nor does a start.
    rig.shut_down().await?;
    rig.power_on()?;
    rig.release_is("os/generic/1.1.0", "held", SOON).await?;
    ensure!(rig.releases().await?.len() == 1, "it holds on to something else besides");
    let now = rig.status().await?["releases_month_bytes"].as_u64().context("what it has cost")?;
    ensure!(now - spent < 20_000, "{} bytes went over a network that is down", now - spent);
    // The network is back, and says the same.
    rig.network(LinkQuality::Up);
    rig.status_where("the box to be online", SOON, |status| status["online"] == true).await?;
    rig.release_is("os/generic/1.1.0", "held", SOON).await.map(drop)
}

/// Publishes what is signed, gives a release to a channel, and waits until the control plane's beacon names it, a moment later.
async fn activated(network: &Network, release: &str) -> anyhow::Result<()> {
    network.manager.publish(&network.publisher).await?;
    network.publisher.ctl(&["channels", "activate", release]).await?;
    until("the beacon to name it", SOON, || async {
        let beacon = network.lab.control.shows("/releases/beacon.json").await?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&beacon).contains(release).then_some(()))
    })
    .await
}

/// Waits until the node has looked at a stick and said so in its log, so many times.
async fn logged(rig: &ProcessRig, words: &str, times: usize) -> anyhow::Result<()> {
    let log = rig.log();
    until(words, SOON, || async {
        Ok((fs::read_to_string(&log)?.matches(words).count() >= times).then_some(()))
    })
    .await
}

async fn lies_move_nothing(rig: &ProcessRig, stick: &Path, port: &Path) -> anyhow::Result<()> {
    for (times, named) in [(1, "999.0.0"), (2, "1.2.0")] {
        lie(stick, port, named)?;
        logged(rig, "what the stick offers is not what the control plane has signed", times).await?;
        rig.release_is("os/generic/1.0.0", "held", SOON).await?;
        fs::remove_dir_all(port)?;
    }
    Ok(())
}

/// Puts a stick in, first with its releases below its top; the box says what it finds.
async fn put_in(rig: &ProcessRig, stick: &Path, port: &Path) -> anyhow::Result<()> {
    let found = |words: &'static str| {
        let is = move |status: &Value| status["stick"].as_str().is_some_and(|is| is.contains(words));
        rig.status_where(words, SOON, is)
    };
    fs::create_dir(port)?;
    found("nothing is there").await?;
    fs::rename(stick, port.join("below"))?;
    found("no releases on it: metadata/timestamp.json and beacon.json belong at its top").await?;
    fs::rename(port.join("below"), stick)?;
    fs::remove_dir(port)?;
    fs::rename(stick, port)?;
    found("releases are on it").await.map(drop)
}

/// A copy of a stick whose beacon names another version.
fn lie(stick: &Path, port: &Path, version: &str) -> anyhow::Result<()> {
    let copied = Command::new("cp").arg("-r").args([stick, port]).status()?;
    ensure!(copied.success());
    let beacon = fs::read_to_string(port.join("beacon.json"))?;
    Ok(fs::write(port.join("beacon.json"), beacon.replace("1.1.0", version))?)
}

#[tokio::test]
async fn what_lies_on_a_stick_does_not_come_over_a_dear_network() -> anyhow::Result<()> {
    let (place, handout, mut this) = world().await?;
    let artefact = noise(3_000_000, 1);
    let manifest = handout.release("os/generic/1.0.0", &artefact)?;
    let archive = handout.manager.folder.object(&manifest.archive.sha256);
    let stick = place.path().join("stick");
    fs::create_dir_all(stick.join("objects"))?;
    let copy = stick.join("objects").join(archive.file_name().context("a name")?);
    // One byte of the last third is another one.
    let mut bytes = fs::read(&archive)?;
    let damaged = bytes.len() * 2 / 3;
    bytes[damaged] ^= 1;
    fs::write(&copy, &bytes)?;
    this.settings.stick = Some(StickFolder::new(stick));

    // Metadata may come, and no archive.
    this.settings.allowance.month_bytes = Some(200_000);
    assert_eq!(refused(&this.bring("os/generic/1.0.0").await?)?, ReleaseRefusal::Budget);
    assert_eq!(handout.sent(), 0, "what is dear came");
    // With a budget, what is damaged comes, and what was not read before.
    this.settings.allowance.month_bytes = None;
    let brought = this.bring("os/generic/1.0.0").await?;
    assert_eq!(brought.stage, Stage::Held);
    assert_eq!(this.held("os/generic/1.0.0")?, artefact);
    ensure!(handout.sent() < 1_100_000, "{} bytes came that lie on the stick", handout.sent());

    // A whole one costs metadata alone, whatever is left of the budget.
    let artefact = noise(3_000_000, 2);
    let manifest = handout.release("os/generic/1.1.0", &artefact)?;
    let archive = handout.manager.folder.object(&manifest.archive.sha256);
    fs::copy(&archive, copy.with_file_name(archive.file_name().context("a name")?))?;
    let before = handout.sent();
    this.settings.allowance.month_bytes = Some(brought.spent + 150_000);
    assert_eq!(this.bring("os/generic/1.1.0").await?.stage, Stage::Held);
    assert_eq!(handout.sent(), before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_hangs_keeps_the_node_from_nothing() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (manager, publisher) = (&network.manager, &network.publisher);
    let folder = manager.folder.root().display().to_string();
    let port = scratch()?;
    let disk = ForgetfulDisk::mount(port.path(), 32)?;
    disk.hang(true);
    let releases = format!("ask_after_s = 1\nstick = \"{}\"", port.path().display());
    let options = BoxOptions { releases: releases.into(), ..BoxOptions::PLAIN };
    let (_, mut rig) = network.lab.online_box("port", &options).await?;
    manager.release("os/generic/1.0.0", &noise(300_000, 1))?;
    activated(&network, "os/generic/1.0.0").await?;
    rig.release_is("os/generic/1.0.0", "held", SOON).await?;

    // Once the port answers, a stick there counts.
    rig.network(LinkQuality::Down);
    rig.status_where("the box to be alone", SOON, |status| status["online"] == false).await?;
    manager.release("os/generic/1.1.0", &noise(300_000, 2))?;
    activated(&network, "os/generic/1.1.0").await?;
    disk.hang(false);
    publisher.ctl(&["release", "stick", &folder, &port.path().display().to_string()]).await?;
    rig.release_is("os/generic/1.1.0", "held", SOON).await?;

    // It hangs again while the stick is there, and what comes over the network comes.
    disk.hang(true);
    rig.network(LinkQuality::Up);
    rig.online(SOON).await?;
    manager.release("os/generic/1.2.0", &noise(300_000, 3))?;
    activated(&network, "os/generic/1.2.0").await?;
    rig.release_is("os/generic/1.2.0", "held", 2 * SOON).await?;
    disk.hang(false);
    rig.shut_down().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_from_a_stick_that_hangs_comes_over_the_network() -> anyhow::Result<()> {
    let (_place, handout, mut this) = world().await?;
    let artefact = noise(3_000_000, 1);
    let manifest = handout.release("os/generic/1.0.0", &artefact)?;
    let archive = handout.manager.folder.object(&manifest.archive.sha256);
    let port = scratch()?;
    let disk = ForgetfulDisk::mount(port.path(), 32)?;
    fs::create_dir_all(port.path().join("objects"))?;
    let copy = port.path().join("objects").join(archive.file_name().context("a name")?);
    fs::copy(&archive, &copy)?;
    // All of it would take six seconds: nothing of it is in memory.
    let copy = File::open(&copy)?;
    copy.sync_all()?;
    fadvise(&copy, 0, None, Advice::DontNeed)?;
    drop(copy);
    disk.slow_down(Some(500_000));
    this.settings.stick = Some(StickFolder::new(port.path().to_owned()));
    let begun = disk.requests();
    let hang = until("a part to have come", SOON, || async {
        Ok((disk.requests() > begun + 16).then(|| disk.hang(true)))
    });
    let (brought, hung) = tokio::join!(this.bring("os/generic/1.0.0"), hang);
    hung?;
    assert_eq!(brought?.stage, Stage::Held);
    assert_eq!(this.held("os/generic/1.0.0")?, artefact);
    ensure!(handout.sent() > 100_000, "all of it came from the stick");
    ensure!(handout.sent() < 2_900_000, "nothing of it came from the stick");
    Ok(())
}
