//! Asking for an attestation, and accepting the registers of an attestation as the baseline.

use super::db;
use super::terms::{ATTEST, NO_ATTESTATION, NOTHING_TO_ATTEST};
use crate::nodes::find_node;
use crate::values::node_id;
use noderr_kernel::{Act, Problem};
use noderr_protocol::NodeId;
use serde_json::json;

/// Puts a challenge to a node, or repeats the challenge that is open; returns the challenge's name in hex.
pub(super) async fn request(act: &mut Act, node: &NodeId, mask: u32) -> Result<String, Problem> {
    act.require(&ATTEST)?;
    find_node(act, node).await?.ok_or_else(|| Problem::not_found("node"))?;
    let by = act.who().actor();
    let challenge = hex::encode(db::request(act, node, &by, mask).await?.ok_or(NOTHING_TO_ATTEST)?);
    act.record("node.attest", node, &json!({ "challenge": challenge })).await?;
    Ok(challenge)
}

/// Accepts the registers that one attestation has shown as the node's baseline.
pub(super) async fn accept(
    act: &mut Act,
    node: &NodeId,
    challenge: [u8; 16],
    mask: u32,
) -> Result<(), Problem> {
    act.require(&ATTEST)?;
    act.require_fresh_proof()?;
    find_node(act, node).await?.ok_or_else(|| Problem::not_found("node"))?;
    let pcrs = db::accept_baseline(act, node, &challenge).await?.ok_or(NO_ATTESTATION)?;
    // The verdict that stands is of the old baseline: the node is asked anew, and let out by its answer.
    let by = act.who().actor();
    db::request(act, node, &by, mask).await?;
    let detail = json!({ "challenge": hex::encode(challenge), "registers": pcrs });
    act.record("node.baseline", node, &detail).await?;
    Ok(())
}

/// Asks the nodes anew whose registers had changed: what is expected has changed too.
pub(super) async fn ask_changed(act: &mut Act, mask: u32) -> Result<(), Problem> {
    let by = act.who().actor();
    for node in db::changed(act).await? {
        db::request(act, &node_id(&node), &by, mask).await?;
    }
    Ok(())
}
