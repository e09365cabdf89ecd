//! Revocation: voids the node and all its certificates in one transaction, and tells every instance at the
//! commit.

use super::terms::VOIDED;
use crate::state::{Fleet, Published};
use anyhow::Context as _;
use atomic_write_file::AtomicWriteFile;
use noderr_kernel::{notify, unix_now};
use noderr_protocol::NodeId;
use sqlx::PgConnection;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

const LIST_VALIDITY: Duration = Duration::from_secs(30 * 86_400);
/// Seconds after which an unchanged list is written anew, which is long before the list ends.
const LIST_RENEWAL_S: i64 = 86_400;

/// Revokes a node; `false` if the principal can see no such node, or the node is revoked already.
pub(super) async fn revoke(connection: &mut PgConnection, node: &NodeId, reason: &str) -> sqlx::Result<bool> {
    let id = node.as_bytes().as_slice();
    let done = sqlx::query!(
        "UPDATE nodes SET revoked_at = now(), revoked_reason = $2 WHERE id = $1 AND revoked_at IS NULL",
        id,
        reason
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    void_certificates(connection, node).await?;
    Ok(true)
}

/// Voids all certificates of a node and ends its session, at whatever instance. A node that has enrolled anew
/// connects again with its newest certificate.
pub(crate) async fn void_certificates(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE node_certificates SET revoked_at = now() WHERE node_id = $1 AND revoked_at IS NULL",
        node.as_bytes().as_slice()
    )
    .execute(&mut *connection)
    .await?;
    notify(connection, &VOIDED, &node.to_string()).await
}

/// Acts on the notice that a node's certificates are void: ends the node's session at this instance.
pub(super) async fn end_session(fleet: &Fleet, node: &str) -> anyhow::Result<()> {
    let node: NodeId = node.parse()?;
    if let Some(broker) = fleet.broker() {
        broker.disconnect(&node);
    }
    Ok(())
}

/// Ends the sessions of nodes that may not be connected: nodes that are revoked or of a suspended operator,
/// and sessions whose certificate was voided. Also brings the revocation list for an external broker up to
/// date.
pub(super) async fn look_round(fleet: &Fleet) -> anyhow::Result<()> {
    publish(fleet).await?;
    let Some(broker) = fleet.broker() else { return Ok(()) };
    let attached = broker.attached().unwrap_or_default();
    let nodes: Vec<_> = attached.iter().map(|session| session.node.as_bytes().to_vec()).collect();
    let serials: Vec<_> = attached.iter().map(|session| session.serial.to_vec()).collect();
    let refused = sqlx::query_scalar!(
        r#"SELECT s.ordinal AS "ordinal!" FROM UNNEST($1::bytea[], $2::bytea[]) WITH ORDINALITY AS s (node, serial, ordinal)
           LEFT JOIN admitted w ON w.id = s.node LEFT JOIN node_certificates c ON c.serial = s.serial
           WHERE w.id IS NULL OR c.serial IS NULL OR c.revoked_at IS NOT NULL"#,
        &nodes,
        &serials
    )
    .fetch_all(fleet.kernel.database.system())
    .await?;
    for ordinal in refused {
        if let Some(session) = usize::try_from(ordinal - 1).ok().and_then(|index| attached.get(index)) {
            broker.disconnect(&session.node);
        }
    }
    Ok(())
}

/// Writes the revocation list for an external broker, where a list is configured: certificates that were
/// voided, and all certificates of nodes that may not connect.
pub(super) async fn publish(fleet: &Fleet) -> anyhow::Result<()> {
    let external = fleet.settings.broker.external.as_ref();
    let Some(path) = external.and_then(|broker| broker.revocation_list.as_ref()) else { return Ok(()) };
    let rows = sqlx::query!(
        r#"SELECT c.serial, extract(epoch FROM coalesce(c.revoked_at, n.revoked_at, o.decided_at, now()))::bigint AS "since!"
           FROM node_certificates c JOIN nodes n ON n.id = c.node_id JOIN operators o ON o.id = n.operator_id
           WHERE c.not_after > now() AND (c.revoked_at IS NOT NULL OR NOT EXISTS (SELECT FROM admitted w WHERE w.id = n.id))
           ORDER BY c.serial"#
    )
    .fetch_all(fleet.kernel.database.system())
    .await?;
    let list: Vec<_> =
        rows.iter().filter_map(|row| Some((row.serial.as_slice().try_into().ok()?, row.since))).collect();
    let at = unix_now();
    let mut published = fleet.published.lock().await;
    if published.as_ref().is_some_and(|known| known.list == list && at - known.at < LIST_RENEWAL_S) {
        return Ok(());
    }
    tokio::task::block_in_place(|| write_list(fleet, path, &list, at))
        .context("the list of revoked certificates is not up to date")?;
    *published = Some(Published { at, list });
    Ok(())
}

fn write_list(fleet: &Fleet, path: &Path, list: &[([u8; 16], i64)], now: i64) -> anyhow::Result<()> {
    let list = fleet.authority.revocation_list(list, now.unsigned_abs(), now, LIST_VALIDITY)?;
    let write = || {
        let mut file = AtomicWriteFile::open(path)?;
        // The broker runs as another user, and the list is no secret.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(list.as_bytes())?;
        file.commit()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
