//! The same node and the same control plane, with a real mosquitto between them.

use crate::{LIVELY, SOON, lab};
use anyhow::Context as _;
use noderr_hil::hello;
use noderr_hil::{Lab, LabOptions, LinkQuality, Papers, Peer, ProcessRig, account, until};
use noderr_protocol::{Down, Message as _, Up};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, LastWill, Packet, Publish, Subscribe};
use serde_json::json;
use std::fs;

#[tokio::test(flavor = "multi_thread")]
async fn an_external_mosquitto_serves_the_same_nodes() -> anyhow::Result<()> {
    let (_folder, mut lab) = lab(LabOptions::behind_mosquitto()).await?;
    let mut broker = lab.mosquitto.take().context("a mosquitto")?;
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
        status["doing"].as_str().is_some_and(|doing| doing.contains("certificate is revoked"))
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

fn without_bounds(guide: String) -> String {
    guide.lines().filter(|line| !is_bound(line)).map(|line| format!("{line}\n")).collect()
}

/// One node publishes what no node may: too large, and to be kept. `loose` leaves the bounds of the guide out.
async fn one_node_takes_nobody_down(loose: bool) -> anyhow::Result<()> {
    let change = if loose { without_bounds } else { |guide| guide };
    let (_folder, lab) = lab(LabOptions { mosquitto: Some(change), ..LabOptions::default() }).await?;
    let hostile = Papers::enrolled(&lab, 1).await?.remove(0);
    for (size, retain) in [(70_000, true), (70_000, false), (500, true)] {
        let mut peer = hostile.connect(lab.broker()).await?;
        let topic = format!("/tenants/{}/up/heartbeat", hostile.node);
        let mut publish = Publish::new(topic, QoS::AtMostOnce, vec![7; size]);
        publish.retain = retain;
        peer.put(&Packet::Publish(publish))?;
        peer.put(&Packet::Disconnect)?;
        // The broker has it all before the goodbye, or cuts the peer off amid it.
        let ended = async {
            peer.flush().await?;
            loop {
                // The control plane may have said something meanwhile.
                peer.hear().await?;
            }
        };
        let ended: Result<anyhow::Result<()>, _> = tokio::time::timeout(SOON, ended).await;
        assert!(ended.is_ok(), "the session goes on");
    }
    let (node, _rig) = lab.online_box("honest", &LIVELY).await?;
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

/// Connects as the victim, by name: the name in the certificate counts, and not the one in the packet.
async fn claim_to_be(lab: &Lab, hostile: &Papers, victim: &str) -> anyhow::Result<()> {
    let mut peer = hostile.dial(lab.broker()).await?;
    let mut connect = Connect::new(victim);
    connect.last_will =
        Some(LastWill::new(format!("/tenants/{victim}/up/heartbeat"), vec![1], QoS::AtMostOnce, false));
    peer.put(&Packet::Connect(connect))?;
    peer.flush().await?;
    // An answer, or the end of the connection: either way the broker has dealt with it.
    _ = peer.next().await;
    Ok(())
}

/// Hears all that comes until the node's own document of this version; nothing before it may be another's.
async fn hear_until(peer: &mut Peer, node: &str, version: u64) -> anyhow::Result<()> {
    // A broker that hangs up over a filter says nothing either.
    while let Ok(packet) = peer.next().await {
        let Packet::Publish(publish) = packet else { continue };
        anyhow::ensure!(publish.topic.contains(node), "it hears {}", publish.topic);
        if matches!(Down::decode(&publish.payload)?, Down::DesiredState(state) if state.version >= version) {
            break;
        }
    }
    Ok(())
}

/// Subscribes to more than its own, while much is said to and by the victim, and then something to the hostile node itself.
async fn eavesdrop(lab: &Lab, hostile: &Papers, victim: &str, rig: &ProcessRig) -> anyhow::Result<()> {
    let everything =
        ["#", "+/+/+/+/+", "/tenants/+/down/#", "/tenants/+/up/#", "$share/g//tenants/+/up/#", "$SYS/#"];
    let (theirs, own) = (format!("/tenants/{victim}/down/#"), hostile.node.to_string());
    let filters = everything.into_iter().chain([theirs.as_str()]);
    for (filter, paused) in filters.zip([true, false].into_iter().cycle()) {
        let mut peer = hostile.connect(lab.broker()).await?;
        let mut subscribe = Subscribe::new(filter, QoS::AtLeastOnce);
        subscribe.pkid = 7;
        peer.put(&Packet::Subscribe(subscribe))?;
        peer.say(&Up::Hello(hello(1)))?;
        peer.flush().await?;
        lab.node_where(&own, "it to be heard", SOON, |shown| shown["online"] == true).await?;
        for (node, paused) in [(victim, paused), (own.as_str(), paused)] {
            lab.admin.patch(&format!("/nodes/{node}/desired"), &json!({ "paused": paused })).await?;
        }
        rig.status_where("the change to arrive", SOON, |status| status["paused"] == paused).await?;
        let version = lab.node(&own).await?["desired_version"].as_u64().context("a version")?;
        let heard = tokio::time::timeout(SOON, hear_until(&mut peer, &own, version));
        heard
            .await
            .with_context(|| format!("nothing comes beside {filter}"))?
            .with_context(|| filter.to_owned())?;
    }
    Ok(())
}

/// Says hello for the victim, and tells the victim what to do. What a hello says stays until the next.
async fn speak_for(lab: &Lab, hostile: &Papers, victim: &str) -> anyhow::Result<()> {
    for kind in ["up/hello", "down/desired"] {
        let mut peer = hostile.connect(lab.broker()).await?;
        let topic = format!("/tenants/{victim}/{kind}");
        let message = Up::Hello(hello(1)).encode()?;
        peer.put(&Packet::Publish(Publish::new(topic, QoS::AtMostOnce, message)))?;
        // In order: once its own hello is answered, or the broker has hung up, the other was dealt with.
        peer.say(&Up::Hello(hello(1)))?;
        peer.flush().await?;
        let dealt_with = async { while !matches!(peer.hear().await, Ok(Down::Welcome(_)) | Err(_)) {} };
        tokio::time::timeout(SOON, dealt_with).await.with_context(|| format!("no answer after {kind}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_neither_speaks_nor_listens_for_another_nor_takes_its_session_away() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::behind_mosquitto()).await?;
    let (victim, rig) = lab.online_box("victim", &LIVELY).await?;
    let hostile = Papers::enrolled(&lab, 1).await?.remove(0);
    let (connects, software) =
        (rig.status().await?["connects"].clone(), lab.node(&victim).await?["software"].clone());
    claim_to_be(&lab, &hostile, &victim).await.context("as the victim")?;
    eavesdrop(&lab, &hostile, &victim, &rig).await.context("as a listener")?;
    speak_for(&lab, &hostile, &victim).await.context("as a speaker")?;
    account::settled(&lab.database, &victim, 20).await?;
    assert_eq!(lab.node(&victim).await?["software"], software, "somebody speaks for the victim");
    assert_eq!(rig.status().await?["connects"], connects, "the victim's session was taken away");
    Ok(())
}
