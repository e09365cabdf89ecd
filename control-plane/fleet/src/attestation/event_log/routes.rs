//! The API of explanations.

use super::explain::{Change, explain};
use super::{db, unreadable};
use crate::attestation::terms::{Challenge, NO_ATTESTATION};
use crate::nodes::{READ_NODES, find_node};
use crate::state::Fleet;
use axum::extract::State;
use noderr_attestation::EventLog;
use noderr_kernel::{Json, Path, Principal, Problem, Refused};
use noderr_protocol::NodeId;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(in crate::attestation) fn routes() -> OpenApiRouter<Arc<Fleet>> {
    OpenApiRouter::new().routes(routes!(explanation))
}

/// Which measurements make an attestation's registers differ from the node's baseline, by the event logs that the box has
/// shown: believed as far as they lead to the values that the TPM has quoted.
#[utoipa::path(
    get,
    path = "/nodes/{node}/attestations/{challenge}/explanation",
    tag = "attestation",
    params(
        ("node" = String, Path, description = "The node's id", pattern = "^[0-9a-f]{64}$"),
        ("challenge" = String, Path, description = "The attestation's challenge", pattern = "^[0-9a-f]{32}$")
    ),
    responses((status = 200, body = Vec<Change>), Refused)
)]
async fn explanation(
    State(fleet): State<Arc<Fleet>>,
    who: Principal,
    Path((node, Challenge(challenge))): Path<(NodeId, Challenge)>,
) -> Result<Json<Vec<Change>>, Problem> {
    who.require(&READ_NODES)?;
    let mut act = fleet.kernel.begin(who).await?;
    find_node(&mut act, &node).await?.ok_or_else(|| Problem::not_found("node"))?;
    let quoted = db::shown(&mut act, &node, &challenge).await?.ok_or(NO_ATTESTATION)?;
    let baseline = db::baseline(&mut act, &node).await?;
    let logs = db::of_node(&mut act, &node).await?;
    drop(act);
    let of_this = logs.iter().find(|log| log.challenge.as_deref() == Some(&challenge[..]));
    let nothing_shown = match of_this {
        Some(log) => unreadable(&log.bytes),
        None => Some("the box has not shown the event log of this start yet".to_owned()),
    };
    let logs: Vec<_> = logs.iter().filter_map(|log| EventLog::parse(&log.bytes).ok()).collect();
    Ok(Json(explain(baseline.as_ref(), &quoted, &logs, nothing_shown.as_deref())))
}
