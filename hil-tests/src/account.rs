//! Holds nodes to account: is every number that a node gave out stored exactly once, or counted as missing?

use crate::ProcessRig;
use anyhow::{Context as _, ensure};
use sqlx::{PgPool, Row as _};
use std::time::Duration;

/// The rows that the database has of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneAccount {
    /// Records stored.
    pub stored: i64,
    /// Numbers accounted for as missing.
    pub missing: i64,
    /// The last number.
    pub last: i64,
}

/// The account of a lane, in one statement, so that rows and mark are of one moment.
const ACCOUNT: &str = "
    WITH pieces AS (
        SELECT epoch, seq AS first, seq AS last, 1 AS stored FROM telemetry WHERE node_id = $1 AND $2 = 'telemetry'
        UNION ALL
        SELECT epoch, seq, seq, 1 FROM alerts WHERE node_id = $1 AND $2 = 'alert'
        UNION ALL
        SELECT epoch, seq, seq, 1 FROM unreadable_records WHERE node_id = $1 AND lane::text = $2
        UNION ALL
        SELECT epoch, first_seq, last_seq, 0 FROM gaps WHERE node_id = $1 AND lane::text = $2
    ), ordered AS (
        SELECT *, lag(last) OVER (ORDER BY first, epoch) AS before FROM pieces
    )
    SELECT coalesce(sum(stored), 0)::bigint AS stored,
           coalesce(sum(last - first + 1) FILTER (WHERE stored = 0), 0)::bigint AS missing,
           coalesce(max(last), 0)::bigint AS last,
           count(*) FILTER (WHERE first <> coalesce(before, 0) + 1)::bigint AS breaks,
           (SELECT seq FROM lanes WHERE node_id = $1 AND lane::text = $2) AS mark
    FROM ordered";

/// Checks that a lane's rows hold every number from 1 to the last once, as a record or in a gap.
pub async fn lane(database: &PgPool, node: &str, lane: &str) -> anyhow::Result<LaneAccount> {
    let row = sqlx::query(ACCOUNT).bind(hex::decode(node)?).bind(lane).fetch_one(database).await?;
    let account =
        LaneAccount { stored: row.get("stored"), missing: row.get("missing"), last: row.get("last") };
    let breaks: i64 = row.get("breaks");
    ensure!(breaks == 0, "{breaks} holes or repetitions in the {lane} lane of {node}: {account:?}");
    let mark: Option<i64> = row.get("mark");
    let mark = mark.context("the node has never said hello")?;
    ensure!(
        mark == account.last,
        "the {lane} lane of {node} is marked {mark}, but its rows end at {}",
        account.last
    );
    Ok(account)
}

/// Waits until the telemetry of a node has reached a number, then holds all its lanes to account.
pub async fn settled(database: &PgPool, node: &str, at_least: i64) -> anyhow::Result<LaneAccount> {
    let reached = crate::until("telemetry to arrive", Duration::from_secs(60), || async {
        let account = lane(database, node, "telemetry").await?;
        Ok((account.last >= at_least).then_some(account))
    })
    .await?;
    lane(database, node, "alert").await?;
    lane(database, node, "result").await?;
    Ok(reached)
}

/// Waits until a box has next to nothing left to send, then holds all its lanes to account.
pub async fn drained(database: &PgPool, node: &str, rig: &ProcessRig) -> anyhow::Result<LaneAccount> {
    let few = |status: &serde_json::Value| {
        status["online"] == true && status["spool_records"].as_u64().is_some_and(|waiting| waiting < 100)
    };
    rig.status_where("the buffer to drain", Duration::from_secs(120), few).await?;
    let before = lane(database, node, "telemetry").await?;
    settled(database, node, before.last + 1).await
}
