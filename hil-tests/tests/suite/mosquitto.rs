//! The same node and the same control plane, with a real mosquitto between them.

use crate::{LIVELY, SOON};
use noderr_hil::{ControlOptions, Lab, LabOptions, LinkQuality, Mosquitto, account, scratch, until};
use serde_json::json;
use std::fs;

#[tokio::test(flavor = "multi_thread")]
async fn an_external_mosquitto_serves_the_same_nodes() -> anyhow::Result<()> {
    let folder = scratch()?;
    let mut broker =
        Mosquitto::start(&folder.path().join("mosquitto"), &folder.path().join("control/authority")).await?;
    let control = ControlOptions::default().with("broker", broker.setting());
    let lab = Lab::start(folder.path(), LabOptions { control, ..LabOptions::default() }, |_| {}).await?;
    let (node, mut rig) = lab.add_box("outside", &LIVELY).await?;
    rig.lead_to(&[(lab.control.api(), broker.address())]);
    rig.power_on()?;
    rig.online(SOON).await?;
    account::settled(&lab.database, &node, 20).await?;
    lab.admin.patch(&format!("/nodes/{node}/desired"), &json!({ "paused": true })).await?;
    rig.status_where("the change to arrive", SOON, |status| status["paused"] == true).await?;
    lab.admin.post(&format!("/nodes/{node}/attestations"), &json!({})).await?;
    lab.node_where(&node, "a verdict", SOON, |shown| shown["attestation"] == "trusted").await?;

    // The broker goes away and comes back on its port; nothing is lost.
    broker.power_cut().await?;
    rig.status_where("the node to notice", SOON, |status| status["online"] == false).await?;
    broker.power_on().await?;
    let account = account::drained(&lab.database, &node, &rig).await?;
    assert_eq!(account.missing, 0);

    // Nothing of a revoked node is stored any more, whatever the broker does.
    let list = fs::read(broker.revocations())?;
    lab.admin.post(&format!("/nodes/{node}/revoke"), &json!({ "reason": "test" })).await?;
    until("the list of revoked certificates", SOON, || async {
        Ok((fs::read(broker.revocations())? != list).then_some(()))
    })
    .await?;
    let stored = account::lane(&lab.database, &node, "telemetry").await?;
    rig.status_where("more to wait", SOON, |status| status["spool_records"].as_u64() > Some(30)).await?;
    assert_eq!(account::lane(&lab.database, &node, "telemetry").await?, stored);
    lab.node_where(&node, "it to be shown offline", SOON, |shown| shown["online"] == false).await?;
    assert_eq!(rig.status().await?["online"], true, "though its session stands");

    // After the broker has read the list, the broker does not let the node in either.
    broker.reload()?;
    rig.network(LinkQuality::Down);
    rig.status_where("the session to end", SOON, |status| status["online"] == false).await?;
    rig.network(LinkQuality::Up);
    rig.status_where("the certificate to be refused", SOON, |status| {
        status["doing"].as_str().is_some_and(|doing| doing.to_lowercase().contains("revoked"))
    })
    .await?;
    Ok(())
}
