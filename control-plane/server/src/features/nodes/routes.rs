//! Listing, adding, changing and revoking nodes.

use super::db::{self, Node, NodeFilter};
use super::desired::{self, Change};
use super::revocation;
use crate::app::App;
use crate::features::audit;
use crate::http::{
    Asked, Json, NodePath, PageQuery, Paged, Path, Permission, Principal, Problem, ProblemBody,
};
use axum::extract::State;
use axum::http::StatusCode;
use noderr_protocol::{IdentityKind, NodeId};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show))
        .routes(routes!(change_desired))
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
    #[param(value_type = Option<String>)]
    identity: Option<IdentityKind>,
    /// Only nodes that are revoked, or are not.
    revoked: Option<bool>,
}

/// List nodes, newest first.
#[utoipa::path(get, path = "/nodes", tag = "nodes", params(PageQuery, Filter), security(("bearer" = [])),
    responses((status = 200, body = Paged<Node>), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn list(
    State(app): State<App>,
    who: Principal,
    Asked { page, filter }: Asked<Key, Filter>,
) -> Result<Json<Paged<Node>>, Problem> {
    who.require(Permission::ReadNodes)?;
    let mut tx = app.database.scoped(who.scope).await?;
    let filter = NodeFilter {
        operator: filter.operator,
        online: filter.online,
        identity: filter.identity.map(|kind| kind.to_string()),
        revoked: filter.revoked,
        after: page.after.map(|key| (key.at, key.id.as_bytes().to_vec())),
        id: None,
        limit: page.limit,
    };
    let rows = db::list(&mut tx, filter).await?;
    Ok(Json(Paged::new(rows, page.limit, |node: &Node| Key { at: node.created_at, id: node.id })))
}

/// What a page of nodes ends with.
#[derive(Debug, Serialize, Deserialize)]
struct Key {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    id: NodeId,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewNode {
    operator: Uuid,
    /// What people call it.
    #[schema(min_length = 1, max_length = 100)]
    label: String,
}

/// Give an approved operator a node: a new id, to be bound to the first TPM that enrols with its token.
#[utoipa::path(post, path = "/nodes", tag = "nodes", request_body = NewNode, security(("bearer" = [])),
    responses((status = 201, body = Node), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn create(
    State(app): State<App>,
    who: Principal,
    Json(new): Json<NewNode>,
) -> Result<(StatusCode, Json<Node>), Problem> {
    who.require(Permission::WriteNodes)?;
    let label = new.label.trim();
    if label.is_empty() || label.len() > 100 || label.contains('\0') {
        return Err(Problem::bad_request("label", "a node needs a label of 1 to 100 bytes"));
    }
    let mut salt = [0; 32];
    rand::rng().fill_bytes(&mut salt);
    let id = NodeId::derive(new.operator.as_bytes(), &salt);
    let mut tx = app.database.scoped(who.scope).await?;
    if !db::insert(&mut tx, &id, new.operator, label).await? {
        let detail = "there is no such operator, or it is not approved yet";
        return Err(Problem::conflict("operator-not-approved", detail));
    }
    let detail = json!({ "operator": new.operator, "label": label });
    audit::record(&mut tx, &who.actor, "node.add", &id.to_string(), &detail).await?;
    let node = db::find(&mut tx, &id).await?.ok_or_else(|| Problem::not_found("node"))?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(node)))
}

/// Show one node.
#[utoipa::path(get, path = "/nodes/{node}", tag = "nodes", params(("node" = String, Path)), security(("bearer" = [])),
    responses((status = 200, body = Node), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn show(State(app): State<App>, who: Principal, Path(node): NodePath) -> Result<Json<Node>, Problem> {
    who.require(Permission::ReadNodes)?;
    let mut tx = app.database.scoped(who.scope).await?;
    db::find(&mut tx, &node).await?.map(Json).ok_or_else(|| Problem::not_found("node"))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DesiredChange {
    /// Take no work, stay connected.
    paused: Option<bool>,
    /// Seconds between telemetry samples.
    #[schema(minimum = 1, maximum = 3600)]
    sample_every_s: Option<i32>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DesiredVersion {
    /// The node reports this version when it has applied the change.
    version: i64,
}

/// Change what a node should be. What is left out stays as it is.
#[utoipa::path(patch, path = "/nodes/{node}/desired", tag = "nodes", params(("node" = String, Path)), request_body = DesiredChange, security(("bearer" = [])),
    responses((status = 200, body = DesiredVersion), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn change_desired(
    State(app): State<App>,
    who: Principal,
    Path(node): NodePath,
    Json(wish): Json<DesiredChange>,
) -> Result<Json<DesiredVersion>, Problem> {
    who.require(Permission::WriteNodes)?;
    if wish.sample_every_s.is_some_and(|seconds| !(1..=3600).contains(&seconds)) {
        return Err(Problem::bad_request("sample-every", "sample_every_s must be 1 to 3600"));
    }
    let change = Change { paused: wish.paused, sample_every_s: wish.sample_every_s };
    let mut tx = app.database.scoped(who.scope).await?;
    let version =
        desired::change(&mut tx, &node, &change).await?.ok_or_else(|| Problem::not_found("node"))?;
    let detail = json!({ "version": version, "paused": wish.paused, "sample_every_s": wish.sample_every_s });
    audit::record(&mut tx, &who.actor, "node.change", &node.to_string(), &detail).await?;
    tx.commit().await?;
    Ok(Json(DesiredVersion { version }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Revocation {
    /// Why; kept with the node and in the audit log.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// Revoke a node for good: its session ends within seconds, no new one is let in, its certificates are void.
#[utoipa::path(post, path = "/nodes/{node}/revoke", tag = "nodes", params(("node" = String, Path)), request_body = Revocation, security(("bearer" = [])),
    responses((status = 200, body = Node), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn revoke(
    State(app): State<App>,
    who: Principal,
    Path(node): NodePath,
    Json(revocation): Json<Revocation>,
) -> Result<Json<Node>, Problem> {
    who.require(Permission::WriteNodes)?;
    let reason = revocation.reason.trim();
    if reason.is_empty() || reason.len() > 500 || reason.contains('\0') {
        return Err(Problem::bad_request("reason", "say why, in 1 to 500 bytes"));
    }
    let mut tx = app.database.scoped(who.scope).await?;
    let now = revocation::revoke(&mut tx, &node, reason).await?;
    let shown = db::find(&mut tx, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    if now {
        let detail = json!({ "reason": reason });
        audit::record(&mut tx, &who.actor, "node.revoke", &node.to_string(), &detail).await?;
    }
    tx.commit().await?;
    Ok(Json(shown))
}

/// Unbind a node from its TPM, so that another box may enrol under its id with a new install token.
#[utoipa::path(post, path = "/nodes/{node}/unbind", tag = "nodes", params(("node" = String, Path)), security(("bearer" = [])),
    responses((status = 204), (status = "4XX", body = ProblemBody, content_type = "application/problem+json")))]
async fn unbind(State(app): State<App>, who: Principal, Path(node): NodePath) -> Result<StatusCode, Problem> {
    who.require(Permission::WriteNodes)?;
    let mut tx = app.database.scoped(who.scope).await?;
    let shown = db::find(&mut tx, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    if shown.revoked_at.is_some() {
        return Err(Problem::conflict(
            "revoked",
            "the node is revoked, and for good: no box can enrol under its id",
        ));
    }
    if !db::unbind(&mut tx, &node).await? {
        return Err(Problem::not_found("node"));
    }
    revocation::void_certificates(&mut tx, &node).await?;
    audit::record(&mut tx, &who.actor, "node.unbind", &node.to_string(), &json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
