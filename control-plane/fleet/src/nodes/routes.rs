//! The API of nodes.

use super::acts;
use super::db::{self, Node, NodeFilter};
use super::desired::{Change, TierWish};
use super::terms::READ_NODES;
use crate::state::Fleet;
use axum::extract::State;
use axum::http::StatusCode;
use noderr_kernel::{
    Asked, Json, Line, Made, NodeParam, NodePath, PageQuery, Paged, Path, Principal, Problem, Refused,
    Request, Within,
};
use noderr_protocol::{IdentityKind, NodeId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<Arc<Fleet>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show))
        .routes(routes!(change))
        .routes(routes!(revoke))
        .routes(routes!(unbind))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only nodes of this operator.
    operator: Option<Uuid>,
    /// Only nodes that are online, or are not.
    online: Option<bool>,
    /// Only nodes with this kind of identity.
    #[param(inline, value_type = Option<Identity>)]
    identity: Option<IdentityKind>,
    /// Only nodes that are revoked, or are not.
    revoked: Option<bool>,
}

/// The kind of identity behind a node's key.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "a schema for the protocol's own type")]
enum Identity {
    Tpm,
    Software,
}

/// The key that a page of nodes ends with.
#[derive(Debug, Serialize, Deserialize)]
struct Key {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    id: NodeId,
}

/// List nodes, newest first.
#[utoipa::path(
    get,
    path = "/nodes",
    tag = "nodes",
    params(PageQuery, Filter),
    responses((status = 200, body = Paged<Node>), Refused)
)]
async fn list(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Asked { page, filter }: Asked<Key, Filter>,
) -> Result<Json<Paged<Node>>, Problem> {
    who.require(&READ_NODES)?;
    let filter = NodeFilter {
        operator: filter.operator,
        online: filter.online,
        identity: filter.identity.map(|kind| kind.to_string()),
        revoked: filter.revoked,
        after: page.after.map(|key| (key.at, key.id.as_bytes().to_vec())),
        id: None,
        limit: page.limit,
    };
    let mut act = fleet.kernel.begin(who).await?;
    let rows = db::list(&mut act, filter).await?;
    Ok(Json(Paged::new(rows, page.limit, |node: &Node| Key { at: node.created_at, id: node.id })))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewNode {
    operator: Uuid,
    /// The name that people give the node.
    label: Line<100>,
}

/// Give an approved operator a node: a new id, which is bound to the first TPM that enrols with a token of
/// the node.
#[utoipa::path(
    post,
    path = "/nodes",
    tag = "nodes",
    request_body = NewNode,
    responses((status = 201, body = Node), Refused)
)]
async fn create(State(fleet): State<Arc<Fleet>>, request: Request<NewNode>) -> Result<Made, Problem> {
    fleet
        .kernel
        .make(request, |act, new| Box::pin(async move { acts::add(act, new.operator, &new.label).await }))
        .await
}

/// Show one node.
#[utoipa::path(
    get,
    path = "/nodes/{node}",
    tag = "nodes",
    params(NodeParam),
    responses((status = 200, body = Node), Refused)
)]
async fn show(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path(node): NodePath,
) -> Result<Json<Node>, Problem> {
    who.require(&READ_NODES)?;
    let mut act = fleet.kernel.begin(who).await?;
    db::find(&mut act, &node).await?.map(Json).ok_or_else(|| Problem::not_found("node"))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DesiredChange {
    /// Take no work, stay connected.
    paused: Option<bool>,
    /// Seconds between telemetry samples.
    sample_every_s: Option<Within<1, 3600>>,
    /// The tier that the node is in, or `none`: says which channels are for it.
    #[schema(inline)]
    tier: Option<TierWish>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DesiredVersion {
    /// The node reports this version when it has applied the change.
    version: i64,
}

/// Change a node's desired state. Fields that are left out stay as they are.
#[utoipa::path(
    patch,
    path = "/nodes/{node}/desired",
    tag = "nodes",
    params(NodeParam),
    request_body = DesiredChange,
    responses((status = 200, body = DesiredVersion), Refused)
)]
async fn change(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path(node): NodePath,
    Json(wish): Json<DesiredChange>,
) -> Result<Json<DesiredVersion>, Problem> {
    let wish = Change {
        paused: wish.paused,
        sample_every_s: wish.sample_every_s.map(|s| s.get().into()),
        tier: wish.tier,
    };
    let mut act = fleet.kernel.begin(who).await?;
    let version = acts::change(&mut act, &node, &wish).await?;
    act.commit().await?;
    Ok(Json(DesiredVersion { version }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Revocation {
    /// The reason; kept with the node and in the audit log.
    reason: Line<500>,
    /// Whether the TPM behind the node is barred too: it then enrols under no node any more.
    #[serde(default)]
    bar_tpm: bool,
}

/// Revoke a node for good: its session ends within seconds, no new session begins, its certificates are void.
#[utoipa::path(
    post,
    path = "/nodes/{node}/revoke",
    tag = "nodes",
    params(NodeParam),
    request_body = Revocation,
    responses((status = 200, body = Node), Refused)
)]
async fn revoke(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path(node): NodePath,
    Json(revocation): Json<Revocation>,
) -> Result<Json<Node>, Problem> {
    let mut act = fleet.kernel.begin(who).await?;
    let shown = acts::revoke(&mut act, &node, &revocation.reason, revocation.bar_tpm).await?;
    act.commit().await?;
    Ok(Json(shown))
}

/// Unbind a node from its TPM, so that another box may enrol under its id with a new install token.
#[utoipa::path(
    post,
    path = "/nodes/{node}/unbind",
    tag = "nodes",
    params(NodeParam),
    responses((status = 204), Refused)
)]
async fn unbind(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path(node): NodePath,
) -> Result<StatusCode, Problem> {
    let mut act = fleet.kernel.begin(who).await?;
    acts::unbind(&mut act, &node).await?;
    act.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
