//! The API of reports: telemetry, alerts and lanes of nodes.

use super::alerts::{self, AlertRow};
use super::lanes::{self, LaneRow};
use super::telemetry::{self, SampleRow, Wanted};
use crate::nodes::{READ_NODES, find_node};
use crate::state::Fleet;
use axum::extract::State;
use noderr_kernel::{Asked, Json, NodeParam, NodePath, PageQuery, Paged, Path, Principal, Problem, Refused};
use noderr_protocol::Metric;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Fleet>> {
    OpenApiRouter::new()
        .routes(routes!(list_telemetry))
        .routes(routes!(list_alerts))
        .routes(routes!(list_lanes))
}

/// One look at a box.
#[derive(Debug, Serialize)]
struct Sample {
    epoch: i64,
    seq: i64,
    /// The time by the node's clock, which follows the control plane's.
    #[serde(with = "time::serde::rfc3339")]
    sampled_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    received_at: OffsetDateTime,
    /// The value of each metric; null where the box could not measure it.
    #[serde(flatten)]
    metrics: BTreeMap<&'static str, Option<i64>>,
}

impl From<SampleRow> for Sample {
    fn from(row: SampleRow) -> Self {
        Self {
            epoch: row.epoch,
            seq: row.seq,
            sampled_at: row.sampled_at,
            received_at: row.received_at,
            metrics: row.metrics.into_iter().map(|(metric, value)| (metric.name(), value)).collect(),
        }
    }
}

impl PartialSchema for Sample {
    fn schema() -> RefOr<Schema> {
        let number = || ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer));
        let time = || {
            ObjectBuilder::new()
                .schema_type(SchemaType::Type(Type::String))
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        };
        let mut sample = ObjectBuilder::new()
            .property("epoch", number())
            .property("seq", number())
            .property("sampled_at", time())
            .property("received_at", time());
        for required in ["epoch", "seq", "sampled_at", "received_at"] {
            sample = sample.required(required);
        }
        for metric in Metric::ALL {
            let value = number()
                .schema_type(SchemaType::from_iter([Type::Integer, Type::Null]))
                .description(Some(metric.about()));
            sample = sample.property(metric.name(), value);
        }
        sample.build().into()
    }
}

impl ToSchema for Sample {
    fn name() -> Cow<'static, str> {
        "Sample".into()
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

/// The key that a page of samples ends with.
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
    let wanted = Wanted { since: span.since, until: span.until, after, limit: page.limit };
    let rows = telemetry::list(&mut act, &node, wanted).await?;
    Ok(Json(Paged::new(rows, page.limit, |sample: &Sample| Key(sample.sampled_at, sample.seq))))
}

/// An alert of a node: something that a person should know.
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

/// How far one lane of a node is committed.
#[derive(Debug, Serialize, ToSchema)]
struct LaneProgress {
    lane: String,
    epoch: i64,
    /// The number up to which all numbers are stored or accounted for.
    seq: i64,
    /// How many numbers are accounted for as missing.
    missing: i64,
    /// Rows stored today (UTC), of at most `telemetry.node_rows_per_day`.
    rows_today: i64,
    /// Bytes of records stored today, of at most `telemetry.node_mib_per_day`.
    bytes_today: i64,
    /// Records that were refused today, because the node had used up its day.
    refused_today: i64,
}

impl From<LaneRow> for LaneProgress {
    fn from(row: LaneRow) -> Self {
        Self {
            lane: row.lane,
            epoch: row.epoch,
            seq: row.seq,
            missing: row.missing,
            rows_today: row.rows_today,
            bytes_today: row.bytes_today,
            refused_today: row.refused_today,
        }
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
