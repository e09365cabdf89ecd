//! Storage: what is read, kept and dropped never keeps what is reported from being stored.

use crate::{LIVELY, SOON, lab};
use noderr_hil::{Lab, LabOptions, account};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

async fn owner(lab: &Lab) -> anyhow::Result<PgConnection> {
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
async fn run_job(owner: &mut PgConnection, job: &str) -> anyhow::Result<String> {
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
    // Of the partitions one is missing, one is long past its time, and one was left behind by an interrupted run.
    owner
        .execute(AssertSqlSafe(format!(
            "DROP TABLE {newest};
             SET ROLE noderr_partitions;
             CREATE TABLE telemetry_20200101 PARTITION OF telemetry FOR VALUES FROM ('2020-01-01') TO ('2020-01-02');
             CREATE TABLE telemetry_20200102 (LIKE telemetry);
             RESET ROLE"
        )))
        .await?;
    // Somebody reads all of it, as a dump does.
    let mut reader = PgConnection::connect(&lab.control.reader_url()?).await?;
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM telemetry").await?;

    let before = account::lane(&lab.database, &node, "telemetry").await?.last;
    let outcome = tokio::time::timeout(SOON, run_job(&mut owner, "keep-partitions")).await??;
    assert_eq!(outcome, "1 partitions made, 1 dropped, 1 still read");
    assert_eq!(partitions(&mut owner).await?, all, "the missing one is made, the old one is out of sight");
    account::settled(&lab.database, &node, before + 20).await?;
    assert_eq!(rig.status().await?["online"], true);

    reader.execute("COMMIT").await?;
    let outcome = tokio::time::timeout(SOON, run_job(&mut owner, "keep-partitions")).await??;
    assert_eq!(outcome, "0 partitions made, 1 dropped, 0 still read");
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
