//! Bad days: a full disk, a dead TPM, a clock that is years off.

use crate::{LIVELY, SOON, lab};
use noderr_hil::{BoxOptions, LabOptions, LinkQuality, account};
use serde_json::Value;

fn failing(status: &Value, check: &str) -> bool {
    let failing = status["failing"].as_array().cloned().unwrap_or_default();
    failing.iter().any(|entry| entry.as_str().is_some_and(|entry| entry.starts_with(check)))
}

/// Waits until all of these alerts of a node have arrived.
async fn alerted(lab: &noderr_hil::Lab, node: &str, codes: &[&str]) -> anyhow::Result<()> {
    noderr_hil::until("the alerts", SOON, || async {
        let alerts = lab.admin.list(&format!("/nodes/{node}/alerts"), 100).await?;
        let all = codes.iter().all(|code| alerts.iter().any(|alert| alert["code"] == *code));
        if all { Ok(Some(())) } else { Err(anyhow::anyhow!("{alerts:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_costs_only_telemetry_and_passes() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let options = BoxOptions { disk_mib: Some(48), spool_mib: Some(4), ..LIVELY };
    let (node, mut rig) = lab.online_box("full", &options).await?;
    account::settled(&lab.database, &node, 10).await?;

    rig.small_disk()?.fill()?;
    rig.status_where("the node to notice", SOON, |status| failing(status, "disk")).await?;
    rig.status_where("telemetry to be counted as lost", SOON, |status| {
        status["spool_lost"].as_u64() > Some(5)
    })
    .await?;
    assert!(!rig.has_ended()?, "the node stays up");
    rig.small_disk()?.free()?;
    rig.status_where("the node to recover", SOON, |status| !failing(status, "disk")).await?;

    account::drained(&lab.database, &node, &rig).await?;
    let lost = rig.status().await?["spool_lost"].as_i64().unwrap_or_default();
    noderr_hil::until("every lost number to be accounted for", SOON, || async {
        let telemetry = account::lane(&lab.database, &node, "telemetry").await?;
        let alerts = account::lane(&lab.database, &node, "alert").await?;
        assert_eq!(alerts.missing, 0, "alerts are kept");
        Ok((telemetry.missing == lost).then_some(()))
    })
    .await?;
    alerted(&lab, &node, &["disk_full", "disk_recovered"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tpm_that_stops_answering_is_said_and_nothing_else_takes_its_place() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("tpm", &LIVELY).await?;

    rig.tpm()?.hang()?;
    rig.status_where("the node to notice", SOON, |status| failing(status, "tpm")).await?;
    // A new session would need a signature, which nothing but the TPM can make.
    rig.network(LinkQuality::Down);
    rig.status_where("the node to be offline", SOON, |status| status["online"] == false).await?;
    rig.network(LinkQuality::Up);
    let before = rig.status().await?["spool_records"].as_u64();
    let buffering = |status: &Value| status["spool_records"].as_u64() > before;
    let status = rig.status_where("the node to go on buffering", SOON, buffering).await?;
    assert_eq!(status["online"], false);
    assert!(!rig.data().join("software.key").exists(), "no file key takes the TPM's place");

    rig.tpm()?.unhang()?;
    rig.online(SOON).await?;
    rig.status_where("health to return", SOON, |status| !failing(status, "tpm")).await?;
    let account = account::drained(&lab.database, &node, &rig).await?;
    assert_eq!(account.missing, 0);
    alerted(&lab, &node, &["tpm_unreachable", "tpm_recovered"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tpm_that_lost_its_power_comes_back_as_itself() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (_, mut rig) = lab.online_box("tpm", &LIVELY).await?;
    rig.tpm()?.off().await?;
    rig.status_where("the node to notice", SOON, |status| failing(status, "tpm")).await?;
    rig.tpm()?.on().await?;
    rig.status_where("health to return", SOON, |status| !failing(status, "tpm")).await?;
    rig.shut_down().await?;
    rig.power_on()?;
    rig.online(SOON).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_years_off_is_set_by_the_control_plane() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    for (label, offset) in [("past", "-20y"), ("future", "+20y")] {
        let (node, mut rig) = lab.add_box(label, &LIVELY).await?;
        rig.clock_offset(Some(offset));
        rig.power_on()?;
        rig.online(SOON).await?;
        account::settled(&lab.database, &node, 10).await?;
        let span = "/telemetry?limit=1";
        let sample = lab.admin.get(&format!("/nodes/{node}{span}")).await?;
        let year = |text: &str| text.get(..4).map(str::to_owned);
        let sampled = sample["items"][0]["sampled_at"].as_str().and_then(year);
        let received = sample["items"][0]["received_at"].as_str().and_then(year);
        assert_eq!(sampled, received, "{label}: samples carry the control plane's time");
        let status =
            rig.status_where("the wrong clock to be said", SOON, |status| failing(status, "clock")).await?;
        assert!(status["clock_offset_ms"].as_i64().map(i64::abs) > Some(10 * 365 * 86_400_000));
        // A start without the control plane must not fall back to the wrong time that the box has left
        // behind.
        rig.shut_down().await?;
        rig.network(LinkQuality::Down);
        rig.power_on()?;
        let alone = |status: &Value| status["spool_records"].as_u64() > Some(10) && status["online"] == false;
        rig.status_where("samples taken without the control plane", SOON, alone).await?;
        rig.network(LinkQuality::Up);
        rig.online(SOON).await?;
        account::drained(&lab.database, &node, &rig).await?;
        let astray: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM telemetry WHERE node_id = $1
               AND sampled_at NOT BETWEEN received_at - interval '1 hour' AND received_at + interval '1 hour'",
        )
        .bind(hex::decode(&node)?)
        .fetch_one(&lab.database)
        .await?;
        assert_eq!(astray, 0, "{label}: samples carry a time that was known to be wrong");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_damaged_on_the_disk_is_skipped_counted_and_reported() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, mut rig) = lab.online_box("scratched", &LIVELY).await?;
    rig.network(LinkQuality::Down);
    rig.status_where("records to wait", SOON, |status| status["spool_records"].as_u64() > Some(20)).await?;
    rig.power_cut(1).await?;
    {
        // One bit of one record flips, below everything that could notice but the record's own checksum.
        let config = sled::Config::new()
            .path(rig.data().join("spool"))
            .mode(sled::Mode::LowSpace)
            .segment_size(2 << 20);
        let database =
            noderr_hil::until("the killed node to let go", SOON, || async { Ok(config.open().ok()) }).await?;
        let lane = database.open_tree("telemetry")?;
        let (key, block) = lane.last()?.ok_or_else(|| anyhow::anyhow!("nothing waits"))?;
        let mut block = block.to_vec();
        if let Some(last) = block.last_mut() {
            *last ^= 1;
        }
        lane.insert(key, block)?;
        database.flush()?;
    }
    rig.power_on()?;
    rig.network(LinkQuality::Up);
    rig.online(SOON).await?;
    let account = account::drained(&lab.database, &node, &rig).await?;
    assert_eq!(account.missing, 1, "the damage costs one record: {account:?}");
    rig.status_where("the loss to be counted", SOON, |status| status["spool_lost"] == 1).await?;
    alerted(&lab, &node, &["records_damaged"]).await
}
