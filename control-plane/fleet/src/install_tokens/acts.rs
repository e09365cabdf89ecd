//! Issuing and withdrawing install tokens.

use super::db::{self, TokenRow};
use super::terms::MAY_NOT_ENROL;
use crate::nodes::WRITE_NODES;
use noderr_kernel::{Act, Problem, hash_secret, new_secret};
use noderr_protocol::NodeId;
use noderr_protocol::enrol::INSTALL_TOKEN_PREFIX;
use serde_json::json;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// Issues an install token; returns its row, and the secret, which is shown this once.
pub(super) async fn issue(
    act: &mut Act,
    node: &NodeId,
    life: Duration,
) -> Result<(TokenRow, String), Problem> {
    act.require(&WRITE_NODES)?;
    act.require_fresh_proof()?;
    let may = db::node_may_enrol(act, node).await?.ok_or_else(|| Problem::not_found("node"))?;
    if !may {
        return Err(MAY_NOT_ENROL.into());
    }
    let secret = new_secret(INSTALL_TOKEN_PREFIX);
    let (created_by, expires_at) = (act.who().actor(), OffsetDateTime::now_utc() + life);
    let row = db::insert(act, node, &hash_secret(&secret), &created_by, expires_at).await?;
    act.record("install-token.issue", node, &json!({ "token": row.id })).await?;
    Ok((row, secret))
}

/// Withdraws an install token: no box enrols with it any more. A box that has enrolled with it stays.
pub(super) async fn withdraw(act: &mut Act, node: &NodeId, token: Uuid) -> Result<(), Problem> {
    act.require(&WRITE_NODES)?;
    if !db::withdraw(act, node, token).await? {
        return Err(Problem::not_found("install token"));
    }
    act.record("install-token.withdraw", node, &json!({ "token": token })).await?;
    Ok(())
}
