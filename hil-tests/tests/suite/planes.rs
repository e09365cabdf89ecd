//! Two control planes on one PostgreSQL, and behind one mosquitto: neither may assume that it is alone.

use crate::raw::counted;
use crate::{LIVELY, SOON, lab};
use noderr_hil::{BoxOptions, ControlPlane, LabOptions, account, until};
use serde_json::json;
use sqlx::postgres::PgPool;
use std::time::Duration;

const FIVE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn two_planes_share_nodes_changes_revocations_and_jobs() -> anyhow::Result<()> {
    let (_folder, mut lab) = lab(LabOptions::default()).await?;
    let second = lab.add_plane("second").await?;
    let other_admin = second.log_in(lab.email(), &lab.password).await?;

    let (first, other) = (lab.control.doors(), second.doors());
    let (a, mut at_first) = lab.add_box("a", &LIVELY).await?;
    let (b, mut at_second) = lab.add_box("b", &LIVELY).await?;
    let (c, mut revoked) = lab.add_box("c", &LIVELY).await?;
    at_first.lead_to(&[first, other]);
    at_second.lead_to(&[other, first]);
    revoked.lead_to(&[other, first]);
    for rig in [&mut at_first, &mut at_second, &mut revoked] {
        rig.power_on()?;
    }
    for rig in [&mut at_first, &mut at_second, &mut revoked] {
        rig.online(SOON).await?;
    }

    // A change at one control plane reaches a node at the other, both ways.
    lab.admin.patch(&format!("/nodes/{b}/desired"), &json!({ "paused": true })).await?;
    at_second.status_where("the change to cross over", FIVE, |status| status["paused"] == true).await?;
    other_admin.patch(&format!("/nodes/{a}/desired"), &json!({ "paused": true })).await?;
    at_first.status_where("the change to cross back", FIVE, |status| status["paused"] == true).await?;
    lab.admin.post(&format!("/nodes/{c}/revoke"), &json!({ "reason": "test" })).await?;
    revoked.status_where("the revocation to cross over", FIVE, |status| status["online"] == false).await?;

    // One control plane is killed: its nodes come to the other, and nothing is lost.
    lab.control.kill().await?;
    let connects = at_first.status().await?["connects"].as_u64();
    at_first
        .status_where("the node to come to the other", SOON, |status| {
            status["online"] == true && status["connects"].as_u64() > connects
        })
        .await?;
    for (node, rig) in [(&a, &at_first), (&b, &at_second)] {
        let account = account::drained(&lab.database, node, rig).await?;
        assert_eq!(account.missing, 0);
    }
    let overlapping: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM job_runs a JOIN job_runs b ON a.name = b.name AND a.id < b.id
         AND a.started_at < b.finished_at AND b.started_at < a.finished_at",
    )
    .fetch_one(&lab.database)
    .await?;
    assert_eq!(overlapping, 0, "a job never runs twice at once");
    let too_often: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT started_at - lag(started_at) OVER (PARTITION BY name ORDER BY started_at) AS since,
         name FROM job_runs WHERE outcome NOT LIKE 'failed%') r JOIN jobs j USING (name) WHERE since < make_interval(secs => j.every_s * 0.9)",
    )
    .fetch_one(&lab.database)
    .await?;
    assert_eq!(too_often, 0, "two planes do not run a job twice as often");
    Ok(())
}

/// How many records have come twice, and how many messages were left to others, at a control plane.
async fn heard(plane: &ControlPlane) -> anyhow::Result<[f64; 2]> {
    Ok([
        counted(plane, "noderr_ingest_duplicates_total").await?,
        counted(plane, "noderr_broker_left_to_others_total").await?,
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_planes_behind_one_mosquitto_do_nothing_twice_and_stand_in_for_each_other() -> anyhow::Result<()>
{
    let (_folder, mut lab) = lab(LabOptions::behind_mosquitto()).await?;
    let second = lab.add_plane("second").await?;
    let mut boxes = Vec::new();
    for name in ["a", "b", "c", "d"] {
        // The boxes go where their papers say, and not by the test's own cables.
        boxes.push(lab.online_box(name, &BoxOptions { follows_papers: true, ..LIVELY }).await?);
    }
    let owner = PgPool::connect(&lab.control.owner_url()?).await?;
    let held = || async {
        let held = sqlx::query_scalar("SELECT count(*) FROM broker_shares GROUP BY held_by");
        anyhow::Ok::<Vec<i64>>(held.fetch_all(&owner).await?)
    };
    until("the shares to be divided", SOON, || async { Ok((held().await? == [8, 8]).then_some(())) }).await?;
    let before = [heard(&lab.control).await?, heard(&second).await?];
    for (node, _) in &boxes {
        let stored = account::lane(&lab.database, node, "telemetry").await?.last;
        account::settled(&lab.database, node, stored + 20).await?;
    }
    let after = [heard(&lab.control).await?, heard(&second).await?];
    let more = |what: usize| [after[0][what] - before[0][what], after[1][what] - before[1][what]];
    assert!(more(0).iter().all(|more| *more < 10.0), "what both store: {before:?}, {after:?}");
    // Chance may have given all four boxes to one of the two.
    assert!(more(1).iter().any(|more| *more > 0.0), "what the other serves is heard: {before:?}, {after:?}");

    // A change is told once, by whoever serves the node; and when one is killed, by the other.
    lab.control.kill().await?;
    let admin = second.log_in(lab.email(), &lab.password).await?;
    for (node, rig) in &boxes {
        admin.patch(&format!("/nodes/{node}/desired"), &json!({ "paused": true })).await?;
        rig.status_where("the change to arrive", SOON, |status| status["paused"] == true).await?;
        assert_eq!(account::drained(&lab.database, node, rig).await?.missing, 0);
    }
    // Chance may have given all four boxes to the one that is left.
    until("all shares to be its own", SOON, || async { Ok((held().await? == [16]).then_some(())) }).await
}
