//! Storage: what is read, kept and dropped never keeps what is reported from being stored.

use crate::{LIVELY, SOON, lab};
use noderr_hil::{ControlOptions, Lab, LabOptions, SmallDisk, account, scratch, until};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

pub(crate) async fn owner(lab: &Lab) -> anyhow::Result<PgConnection> {
    Ok(PgConnection::connect(&lab.control.owner_url()?).await?)
}

/// The partitions that are attached, by name.
async fn partitions(owner: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'telemetry'::regclass AND NOT inhdetachpending ORDER BY 1",
    )
    .fetch_all(owner)
    .await?)
}

/// Has the job run now; waits until it has ended.
pub(crate) async fn run_job(owner: &mut PgConnection, job: &str) -> anyhow::Result<String> {
    let last: Option<i64> = sqlx::query_scalar("SELECT max(id) FROM job_runs WHERE name = $1")
        .bind(job)
        .fetch_one(&mut *owner)
        .await?;
    sqlx::query("UPDATE jobs SET next_run_at = now() WHERE name = $1").bind(job).execute(&mut *owner).await?;
    loop {
        let ended: Option<Option<String>> = sqlx::query_scalar(
            "SELECT outcome FROM job_runs WHERE name = $1 AND id > $2 AND finished_at IS NOT NULL ORDER BY id DESC LIMIT 1",
        )
        .bind(job)
        .bind(last.unwrap_or_default())
        .fetch_optional(&mut *owner)
        .await?;
        if let Some(outcome) = ended {
            return Ok(outcome.unwrap_or_default());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_come_and_go_beside_a_reader_and_nobody_waits() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let (node, rig) = lab.online_box("stored", &LIVELY).await?;
    account::settled(&lab.database, &node, 10).await?;
    let mut owner = owner(&lab).await?;
    let all = partitions(&mut owner).await?;
    let newest = all.last().cloned().unwrap_or_default();
    // Of the partitions one is missing, two are long past their time, and one was left behind by an interrupted run.
    owner
        .execute(AssertSqlSafe(format!(
            "DROP TABLE {newest};
             SET ROLE noderr_partitions;
             CREATE TABLE telemetry_20200101 PARTITION OF telemetry FOR VALUES FROM ('2020-01-01') TO ('2020-01-02');
             CREATE TABLE telemetry_20200102 (LIKE telemetry);
             CREATE TABLE telemetry_20200103 PARTITION OF telemetry FOR VALUES FROM ('2020-01-03') TO ('2020-01-04');
             RESET ROLE"
        )))
        .await?;
    // Somebody reads all of it, as a dump does.
    let mut reader = PgConnection::connect(&lab.control.reader_url()?).await?;
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM telemetry").await?;

    let before = account::lane(&lab.database, &node, "telemetry").await?.last;
    let outcome = tokio::time::timeout(SOON, run_job(&mut owner, "keep-partitions")).await??;
    assert_eq!(outcome, "1 partitions made, 1 dropped, 2 still read");
    // PostgreSQL detaches one at a time: the other old one waits for its turn.
    let expected: Vec<_> = std::iter::once("telemetry_20200101".to_owned()).chain(all).collect();
    assert_eq!(
        partitions(&mut owner).await?,
        expected,
        "the missing one is made, one old one is out of sight"
    );
    account::settled(&lab.database, &node, before + 20).await?;
    assert_eq!(rig.status().await?["online"], true);

    reader.execute("COMMIT").await?;
    let outcome = tokio::time::timeout(SOON, run_job(&mut owner, "keep-partitions")).await??;
    assert_eq!(outcome, "0 partitions made, 2 dropped, 0 still read");
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_class WHERE relname LIKE 'telemetry_2020010_'")
            .fetch_one(&mut owner)
            .await?;
    assert_eq!(left, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_jumps_makes_nothing_old_at_once() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let mut owner = owner(&lab).await?;
    let at = "SELECT extract(epoch FROM now() - at)::bigint / 86400 FROM retention_clock";
    // As seen from a clock that has jumped five years ahead.
    owner.execute("UPDATE retention_clock SET at = now() - interval '5 years'").await?;
    for days_behind in [1825, 1824] {
        run_job(&mut owner, "forget-expired").await?;
        let behind: i64 = sqlx::query_scalar(at).fetch_one(&mut owner).await?;
        assert!((days_behind - 2..=days_behind).contains(&behind), "{behind}");
    }
    // And back.
    owner.execute("UPDATE retention_clock SET at = now() + interval '5 years'").await?;
    run_job(&mut owner, "forget-expired").await?;
    let behind: i64 = sqlx::query_scalar(at).fetch_one(&mut owner).await?;
    assert_eq!(behind, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_is_tried_again_long_before_its_next_time() -> anyhow::Result<()> {
    let (_folder, lab) = lab(LabOptions::default()).await?;
    let mut owner = owner(&lab).await?;
    let next = "SELECT extract(epoch FROM next_run_at - now())::float8 / every_s FROM jobs WHERE name = 'forget-expired'";
    run_job(&mut owner, "forget-expired").await?;
    let after_success: f64 = sqlx::query_scalar(next).fetch_one(&mut owner).await?;
    owner.execute("ALTER TABLE retention_clock RENAME TO clock_of_nobody").await?;
    let outcome = run_job(&mut owner, "forget-expired").await?;
    assert!(outcome.starts_with("failed: "), "{outcome}");
    let after_failure: f64 = sqlx::query_scalar(next).fetch_one(&mut owner).await?;
    assert!(after_success > 0.9 && after_failure <= 0.05, "{after_success} {after_failure} of the interval");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_quota_a_node_leaves_one_counted_gap_until_the_next_day() -> anyhow::Result<()> {
    const QUOTA: i64 = 40;
    let control = ControlOptions::default().with("telemetry", format!("node_rows_per_day = {QUOTA}"));
    let (_folder, lab) = lab(LabOptions { control, ..LabOptions::default() }).await?;
    let (node, rig) = lab.online_box("chatty", &LIVELY).await?;
    let account = account::settled(&lab.database, &node, 4 * QUOTA).await?;
    assert_eq!(account.stored, QUOTA);
    let mut owner = owner(&lab).await?;
    let gaps = "SELECT count(*) FROM gaps WHERE encode(node_id, 'hex') = $1 AND reason = 'over_quota'";
    let rows: i64 = sqlx::query_scalar(gaps).bind(&node).fetch_one(&mut owner).await?;
    assert_eq!(rows, 1, "the gap grows and is not told anew with every batch");
    let shown =
        lab.node_where(&node, "its name to be shown", SOON, |shown| shown["refused_today"] != 0).await?;
    assert!(shown["refused_today"].as_i64() >= Some(3 * QUOTA), "{shown}");
    let lanes = lab.admin.get(&format!("/nodes/{node}/lanes")).await?;
    let of = |lane: &str| lanes.as_array().and_then(|all| all.iter().find(|shown| shown["lane"] == lane));
    assert_eq!(
        of("telemetry").map(|lane| &lane["rows_today"]),
        Some(&serde_json::json!(QUOTA + 1)),
        "{lanes}"
    );
    assert_eq!(of("alert").map(|lane| &lane["refused_today"]), Some(&serde_json::json!(0)), "{lanes}");

    // The next day.
    owner.execute("UPDATE lanes SET day = day - 1").await?;
    let before = account::lane(&lab.database, &node, "telemetry").await?;
    until("records to be stored again", SOON, || async {
        let account = account::lane(&lab.database, &node, "telemetry").await?;
        Ok((account.stored == 2 * QUOTA && account.last > before.last + 2 * QUOTA).then_some(()))
    })
    .await?;
    let rows: i64 = sqlx::query_scalar(gaps).bind(&node).fetch_one(&mut owner).await?;
    assert_eq!(rows, 2);
    drop(rig);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_short_of_disk_takes_no_records_and_loses_none() -> anyhow::Result<()> {
    let folder = scratch()?;
    let place = folder.path().join("control");
    std::fs::create_dir_all(&place)?;
    let disk = SmallDisk::mount(&place, 512)?;
    let control = ControlOptions::default().with("database", "reserve_mib = 128");
    let lab = Lab::start(folder.path(), LabOptions { control, ..LabOptions::default() }, |_| {}).await?;
    let (node, rig) = lab.online_box("patient", &LIVELY).await?;
    account::settled(&lab.database, &node, 20).await?;

    disk.fill_but(96)?;
    let refused = until("the control plane to say so", SOON, || async {
        Ok(lab.admin.get("/ready").await.err().map(|error| error.to_string()))
    })
    .await?;
    assert!(refused.contains("disk"), "{refused}");
    let before = account::lane(&lab.database, &node, "telemetry").await?;
    rig.status_where("records to wait", SOON, |status| status["spool_records"].as_u64() > Some(60)).await?;
    assert_eq!(account::lane(&lab.database, &node, "telemetry").await?, before);
    assert_eq!(rig.status().await?["online"], true, "heartbeats and answers go on");
    // A person can still act, and the node hears of it.
    lab.admin.patch(&format!("/nodes/{node}/desired"), &serde_json::json!({ "paused": true })).await?;
    rig.status_where("the change to arrive", SOON, |status| status["paused"] == true).await?;

    disk.free()?;
    let account = account::drained(&lab.database, &node, &rig).await?;
    assert_eq!(account.missing, 0);
    lab.admin.get("/ready").await?;
    drop((rig, lab));
    Ok(())
}
