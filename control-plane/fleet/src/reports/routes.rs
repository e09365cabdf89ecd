//! Reading what nodes have reported.

use super::alerts::{self, AlertRow};
use super::lanes::{self, LaneRow};
use super::telemetry::{self, TelemetryRow};
use crate::nodes::{READ_NODES, find_node};
use crate::state::Fleet;
use axum::extract::State;
use noderr_kernel::{Asked, Json, NodeParam, NodePath, PageQuery, Paged, Path, Principal, Problem, Refused};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Fleet>> {
    OpenApiRouter::new()
        .routes(routes!(list_telemetry))
        .routes(routes!(list_alerts))
        .routes(routes!(list_lanes))
}

/// One look at a box.
#[derive(Debug, Serialize, ToSchema)]
struct Sample {
    epoch: i64,
    seq: i64,
    /// By the node's clock, which follows the control plane's.
    #[serde(with = "time::serde::rfc3339")]
    sampled_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    received_at: OffsetDateTime,
    uptime_s: i64,
    cpu_permille: i32,
    memory_used_kib: i64,
    memory_total_kib: i64,
    disk_used_kib: i64,
    disk_total_kib: i64,
    temperature_decicelsius: Option<i32>,
    network_rx_bytes: i64,
    network_tx_bytes: i64,
    clock_offset_ms: Option<i64>,
    tpm_commands: i64,
    tpm_failures: i64,
    link_connects: i64,
    link_rtt_ms: Option<i64>,
    spool_records: i64,
    spool_lost: i64,
}

impl From<TelemetryRow> for Sample {
    fn from(row: TelemetryRow) -> Self {
        Self {
            epoch: row.epoch,
            seq: row.seq,
            sampled_at: row.sampled_at,
            received_at: row.received_at,
            uptime_s: row.uptime_s,
            cpu_permille: row.cpu_permille,
            memory_used_kib: row.memory_used_kib,
            memory_total_kib: row.memory_total_kib,
            disk_used_kib: row.disk_used_kib,
            disk_total_kib: row.disk_total_kib,
            temperature_decicelsius: row.temperature_decicelsius,
            network_rx_bytes: row.network_rx_bytes,
            network_tx_bytes: row.network_tx_bytes,
            clock_offset_ms: row.clock_offset_ms,
            tpm_commands: row.tpm_commands,
            tpm_failures: row.tpm_failures,
            link_connects: row.link_connects,
            link_rtt_ms: row.link_rtt_ms,
            spool_records: row.spool_records,
            spool_lost: row.spool_lost,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Span {
    /// Not before this time (RFC 3339).
    #[serde(default, with = "time::serde::rfc3339::option")]
    since: Option<OffsetDateTime>,
    /// Before this time (RFC 3339).
    #[serde(default, with = "time::serde::rfc3339::option")]
    until: Option<OffsetDateTime>,
}

/// What a page of samples ends with.
#[derive(Serialize, Deserialize)]
struct Key(#[serde(with = "time::serde::rfc3339")] OffsetDateTime, i64);

/// Read a node's telemetry, newest first.
#[utoipa::path(
    get,
    path = "/nodes/{node}/telemetry",
    tag = "reports",
    params(NodeParam, PageQuery, Span),
    responses((status = 200, body = Paged<Sample>), Refused)
)]
async fn list_telemetry(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path(node): NodePath,
    Asked { page, filter: span }: Asked<Key, Span>,
) -> Result<Json<Paged<Sample>>, Problem> {
    who.require(&READ_NODES)?;
    let mut act = fleet.kernel.begin(who).await?;
    find_node(&mut act, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    let after = page.after.map(|Key(at, seq)| (at, seq));
    let rows = telemetry::list(&mut act, &node, span.since, span.until, after, page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |sample: &Sample| Key(sample.sampled_at, sample.seq))))
}

/// Something a node wanted a person to know.
#[derive(Debug, Serialize, ToSchema)]
struct NodeAlert {
    epoch: i64,
    seq: i64,
    #[serde(with = "time::serde::rfc3339")]
    raised_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    received_at: OffsetDateTime,
    code: String,
    detail: String,
}

impl From<AlertRow> for NodeAlert {
    fn from(row: AlertRow) -> Self {
        Self {
            epoch: row.epoch,
            seq: row.seq,
            raised_at: row.raised_at,
            received_at: row.received_at,
            code: row.code,
            detail: row.detail,
        }
    }
}

/// Read a node's alerts, newest first.
#[utoipa::path(
    get,
    path = "/nodes/{node}/alerts",
    tag = "reports",
    params(NodeParam, PageQuery),
    responses((status = 200, body = Paged<NodeAlert>), Refused)
)]
async fn list_alerts(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path(node): NodePath,
    Asked { page, .. }: Asked<(i64, i64)>,
) -> Result<Json<Paged<NodeAlert>>, Problem> {
    who.require(&READ_NODES)?;
    let mut act = fleet.kernel.begin(who).await?;
    find_node(&mut act, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    let rows = alerts::list(&mut act, &node, page.after, page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |alert: &NodeAlert| (alert.epoch, alert.seq))))
}

/// One lane of a node, as the database has it.
#[derive(Debug, Serialize, ToSchema)]
struct LaneProgress {
    lane: String,
    epoch: i64,
    /// Every number up to this one is stored or accounted for.
    seq: i64,
    /// How many of them are accounted for as missing.
    missing: i64,
}

impl From<LaneRow> for LaneProgress {
    fn from(row: LaneRow) -> Self {
        Self { lane: row.lane, epoch: row.epoch, seq: row.seq, missing: row.missing }
    }
}

/// How far each of a node's lanes is committed.
#[utoipa::path(
    get,
    path = "/nodes/{node}/lanes",
    tag = "reports",
    params(NodeParam),
    responses((status = 200, body = Vec<LaneProgress>), Refused)
)]
async fn list_lanes(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path(node): NodePath,
) -> Result<Json<Vec<LaneProgress>>, Problem> {
    who.require(&READ_NODES)?;
    let mut act = fleet.kernel.begin(who).await?;
    find_node(&mut act, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    Ok(Json(lanes::list(&mut act, &node).await?.into_iter().map(LaneProgress::from).collect()))
}
