//! Sends challenges to their nodes.

use super::db;
use crate::state::Fleet;
use crate::values::node_id;
use noderr_protocol::{AttestationChallenge, Down, NodeId};

/// Acts on the notice that a challenge waits for a node: the instance that the node is connected to sends it.
pub(super) async fn tell(fleet: &Fleet, node: &str) -> anyhow::Result<()> {
    let node = node.parse()?;
    if fleet.serves(&node) {
        send(fleet, &node).await?;
    }
    Ok(())
}

/// Sends every node connected here the challenge that was not sent yet: its notice was missed.
pub(super) async fn look_round(fleet: &Fleet) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    for node in db::unsent(fleet.kernel.database.system(), &fleet.served().await?).await? {
        if let Err(error) = send(fleet, &node_id(&node)).await {
            outcome = Err(error);
        }
    }
    Ok(outcome?)
}

/// Sends a node its unanswered challenge, if there is one.
pub(super) async fn send(fleet: &Fleet, node: &NodeId) -> sqlx::Result<()> {
    let answer_s = fleet.settings.enrolment.attest_answer_s.into();
    let Some(open) = db::sent(fleet.kernel.database.system(), node, answer_s).await? else { return Ok(()) };
    db::asked(fleet.kernel.database.system(), node).await?;
    let (Ok(challenge), Ok(nonce)) = (open.challenge.try_into(), open.nonce.try_into()) else {
        return Ok(());
    };
    let message = AttestationChallenge { challenge, nonce, pcr_mask: open.pcr_mask.cast_unsigned() };
    fleet.say(node, &Down::AttestationChallenge(message)).await;
    Ok(())
}
