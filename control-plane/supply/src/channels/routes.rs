//! The API of channels.

use super::acts;
use super::db::{self, Channel, ChannelRow, DeploymentRow, NodeReleaseRow, ReleaseStateRow};
use crate::releases::READ_RELEASES;
use crate::state::Supply;
use axum::extract::State;
use axum::http::StatusCode;
use noderr_fleet::nodes::{READ_NODES, is_seen};
use noderr_kernel::{Asked, Json, NodePath, PageQuery, Paged, Path, Principal, Problem, Refused};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<Arc<Supply>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(activate))
        .routes(routes!(deactivate))
        .routes(routes!(deployments))
        .routes(routes!(of_node))
}

/// Which release boxes of a tier and a hardware should hold.
#[derive(Debug, Serialize, ToSchema)]
struct ChannelShown {
    id: Uuid,
    kind: String,
    name: String,
    /// `all`, `oracle`, `guardian` or `validator`.
    tier: String,
    /// `any`, or an architecture such as `x86_64`.
    hardware: String,
    /// The active version; absent if there is none.
    version: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    changed_at: OffsetDateTime,
}

impl From<ChannelRow> for ChannelShown {
    fn from(row: ChannelRow) -> Self {
        let ChannelRow { id, kind, name, tier, hardware, version, changed_at } = row;
        Self { id, kind, name, tier, hardware, version, changed_at }
    }
}

/// A channel.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NamedChannel {
    kind: String,
    name: String,
    /// `all`, `oracle`, `guardian` or `validator`; `all` if absent.
    #[serde(default = "all")]
    tier: String,
    /// `any`, or an architecture such as `x86_64`; `any` if absent.
    #[serde(default = "any")]
    hardware: String,
}

fn all() -> String {
    noderr_protocol::release::ALL_TIERS.to_owned()
}

fn any() -> String {
    noderr_protocol::release::ANY_HARDWARE.to_owned()
}

impl From<NamedChannel> for Channel {
    fn from(NamedChannel { kind, name, tier, hardware }: NamedChannel) -> Self {
        Self { kind, name, tier, hardware }
    }
}

/// A channel and the version that it is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Activation {
    kind: String,
    name: String,
    version: String,
    /// `all`, `oracle`, `guardian` or `validator`; `all` if absent.
    #[serde(default = "all")]
    tier: String,
    /// `any`, or an architecture such as `x86_64`; `any` if absent.
    #[serde(default = "any")]
    hardware: String,
}

/// What to know of a release that a channel has now.
#[derive(Debug, Serialize, ToSchema)]
struct Activated {
    /// Why boxes may refuse it, a sentence each.
    cautions: Vec<String>,
}

/// List channels, newest first.
#[utoipa::path(
    get,
    path = "/channels",
    tag = "channels",
    params(PageQuery),
    responses((status = 200, body = Paged<ChannelShown>), Refused)
)]
async fn list(
    State(supply): State<Arc<Supply>>,
    who: Principal,
    Asked { page, .. }: Asked<Uuid>,
) -> Result<Json<Paged<ChannelShown>>, Problem> {
    who.require(&READ_RELEASES)?;
    let mut act = supply.kernel.begin(who).await?;
    let rows = db::list(&mut act, page.after, page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |channel: &ChannelShown| channel.id)))
}

/// Give a channel a release: the boxes that it is for fetch the release.
#[utoipa::path(
    post,
    path = "/channels/activate",
    tag = "channels",
    request_body = Activation,
    responses((status = 200, body = Activated), Refused)
)]
async fn activate(
    State(supply): State<Arc<Supply>>,
    who: Principal,
    Json(Activation { kind, name, version, tier, hardware }): Json<Activation>,
) -> Result<Json<Activated>, Problem> {
    let mut act = supply.kernel.begin(who).await?;
    let channel = Channel { kind, name, tier, hardware };
    let cautions = acts::activate(&supply, &mut act, &channel, &version).await?;
    act.commit().await?;
    supply.show_at_once().await;
    Ok(Json(Activated { cautions }))
}

