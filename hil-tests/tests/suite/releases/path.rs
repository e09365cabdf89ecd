//! The whole path: signed in a folder, published, activated, held by boxes.

use super::Network;
use anyhow::{Context as _, ensure};
use noderr_hil::manager::noise;
use noderr_hil::{BoxOptions, LabOptions, SOON};
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
        noderr_hil::until("the report", SOON, || async {
            let said = network.lab.admin.get(&path).await?;
            Ok((said[0]["state"] == "held").then_some(()))
        })
        .await?;
    }
    let shown = network.publisher.json(&["published", "show", "os/generic/1.0.0"]).await?;
    assert_eq!(shown["nodes"]["held"], 3);
    ensure!(took < GOAL, "it took {took:?}");
    Ok(())
}
