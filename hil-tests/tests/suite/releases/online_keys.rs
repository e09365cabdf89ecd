//! The control plane's own keys, from the one that the root names to the next.

use super::Network;
use anyhow::{Context as _, ensure};
use noderr_cli::Client;
use noderr_hil::LabOptions;
use noderr_hil::manager::noise;
use noderr_releases::{PublicKey, Root, SignedMetadata, Timestamp};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn however_often_another_online_key_is_asked_for_the_one_that_boxes_go_by_stays() -> anyhow::Result<()>
{
    let network = Network::start(LabOptions::default()).await?;
    let second = network.lab.add_plane("second").await?;
    let elsewhere = second.log_in(network.lab.email(), &network.lab.password).await?;
    let body = json!({});
    let ask = |client: &Client| {
        let client = client.clone();
        let body = body.clone();
        async move { client.post("/release-online-key", &body).await }
    };
    // At once, at two instances, and by people who give up before they hear.
    let all = futures_util::future::join_all((0..12).map(|number| {
        let asked = ask(if number % 2 == 0 { &network.lab.admin } else { &elsewhere });
        let patience = Duration::from_millis(if number % 3 == 0 { 5 } else { 30_000 });
        timeout(patience, asked)
    }));
    let mut ids: Vec<_> = Vec::new();
    for answer in all.await.into_iter().flatten() {
        ids.push(answer?["id"].as_str().context("an id")?.to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    // What is published is vouched for with the key that the root names, as before.
    network.manager.release("os/generic/1.0.0", &noise(50_000, 1))?;
    network.manager.publish(&network.publisher).await?;

    // From root to root, to the key that was made, and to the next: whoever asks too often in between takes neither away.
    let folder = &network.manager.folder;
    for patch in 1..=2 {
        let root = folder.newest::<Root>("root")?.context("a root")?;
        let named = root.says().roles["timestamp"].keyids[0].clone();
        let before = root.says().keys[&named].clone();
        let next: PublicKey = serde_json::from_value(ask(&network.lab.admin).await?["key"].clone())?;
        ensure!(next.id() != named, "the key is the one that is named already");
        folder.replace_key(&before, Some(&next))?;
        network.manager.sign()?;
        network.manager.publish(&network.publisher).await?;
        let signed = network.lab.control.shows("/releases/metadata/timestamp.json").await?.context("none")?;
        let signed: SignedMetadata<Timestamp> = serde_json::from_slice(&signed)?;
        ensure!(
            signed.signed_by().contains(next.id().as_str()),
            "the timestamp is signed by another key than the root names"
        );
        for client in [&elsewhere, &network.lab.admin, &elsewhere] {
            ensure!(
                ask(client).await?["id"] != next.id().as_str(),
                "the key that is in use is handed out as the next"
            );
        }
        network.manager.release(&format!("os/generic/1.0.{patch}"), &noise(50_000, patch))?;
        network.manager.publish(&network.publisher).await?;
    }
    Ok(())
}
