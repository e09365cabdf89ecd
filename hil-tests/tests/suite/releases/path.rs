//! The whole path: signed in a folder, published, activated, held by boxes.

use super::Network;
use anyhow::{Context as _, ensure};
use noderr_hil::manager::noise;
use noderr_hil::{BoxOptions, LabOptions, LinkQuality, SOON, until};
use noderr_protocol::release::Requirement;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// From the order to publish to the last of three boxes.
const GOAL: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn three_boxes_hold_what_was_signed_offline_within_seconds() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let mut boxes = Vec::new();
    for label in ["first", "second", "third"] {
        boxes.push(network.lab.online_box(label, &BoxOptions::PLAIN).await?);
    }
    let artefact = noise(3_000_000, 1);
    network.manager.release("os/generic/1.0.0", &artefact)?;
    let begun = Instant::now();
    network.manager.publish(&network.publisher).await?;
    network.publisher.ctl(&["channels", "activate", "os/generic/1.0.0"]).await?;
    let mut held = Vec::new();
    for (_, rig) in &boxes {
        held.push(rig.release_is("os/generic/1.0.0", "held", SOON).await?);
    }
    let took = begun.elapsed();
    println!("from publish to held on three boxes: {took:?}");
    for said in &held {
        let path = Path::new(said["path"].as_str().context("a path")?);
        ensure!(std::fs::read(path)? == artefact, "the box holds something else");
        // The stock tool agrees.
        let checked = Command::new("minisign")
            .args(["-Vm", &path.display().to_string(), "-P", &network.manager.builder_key])
            .output()?;
        ensure!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
    for (node, _) in &boxes {
        let path = format!("/nodes/{node}/releases");
        until("the report", SOON, || async {
            let said = network.lab.admin.get(&path).await?;
            Ok((said[0]["state"] == "held").then_some(()))
        })
        .await?;
    }
    let shown = network.publisher.json(&["published", "show", "os/generic/1.0.0"]).await?;
    assert_eq!(shown["nodes"]["held"], 3);
    ensure!(shown["update_from"].is_null(), "{shown}");
    ensure!(took < GOAL, "it took {took:?}");
    // What a change costs is said before anybody fetches it.
    let mut changed = artefact;
    changed.splice(1_000_000..1_000_000, noise(50_000, 2));
    network.manager.release("os/generic/1.1.0", &changed)?;
    network.manager.publish(&network.publisher).await?;
    let shown = network.publisher.json(&["published", "show", "os/generic/1.1.0"]).await?;
    assert_eq!(shown["update_from"], "1.0.0");
    let cost = shown["update_bytes"].as_u64().context("a cost")?;
    ensure!((50_000..600_000).contains(&cost), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_requires_another_release_comes_with_it_whichever_is_brought_first() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let publisher = &network.publisher;
    let (_, mut rig) = network.lab.online_box("first", &BoxOptions::PLAIN).await?;
    let requires = vec![Requirement { series: "os/generic".parse()?, at_least: "1.0.0".parse()? }];
    let model = "models/btc/1.0.0";
    network.manager.release("os/generic/1.0.0", &noise(30_000, 1))?;
    network.manager.release_with(model, &noise(30_000, 2), |manifest| manifest.requires = requires)?;
    network.manager.publish(publisher).await?;
    // Both are wished for at once when the box starts, and it looks again in an hour.
    rig.shut_down().await?;
    publisher.ctl(&["channels", "activate", model]).await?;
    publisher.ctl(&["channels", "activate", "os/generic/1.0.0"]).await?;
    rig.power_on()?;
    rig.release_is("os/generic/1.0.0", "held", SOON).await?;
    rig.release_is(model, "held", SOON).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_nobody_tells_asks_what_it_should_hold() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let publisher = &network.publisher;
    let options = BoxOptions { releases: "look_every_s = 1\nask_after_s = 2".into(), ..BoxOptions::PLAIN };
    let (node, rig) = network.lab.online_box("first", &options).await?;
    network.lab.admin.patch(&format!("/nodes/{node}/desired"), &json!({ "tier": "oracle" })).await?;
    for (name, seed) in [("models/btc/1.0.0", 1), ("models/btc/2.0.0", 2), ("models/btc/3.0.0", 3)] {
        network.manager.release(name, &noise(30_000, seed))?;
    }
    network.manager.publish(publisher).await?;
    publisher.ctl(&["channels", "activate", "models/btc/1.0.0"]).await?;
    rig.release_is("models/btc/1.0.0", "held", SOON).await?;
    // The broker is out of reach, the web server is not.
    rig.broker_network(LinkQuality::Down);
    until("the box to be alone", SOON, || async {
        Ok((rig.status().await?["online"] == false).then_some(()))
    })
    .await?;
    publisher.ctl(&["channels", "activate", "models/btc/3.0.0"]).await?;
    publisher.ctl(&["channels", "activate", "models/btc/2.0.0", "--tier", "oracle"]).await?;
    rig.release_is("models/btc/2.0.0", "held", SOON).await?;
    ensure!(rig.status().await?["online"] == false);
    ensure!(rig.releases().await?.len() == 1, "the channel of its tier counts alone");
    // The control plane agrees, as soon as it is heard.
    rig.broker_network(LinkQuality::Up);
    until("the report", SOON, || async {
        let said = network.lab.admin.get(&format!("/nodes/{node}/releases")).await?;
        Ok((said[0]["version"] == "2.0.0" && said[0]["state"] == "held").then_some(()))
    })
    .await
}
