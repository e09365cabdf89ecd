//! A box that always comes back: what the control plane gets wrong, or loses, strands nobody.

use crate::{LIVELY, SOON, lab};
use noderr_hil::{BoxOptions, ControlOptions, Lab, LabOptions, LinkQuality, ProcessRig, account, until};
use noderr_kernel::unix_now;
use serde_json::{Value, json};
use std::time::Duration;

/// Long enough for a control plane on a busy machine, and for pauses that have grown.
const PATIENT: Duration = Duration::from_secs(120);

fn certificates_of(seconds: u32) -> LabOptions {
    let control = ControlOptions::default().with("authority", format!("certificate_seconds = {seconds}"));
    LabOptions { control, ..LabOptions::default() }
}

async fn renewals(lab: &Lab, node: &str) -> anyhow::Result<usize> {
    let entries = lab.admin.list(&format!("/audit?subject={node}"), 1000).await?;
    Ok(entries.iter().filter(|entry| entry["action"] == "node.renew").count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_moves_takes_its_nodes_along() -> anyhow::Result<()> {
    let (_folder, mut lab) = lab(certificates_of(30)).await?;
    let options = BoxOptions { follows_papers: true, ..LIVELY };
    let (node, mut rig) = lab.online_box("follower", &options).await?;
    let started = rig.pid();
    lab.control.stop().await?;
    let before = lab.control.broker();
    lab.control.move_broker()?;
    lab.control.start().await?;
    assert_ne!(before, lab.control.broker());
    rig.status_where("the box to notice", SOON, |status| status["online"] == false).await?;
    rig.online(PATIENT).await?;
    assert_eq!(rig.pid(), started, "it was not started again");
    assert_eq!(account::drained(&lab.database, &node, &rig).await?.missing, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_an_earlier_dump_gets_its_fleet_back() -> anyhow::Result<()> {
    let (folder, mut lab) = lab(certificates_of(60)).await?;
    let mut boxes = Vec::new();
    for label in ["one", "two", "three"] {
        boxes.push(lab.online_box(label, &LIVELY).await?);
    }
    for (node, _) in &boxes {
        account::settled(&lab.database, node, 10).await?;
    }
    let dump = folder.path().join("dump.sql");
    lab.control.dump(&dump).await?;
    // Every box renews its certificate, and delivers, after the dump.
    for (node, rig) in &boxes {
        let before = renewals(&lab, node).await?;
        until("a renewal", PATIENT, || async { Ok((renewals(&lab, node).await? > before).then_some(())) })
            .await?;
        account::settled(&lab.database, node, 200).await?;
        assert_eq!(rig.status().await?["online"], true);
    }
    lab.control.kill().await?;
    lab.control.restore(&dump).await?;
    lab.control.start().await?;
    for (node, rig) in &mut boxes {
        rig.online(PATIENT).await?;
        // What the dump does not have and the box has let go of is on record as lost by the server, and nothing twice.
        let account = account::drained(&lab.database, node, rig).await?;
        assert!(account.missing > 0 && account.stored > 0, "{account:?}");
        let lost: i64 =
            sqlx::query_scalar("SELECT count(*) FROM gaps WHERE node_id = $1 AND reason = 'lost_by_server'")
                .bind(hex::decode(&*node)?)
                .fetch_one(&lab.database)
                .await?;
        assert!(lost > 0, "the loss has no name");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_of_the_control_plane_strands_nobody() -> anyhow::Result<()> {
    let (_folder, mut lab) = lab(LabOptions::default()).await?;
    let options = BoxOptions { clock_patience_s: Some(8), ..LIVELY };
    let (node, rig) = lab.online_box("patient", &options).await?;
    account::settled(&lab.database, &node, 20).await?;
    let stored = account::lane(&lab.database, &node, "telemetry").await?.stored;
    for (offset, follows) in [("+5y", true), ("-2y", false)] {
        lab.control.stop().await?;
        lab.control.start_at(offset).await?;
        if follows {
            let followed = |status: &Value| {
                status["online"] == true && status["clock_offset_ms"].as_i64() < Some(-4 * 365 * 86_400_000)
            };
            rig.status_where("the box to follow", PATIENT, followed).await?;
        } else {
            rig.status_where("the box to be out", SOON, |status| status["online"] == false).await?;
        }
        lab.control.stop().await?;
        lab.control.start().await?;
        let repaired = |status: &Value| {
            status["online"] == true && status["clock_offset_ms"].as_i64().map(i64::abs) < Some(60_000)
        };
        rig.status_where("the box to come back", PATIENT, repaired).await?;
    }
    // Nor does a control plane in the future take what is stored for long past its time.
    let account = account::drained(&lab.database, &node, &rig).await?;
    assert!(account.stored >= stored, "{account:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn papers_on_the_disk_that_are_wrong_do_not_keep_a_box_from_coming_back() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (_, mut rig) = lab.online_box("spoilt", &LIVELY).await?;
    let file = rig.data().join("enrolment.json");
    let copy = rig.data().join("enrolment.before.json");
    for (field, value) in [
        ("trust_roots", json!("")),
        ("certificate_chain", json!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
        ("broker", json!("nowhere")),
    ] {
        rig.shut_down().await?;
        let mut document: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        document["document"][field] = value;
        // Both copies are wrong: there is nothing to go back to but the configuration.
        std::fs::write(&file, serde_json::to_vec(&document)?)?;
        std::fs::write(&copy, serde_json::to_vec(&document)?)?;
        rig.power_on()?;
        rig.online(PATIENT).await?;
        if field == "broker" {
            // The rig's cable stands in for the broker's address; the papers are sound again all the same.
            let document: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
            assert_ne!(document["document"]["broker"], "", "{document}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_used_on_a_disk_that_cannot_be_written_to() -> anyhow::Result<()> {
    let (_folder, lab) = lab(certificates_of(12)).await?;
    let options = BoxOptions { disk_mib: Some(48), spool_mib: Some(4), ..LIVELY };
    let (node, mut rig) = lab.online_box("protected", &options).await?;
    rig.small_disk()?.fill()?;
    // The alert about the full disk takes the space that was set aside for alerts.
    rig.status_where("the node to notice", SOON, |status| status["failing"] != json!([])).await?;
    rig.small_disk()?.fill()?;
    let on_disk_until = rig.status().await?["certificate_ends_s"].as_i64().unwrap_or(i64::MAX);
    let before = renewals(&lab, &node).await?;
    until("renewals that cannot be kept", PATIENT, || async {
        Ok((renewals(&lab, &node).await? >= before + 2).then_some(()))
    })
    .await?;
    // A new session shows the newest certificate: those on the disk have ended.
    until("the certificates on the disk to end", PATIENT, || async {
        Ok((unix_now() > on_disk_until).then_some(()))
    })
    .await?;
    rig.network(LinkQuality::Down);
    rig.status_where("the session to end", SOON, |status| status["online"] == false).await?;
    rig.network(LinkQuality::Up);
    rig.online(SOON).await?;
    let log = std::fs::read_to_string(rig.log())?;
    assert!(log.contains("the papers are in use, but not on the disk yet"), "they were kept all the same");
    Ok(())
}

/// Waits until a box has taken on a desired state, which needs neither spool nor disk.
pub(crate) async fn obeys(lab: &Lab, node: &str, rig: &ProcessRig) -> anyhow::Result<()> {
    for paused in [true, false] {
        lab.admin.patch(&format!("/nodes/{node}/desired"), &json!({ "paused": paused })).await?;
        rig.status_where("the box to obey", SOON, |status| status["paused"] == paused).await?;
    }
    Ok(())
}
