//! The same node and the same control plane, with a real mosquitto between them.

use crate::{LIVELY, SOON};
use noderr_hil::{ControlOptions, Lab, LabOptions, LinkQuality, Mosquitto, Papers, account, scratch, until};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
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

/// Whether a line of the guide's configuration keeps nodes within the bounds of the embedded broker.
fn is_bound(line: &str) -> bool {
    ["max_packet_size", "message_size_limit", "retain_available", "max_qos"]
        .iter()
        .any(|name| line.starts_with(name))
}

/// One node publishes what no node may: too large, and to be kept. `loose` leaves the bounds of the guide out.
async fn one_node_takes_nobody_down(loose: bool) -> anyhow::Result<()> {
    let folder = scratch()?;
    let broker = Mosquitto::start_with(
        &folder.path().join("mosquitto"),
        &folder.path().join("control/authority"),
        |shown| {
            let lines = shown.lines().filter(|line| !loose || !is_bound(line));
            lines.map(|line| format!("{line}\n")).collect()
        },
    )
    .await?;
    let control = ControlOptions::default().with("broker", broker.setting());
    let lab = Lab::start(folder.path(), LabOptions { control, ..LabOptions::default() }, |_| {}).await?;
    let hostile = Papers::enrolled(&lab, 1).await?.remove(0);
    for (size, retain) in [(70_000, true), (70_000, false), (500, true)] {
        let mut peer = hostile.connect(broker.address()).await?;
        let topic = format!("/tenants/{}/up/heartbeat", hostile.node);
        let mut publish = Publish::new(topic, QoS::AtMostOnce, vec![7; size]);
        publish.retain = retain;
        peer.put(&Packet::Publish(publish))?;
        peer.put(&Packet::Disconnect)?;
        // The broker has it all before the goodbye, or cuts the peer off amid it.
        let ended = peer.flush().await.is_err() || peer.hear().await.is_err();
        assert!(ended, "the session goes on");
    }
    let (node, mut rig) = lab.add_box("honest", &LIVELY).await?;
    rig.lead_to(&[(lab.control.api(), broker.address())]);
    rig.power_on()?;
    rig.online(SOON).await?;
    account::settled(&lab.database, &node, 20).await?;
    assert!(lab.admin.get("/ready").await.is_ok());
    let log = fs::read_to_string(lab.control.log())?;
    assert!(!log.contains("the external broker is not reachable"), "it was cut off: {log}");
    assert_eq!(log.contains("a publication is refused"), loose, "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_takes_nobody_down_behind_a_broker_as_the_guide_has_it() -> anyhow::Result<()> {
    one_node_takes_nobody_down(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_takes_nobody_down_behind_a_broker_without_bounds() -> anyhow::Result<()> {
    one_node_takes_nobody_down(true).await
}
