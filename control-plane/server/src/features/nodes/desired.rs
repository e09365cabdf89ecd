//! What a node should be: a numbered document, sent when it changes and at every hello.

use super::db::node_id;
use crate::app::App;
use crate::database::Tx;
use crate::notices::{self, Notice};
use noderr_protocol::{DesiredState, Down, NodeId};

/// What an admin may change.
pub(super) struct Change {
    pub(super) paused: Option<bool>,
    pub(super) sample_every_s: Option<i32>,
}

/// Makes a new version and tells every instance; `None` if there is no such node to be seen.
pub(super) async fn change(tx: &mut Tx, node: &NodeId, change: &Change) -> sqlx::Result<Option<i64>> {
    let version = sqlx::query_scalar!(
        "UPDATE nodes SET desired_version = desired_version + 1, desired_paused = coalesce($2, desired_paused),
           desired_sample_every_s = coalesce($3, desired_sample_every_s) WHERE id = $1 RETURNING desired_version",
        node.as_bytes().as_slice(),
        change.paused,
        change.sample_every_s
    )
    .fetch_optional(&mut **tx)
    .await?;
    if version.is_some() {
        notices::send(&mut **tx, Notice::Desired(*node)).await?;
    }
    Ok(version)
}

/// Sends the newest document to a node. A node that is not there learns it at its next hello.
pub(crate) async fn send_desired(app: &App, node: &NodeId) -> sqlx::Result<()> {
    let row = sqlx::query!(
        "SELECT desired_version, desired_paused, desired_sample_every_s FROM nodes WHERE id = $1 AND revoked_at IS NULL",
        node.as_bytes().as_slice()
    )
    .fetch_optional(app.database.system())
    .await?;
    if let (Some(row), Some(broker)) = (row, app.broker()) {
        let desired = DesiredState {
            version: row.desired_version.unsigned_abs(),
            paused: row.desired_paused,
            sample_every_s: u16::try_from(row.desired_sample_every_s).unwrap_or(u16::MAX),
        };
        if let Err(error) = broker.send(node, &Down::DesiredState(desired)).await {
            tracing::debug!(node = %node.short(), %error, "a desired state was not handed on");
        }
    }
    Ok(())
}

/// Which of these nodes have not applied their newest document.
pub(crate) async fn behind_among(app: &App, nodes: &[NodeId]) -> sqlx::Result<Vec<NodeId>> {
    let ids: Vec<Vec<u8>> = nodes.iter().map(|node| node.as_bytes().to_vec()).collect();
    let rows = sqlx::query_scalar!(
        "SELECT id FROM nodes WHERE id = ANY($1) AND actual_version < desired_version",
        &ids
    )
    .fetch_all(app.database.system())
    .await?;
    Ok(rows.iter().map(|id| node_id(id)).collect())
}