/// Take a channel's release away. Boxes keep what they hold, and need not hold it any more.
#[utoipa::path(
    post,
    path = "/channels/deactivate",
    tag = "channels",
    request_body = NamedChannel,
    responses((status = 204), Refused)
)]
async fn deactivate(
    State(supply): State<Arc<Supply>>,
    who: Principal,
    Json(channel): Json<NamedChannel>,
) -> Result<StatusCode, Problem> {
    let mut act = supply.kernel.begin(who).await?;
    acts::deactivate(&supply, &mut act, &channel.into()).await?;
    act.commit().await?;
    supply.show_at_once().await;
    Ok(StatusCode::NO_CONTENT)
}

/// What a channel had when, and by whom.
#[derive(Debug, Serialize, ToSchema)]
struct Deployment {
    id: Uuid,
    kind: String,
    name: String,
    tier: String,
    hardware: String,
    version: String,
    #[serde(with = "time::serde::rfc3339")]
    activated_at: OffsetDateTime,
    activated_by: String,
    #[serde(with = "time::serde::rfc3339::option")]
    ended_at: Option<OffsetDateTime>,
    ended_by: Option<String>,
}

impl From<DeploymentRow> for Deployment {
    fn from(row: DeploymentRow) -> Self {
        let DeploymentRow { id, kind, name, tier, hardware, version, .. } = row;
        let DeploymentRow { activated_at, activated_by, ended_at, ended_by, .. } = row;
        Self { id, kind, name, tier, hardware, version, activated_at, activated_by, ended_at, ended_by }
    }
}

/// List what channels had, newest first.
#[utoipa::path(
    get,
    path = "/deployments",
    tag = "channels",
    params(PageQuery),
    responses((status = 200, body = Paged<Deployment>), Refused)
)]
async fn deployments(
    State(supply): State<Arc<Supply>>,
    who: Principal,
    Asked { page, .. }: Asked<Uuid>,
) -> Result<Json<Paged<Deployment>>, Problem> {
    who.require(&READ_RELEASES)?;
    let mut act = supply.kernel.begin(who).await?;
    let rows = db::deployments(&mut act, page.after, page.limit).await?;
    Ok(Json(Paged::new(rows, page.limit, |deployment: &Deployment| deployment.id)))
}

/// What a node has made of a release that it should hold.
#[derive(Debug, Serialize, ToSchema)]
struct NodeRelease {
    kind: String,
    name: String,
    version: String,
    /// The version of the same name that runs now.
    runs: Option<String>,
    state: ReleaseStateRow,
    /// Why it is refused, in a word.
    why: Option<String>,
    /// Why it is refused or waits, for people.
    detail: Option<String>,
    /// Bytes that have come, of `cost_bytes`.
    fetched_bytes: Option<i64>,
    cost_bytes: Option<i64>,
    #[serde(with = "time::serde::rfc3339")]
    reported_at: OffsetDateTime,
}

impl From<NodeReleaseRow> for NodeRelease {
    fn from(row: NodeReleaseRow) -> Self {
        let NodeReleaseRow { kind, name, version, runs, state, why, .. } = row;
        let NodeReleaseRow { detail, fetched_bytes, cost_bytes, reported_at, .. } = row;
        Self { kind, name, version, runs, state, why, detail, fetched_bytes, cost_bytes, reported_at }
    }
}

/// List what a node has made of the releases that it should hold.
#[utoipa::path(
    get,
    path = "/nodes/{node}/releases",
    tag = "channels",
    params(noderr_kernel::NodeParam),
    responses((status = 200, body = Vec<NodeRelease>), Refused)
)]
async fn of_node(
    State(supply): State<Arc<Supply>>,
    who: Principal,
    Path(node): NodePath,
) -> Result<Json<Vec<NodeRelease>>, Problem> {
    who.require(&READ_NODES)?;
    let mut act = supply.kernel.begin(who).await?;
    if !is_seen(&mut act, &node).await? {
        return Err(Problem::not_found("node"));
    }
    let rows = db::of_node(&mut act, &node).await?;
    Ok(Json(rows.into_iter().map(NodeRelease::from).collect()))
}
