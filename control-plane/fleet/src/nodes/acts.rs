//! Adding, changing, revoking and unbinding nodes.

use super::db::{self, Node};
use super::desired::{self, Change, TierWish};
use super::revocation;
use super::terms::WRITE_NODES;
use super::terms::{NO_TPM, OPERATOR_NOT_APPROVED, REVOKED};
use noderr_kernel::{Act, Line, Problem};
use noderr_protocol::NodeId;
use rand::RngCore as _;
use serde_json::json;
use uuid::Uuid;

/// Gives an approved operator a node: a new id, which is bound to the first TPM that enrols with a token of
/// the node.
pub(super) async fn add(act: &mut Act, operator: Uuid, label: &Line<100>) -> Result<Node, Problem> {
    act.require(&WRITE_NODES)?;
    let mut salt = [0; 32];
    rand::rng().fill_bytes(&mut salt);
    let id = NodeId::derive(operator.as_bytes(), &salt);
    if !db::insert(act, &id, operator, label).await? {
        return Err(OPERATOR_NOT_APPROVED.into());
    }
    act.record("node.add", id, &json!({ "operator": operator, "label": &**label })).await?;
    find(act, &id).await
}

/// Changes a node's desired state; returns the new version, which the node reports when it has applied the
/// change.
pub(super) async fn change(act: &mut Act, node: &NodeId, wish: &Change) -> Result<i64, Problem> {
    act.require(&WRITE_NODES)?;
    let version = desired::change(act, node, wish).await?.ok_or_else(|| Problem::not_found("node"))?;
    let detail = json!({ "version": version, "paused": wish.paused, "sample_every_s": wish.sample_every_s, "tier": wish.tier.map(TierWish::as_str) });
    act.record("node.change", node, &detail).await?;
    Ok(version)
}

/// Revokes a node for good. A node that is revoked already keeps its reason. A TPM that is barred with the node enrols under no
/// node any more.
pub(super) async fn revoke(
    act: &mut Act,
    node: &NodeId,
    reason: &Line<500>,
    bar_tpm: bool,
) -> Result<Node, Problem> {
    act.require(&WRITE_NODES)?;
    act.require_fresh_proof()?;
    let mut barred = None;
    if bar_tpm {
        find(act, node).await?;
        let by = act.who().actor();
        barred = Some(db::bar_tpm(act, node, reason, &by).await?.ok_or(NO_TPM)?);
    }
    let revoked = revocation::revoke(act, node, reason).await?;
    // The audit log has one writer at a time: whoever writes must wait for nobody any more.
    if let Some(tpm) = barred {
        act.record("tpm.bar", node, &json!({ "tpm": hex::encode(tpm), "reason": &**reason })).await?;
    }
    if revoked {
        act.record("node.revoke", node, &json!({ "reason": &**reason })).await?;
    }
    find(act, node).await
}

/// Unbinds a node from its TPM, so that another box may enrol under its id.
pub(super) async fn unbind(act: &mut Act, node: &NodeId) -> Result<(), Problem> {
    act.require(&WRITE_NODES)?;
    act.require_fresh_proof()?;
    if find(act, node).await?.revoked_at.is_some() {
        return Err(REVOKED.into());
    }
    if !db::unbind(act, node).await? {
        return Err(Problem::not_found("node"));
    }
    // A token that was issued for the box before must not let another one in.
    db::withdraw_tokens(act, node).await?;
    revocation::void_certificates(act, node).await?;
    act.record("node.unbind", node, &json!({})).await?;
    Ok(())
}

async fn find(act: &mut Act, node: &NodeId) -> Result<Node, Problem> {
    db::find(act, node).await?.ok_or_else(|| Problem::not_found("node"))
}
