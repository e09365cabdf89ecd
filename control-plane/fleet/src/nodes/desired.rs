//! The desired state of nodes: a numbered document for each, sent when the document changes and at every
//! hello.

use super::db::node_id;
use super::terms::DESIRED;
use crate::state::Fleet;
use noderr_kernel::notify;
use noderr_protocol::{Base, DesiredState, Down, List, Message as _, NodeId, Section, SectionBody as _};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

/// A change of the base section; absent fields stay as they are.
pub(super) struct Change {
    pub(super) paused: Option<bool>,
    pub(super) sample_every_s: Option<i32>,
}

/// Makes a new version and tells every instance; returns the version, or `None` if the principal can see no
/// such node.
pub(super) async fn change(
    connection: &mut PgConnection,
    node: &NodeId,
    change: &Change,
) -> sqlx::Result<Option<i64>> {
    let version = sqlx::query_scalar!(
        "UPDATE nodes SET desired_version = desired_version + 1, desired_paused = coalesce($2, desired_paused),
           desired_sample_every_s = coalesce($3, desired_sample_every_s), desired_digest = NULL WHERE id = $1 RETURNING desired_version",
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

/// Acts on the notice that a node's document has changed: the instance that the node is connected to sends
/// the document.
pub(super) async fn tell(fleet: &Fleet, node: &str) -> anyhow::Result<()> {
    let node = node.parse()?;
    if fleet.serves(&node) {
        send(fleet, &node).await?;
    }
    Ok(())
}

/// Sends the newest document to a node. A node that is not connected gets the document at its next hello.
pub(super) async fn send(fleet: &Fleet, node: &NodeId) -> sqlx::Result<()> {
    if let Some(document) = newest(fleet, node).await? {
        fleet.say(node, &document).await;
    }
    Ok(())
}

/// Composes the newest document. What differs from the sections that were last sent gets a version of its own: a node
/// ignores another document under a number that it knows.
async fn newest(fleet: &Fleet, node: &NodeId) -> sqlx::Result<Option<Down>> {
    let id = node.as_bytes().as_slice();
    let mut tx = fleet.kernel.database.begin().await?;
    // Locked: two instances must not send two documents under one number.
    let row = sqlx::query!(
        "SELECT desired_version, desired_digest FROM nodes WHERE id = $1 AND revoked_at IS NULL FOR NO KEY UPDATE",
        id
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let Some((sections, digest)) = composed(fleet.kernel.hooks().sections(&mut tx, node).await?) else {
        tracing::error!(node = %node.short(), "a desired state is too large for one message and is not sent");
        return Ok(None);
    };
    let sent = row.desired_digest.as_deref();
    let version = row.desired_version + i64::from(sent.is_some_and(|sent| sent != digest));
    if sent != Some(&digest) {
        sqlx::query!(
            "UPDATE nodes SET desired_version = $2, desired_digest = $3 WHERE id = $1",
            id,
            version,
            digest.as_slice()
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(Some(Down::DesiredState(DesiredState { version: version.unsigned_abs(), sections })))
}

/// Sections that fit into one message, and their SHA-256.
fn composed(sections: Vec<Section>) -> Option<(List<Section, 32>, [u8; 32])> {
    let sections: List<Section, 32> = sections.try_into().ok()?;
    // As long as a document of any number can get.
    let longest = DesiredState { version: u64::MAX, sections: sections.clone() };
    let bytes = Down::DesiredState(longest).encode().ok()?;
    Some((sections, Sha256::digest(bytes).into()))
}

/// Makes the base section of a node.
pub(super) async fn base(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Option<Section>> {
    let row = sqlx::query!(
        "SELECT desired_paused, desired_sample_every_s FROM nodes WHERE id = $1",
        node.as_bytes().as_slice()
    )
    .fetch_optional(connection)
    .await?;
    let base = row.map(|row| Base {
        paused: row.desired_paused,
        sample_every_s: u16::try_from(row.desired_sample_every_s).unwrap_or(u16::MAX),
    });
    Ok(base.and_then(|base| base.section().ok()))
}

/// Sends the newest document to every node connected here that has not reported on it.
pub(super) async fn look_round(fleet: &Fleet) -> anyhow::Result<()> {
    let behind = sqlx::query_scalar!(
        "SELECT id FROM nodes WHERE id = ANY($1) AND actual_version < desired_version",
        &fleet.attached()
    )
    .fetch_all(fleet.kernel.database.system())
    .await?;
    for id in behind {
        send(fleet, &node_id(&id)).await?;
    }
    Ok(())
}
