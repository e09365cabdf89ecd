//! The API of barred TPMs: a TPM is barred with the revocation of its node, seen here, and let in again here.

use crate::nodes::{READ_NODES, WRITE_NODES};
use crate::state::Fleet;
use axum::extract::State;
use axum::http::StatusCode;
use noderr_kernel::{Asked, Json, PageQuery, Paged, Path, Principal, Problem, Refused};
use noderr_protocol::{HexDigest, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Fleet>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(admit))
}

/// A TPM that enrols under no node.
#[derive(Debug, Serialize, ToSchema)]
struct BarredTpm {
    /// The fingerprint of the endorsement key, 64 lowercase hex digits.
    tpm: String,
    reason: String,
    /// The node that the TPM stood behind.
    #[schema(value_type = String)]
    node: NodeId,
    barred_by: String,
    #[serde(with = "time::serde::rfc3339")]
    barred_at: OffsetDateTime,
}

struct Row {
    ek_fingerprint: Vec<u8>,
    reason: String,
    node_id: Vec<u8>,
    barred_by: String,
    barred_at: OffsetDateTime,
}

impl From<Row> for BarredTpm {
    fn from(row: Row) -> Self {
        Self {
            tpm: hex::encode(row.ek_fingerprint),
            reason: row.reason,
            node: crate::values::node_id(&row.node_id),
            barred_by: row.barred_by,
            barred_at: row.barred_at,
        }
    }
}

/// The key that a page of barred TPMs ends with.
#[derive(Serialize, Deserialize)]
struct Key(String);

/// List the barred TPMs, by fingerprint.
#[utoipa::path(
    get,
    path = "/tpms",
    tag = "attestation",
    params(PageQuery),
    responses((status = 200, body = Paged<BarredTpm>), Refused)
)]
async fn list(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Asked { page, .. }: Asked<Key>,
) -> Result<Json<Paged<BarredTpm>>, Problem> {
    who.require(&READ_NODES)?;
    who.require_staff()?;
    let mut act = fleet.kernel.begin(who).await?;
    let after = page.after.map(|Key(tpm)| tpm);
    let rows = sqlx::query_as!(
        Row,
        "SELECT ek_fingerprint, reason, node_id, barred_by, barred_at FROM barred_tpms
         WHERE $1::text IS NULL OR encode(ek_fingerprint, 'hex') > $1 ORDER BY ek_fingerprint LIMIT $2",
        after,
        page.limit + 1
    )
    .fetch_all(&mut *act)
    .await?;
    Ok(Json(Paged::new(rows, page.limit, |tpm: &BarredTpm| Key(tpm.tpm.clone()))))
}

/// Let a barred TPM in again: it may enrol under a node with an install token.
#[utoipa::path(
    delete,
    path = "/tpms/{tpm}",
    tag = "attestation",
    params(("tpm" = String, Path, description = "The fingerprint of the endorsement key", pattern = "^[0-9a-f]{64}$")),
    responses((status = 204), Refused)
)]
async fn admit(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path(tpm): Path<HexDigest>,
) -> Result<StatusCode, Problem> {
    let mut act = fleet.kernel.begin(who).await?;
    act.require(&WRITE_NODES)?;
    act.require_fresh_proof()?;
    if !delete(&mut act, &tpm.0).await? {
        return Err(Problem::not_found("barred TPM"));
    }
    let name = hex::encode(tpm.0);
    act.record("tpm.admit", &name, &json!({})).await?;
    act.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(connection: &mut PgConnection, tpm: &[u8; 32]) -> sqlx::Result<bool> {
    let gone = sqlx::query_scalar!(r#"SELECT admit_tpm($1) AS "gone!""#, tpm.as_slice());
    Ok(gone.fetch_one(connection).await? == 1)
}
