//! What a node should be: a numbered document, sent when it changes and at every hello.

use super::db::node_id;
use super::terms::DESIRED;
use crate::state::Fleet;
use noderr_kernel::notify;
use noderr_protocol::{Base, DesiredState, Down, NodeId, Section, SectionBody as _};
use sqlx::PgConnection;

/// What an admin may change.
pub(super) struct Change {
    pub(super) paused: Option<bool>,
    pub(super) sample_every_s: Option<i32>,
}

/// Makes a new version and tells every instance; `None` if there is no such node to be seen.
pub(super) async fn change(
    connection: &mut PgConnection,
    node: &NodeId,
    change: &Change,
) -> sqlx::Result<Option<i64>> {
    let version = sqlx::query_scalar!(
        "UPDATE nodes SET desired_version = desired_version + 1, desired_paused = coalesce($2, desired_paused),
           desired_sample_every_s = coalesce($3, desired_sample_every_s) WHERE id = $1 RETURNING desired_version",
        node.as_bytes().as_slice(),
        change.paused,
        change.sample_every_s
    )
    .fetch_optional(&mut *connection)
    .await?;
    if version.is_some() {
        notify(connection, &DESIRED, &node.to_string()).await?;
    }
    Ok(version)
}

/// A notice says that a node's document has changed: it is sent by the instance the node is connected to.
pub(super) async fn tell(fleet: &Fleet, node: &str) -> anyhow::Result<()> {
    let node = node.parse()?;
    if fleet.serves(&node) {
        send(fleet, &node).await?;
    }
    Ok(())
}

/// Sends the newest document to a node. A node that is not there learns it at its next hello.
pub(super) async fn send(fleet: &Fleet, node: &NodeId) -> sqlx::Result<()> {
    // The version first: a change between the two makes a newer one, and the document is sent again.
    let version = sqlx::query_scalar!(
        "SELECT desired_version FROM nodes WHERE id = $1 AND revoked_at IS NULL",
        node.as_bytes().as_slice()
    )
    .fetch_optional(fleet.kernel.database.system())
    .await?;
    let Some(version) = version else { return Ok(()) };
    let sections = fleet.kernel.hooks().sections(node).await?;
    let Ok(sections) = sections.try_into() else {
        tracing::error!(node = %node.short(), "a desired state has too many sections and is not sent");
        return Ok(());
    };
    fleet.say(node, &Down::DesiredState(DesiredState { version: version.unsigned_abs(), sections })).await;
    Ok(())
}

/// What every node is told, whatever else it does.
pub(super) async fn base(fleet: &Fleet, node: &NodeId) -> sqlx::Result<Option<Section>> {
    let row = sqlx::query!(
        "SELECT desired_paused, desired_sample_every_s FROM nodes WHERE id = $1",
        node.as_bytes().as_slice()
    )
    .fetch_optional(fleet.kernel.database.system())
    .await?;
    let base = row.map(|row| Base {
        paused: row.desired_paused,
        sample_every_s: u16::try_from(row.desired_sample_every_s).unwrap_or(u16::MAX),
    });
    Ok(base.and_then(|base| base.section().ok()))
}

/// Sends the newest document to every node connected here that has not applied it.
pub(super) async fn look_round(fleet: &Fleet) -> anyhow::Result<()> {
    let Some(attached) = fleet.broker().and_then(|broker| broker.attached()) else { return Ok(()) };
    let ids: Vec<Vec<u8>> = attached.iter().map(|session| session.node.as_bytes().to_vec()).collect();
    let behind = sqlx::query_scalar!(
        "SELECT id FROM nodes WHERE id = ANY($1) AND actual_version < desired_version",
        &ids
    )
    .fetch_all(fleet.kernel.database.system())
    .await?;
    for id in behind {
        send(fleet, &node_id(&id)).await?;
    }
    Ok(())
}
