//! Ingest, from the broker to PostgreSQL, against what the same PostgreSQL takes of raw `UNNEST` inserts into the
//! same table in the same run.

use super::load::{Answer, Manner, drive, greet};
use noderr_hil::{ControlOptions, Lab, LabOptions, Papers, scratch};
use noderr_protocol::Metric;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const MEASURE: Duration = Duration::from_secs(15);
/// The number of writers, which is that of the control plane's workers.
const WRITERS: usize = 2;
/// The rows of one transaction, which are as many as the control plane stores in one.
const ROWS: i64 = 4000;
const NODES: usize = 16;
const RECORDS: u64 = 250;

pub(super) async fn run() -> anyhow::Result<()> {
    let folder = scratch()?;
    let control = ControlOptions::default()
        .with("broker", "node_packets_per_s = 1000000\nnode_kib_per_s = 1000000\nnode_burst_mib = 1000");
    let lab = Lab::start(folder.path(), LabOptions { control, ..LabOptions::default() }, |_| {}).await?;
    let papers = Papers::enrolled(&lab, NODES).await?;
    let owner = PgPool::connect(&lab.control.owner_url()?).await?;

    let first = raw(&owner).await?;
    let mut peers = Vec::new();
    for paper in &papers {
        let mut peer = paper.connect(lab.control.broker()).await?;
        greet(&mut peer).await?;
        peers.push((peer, 1));
    }
    let manner = Manner { window: 4, records: RECORDS, rest: Duration::ZERO, answer: Answer::Stored };
    let (_, outcome) = drive(peers, manner, MEASURE).await?;
    let ours = outcome.per_second() * RECORDS as f64;
    let again = raw(&owner).await?;
    let limit = f64::midpoint(first, again);
    println!("ingest: telemetry of {NODES} nodes over mTLS, {RECORDS} records a message, {WRITERS} workers");
    println!("  raw UNNEST       {limit:>10.0} rows/s (before {first:.0}, after {again:.0})");
    println!("  broker to commit {ours:>10.0} records/s = {:.2} of it", ours / limit);
    Ok(())
}

/// Measures how many rows a second PostgreSQL takes while it does nothing else.
async fn raw(owner: &PgPool) -> anyhow::Result<f64> {
    let metrics: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    let statement = format!(
        "INSERT INTO telemetry (node_id, epoch, seq, sampled_at, received_at, {})
         SELECT n, e, s, now(), now(), {} FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[]) AS r (n, e, s, v)",
        metrics.join(", "),
        vec!["v"; metrics.len()].join(", ")
    );
    let (began, end) = (Instant::now(), Instant::now() + MEASURE / 2);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (owner, statement) = (owner.clone(), statement.clone());
        writers.spawn(async move {
            let node = vec![vec![u8::try_from(writer)?; 32]; ROWS as usize];
            let (mut from, zero) = (0_i64, vec![0_i64; ROWS as usize]);
            while Instant::now() < end {
                let seq: Vec<i64> = (from..from + ROWS).collect();
                sqlx::query(AssertSqlSafe(statement.as_str()))
                    .bind(&node)
                    .bind(&zero)
                    .bind(&seq)
                    .bind(&zero)
                    .execute(&owner)
                    .await?;
                from += ROWS;
            }
            anyhow::Ok(from)
        });
    }
    let mut rows = 0;
    while let Some(written) = writers.join_next().await {
        rows += written??;
    }
    Ok(rows as f64 / began.elapsed().as_secs_f64())
}
