//! Revocation: the node and all its certificates, in one transaction, told to every instance at its commit.

use super::db::node_id;
use crate::app::{App, unix_now};
use crate::database::Tx;
use crate::notices::{self, Notice};
use anyhow::Context as _;
use atomic_write_file::AtomicWriteFile;
use noderr_protocol::NodeId;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

const LIST_VALIDITY: Duration = Duration::from_secs(30 * 86_400);
/// A list that has not changed is written anew long before it ends.
const LIST_RENEWAL_S: i64 = 86_400;

/// Serial numbers of void certificates, and since when they are.
pub(crate) type Revocations = Vec<([u8; 16], i64)>;

/// Revokes a node; `false` if there is no such node to be seen, or it is revoked already.
pub(super) async fn revoke(tx: &mut Tx, node: &NodeId, reason: &str) -> sqlx::Result<bool> {
    let id = node.as_bytes().as_slice();
    let done = sqlx::query!(
        "UPDATE nodes SET revoked_at = now(), revoked_reason = $2 WHERE id = $1 AND revoked_at IS NULL",
        id,
        reason
    )
    .execute(&mut **tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    void_certificates(tx, node).await?;
    Ok(true)
}

/// Voids all certificates of a node and ends its session, wherever it is. A node that still has a right to one
/// connects again with its newest.
pub(crate) async fn void_certificates(tx: &mut Tx, node: &NodeId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE node_certificates SET revoked_at = now() WHERE node_id = $1 AND revoked_at IS NULL",
        node.as_bytes().as_slice()
    )
    .execute(&mut **tx)
    .await?;
    notices::send(&mut **tx, Notice::Voided(*node)).await
}

/// Which of these nodes may not be here: revoked, or of an operator who is suspended.
pub(crate) async fn unwelcome_among(app: &App, nodes: &[NodeId]) -> sqlx::Result<Vec<NodeId>> {
    let ids: Vec<Vec<u8>> = nodes.iter().map(|node| node.as_bytes().to_vec()).collect();
    let rows = sqlx::query_scalar!(
        "SELECT id FROM nodes WHERE id = ANY($1) AND id NOT IN (SELECT w.id FROM welcome w WHERE w.id = ANY($1))",
        &ids
    )
    .fetch_all(app.database.system())
    .await?;
    Ok(rows.iter().map(|id| node_id(id)).collect())
}

/// Writes the list of void certificates for an external broker, where one is configured: those that were voided
/// themselves, and those of nodes that may not come in.
pub(crate) async fn publish_revocations(app: &App) -> sqlx::Result<()> {
    let Some(path) = app.config.broker.external.as_ref().and_then(|broker| broker.revocation_list.as_ref())
    else {
        return Ok(());
    };
    let rows = sqlx::query!(
        r#"SELECT c.serial, extract(epoch FROM coalesce(c.revoked_at, n.revoked_at, o.decided_at, now()))::bigint AS "since!"
           FROM node_certificates c JOIN nodes n ON n.id = c.node_id JOIN operators o ON o.id = n.operator_id
           WHERE c.not_after > now() AND (c.revoked_at IS NOT NULL OR NOT EXISTS (SELECT FROM welcome w WHERE w.id = n.id))
           ORDER BY c.serial"#
    )
    .fetch_all(app.database.system())
    .await?;
    let revoked: Vec<_> =
        rows.iter().filter_map(|row| Some((row.serial.as_slice().try_into().ok()?, row.since))).collect();
    let now = unix_now();
    let mut written = app.revocations.lock().await;
    if written.as_ref().is_some_and(|(at, list)| *list == revoked && now - at < LIST_RENEWAL_S) {
        return Ok(());
    }
    match write_list(app, path, &revoked, now) {
        Ok(()) => *written = Some((now, revoked)),
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "the list of revoked certificates is not up to date"
            );
        }
    }
    Ok(())
}

fn write_list(app: &App, path: &Path, revoked: &Revocations, now: i64) -> anyhow::Result<()> {
    let list = app.authority.revocation_list(revoked, now.unsigned_abs(), now, LIST_VALIDITY)?;
    let mut file = AtomicWriteFile::open(path)?;
    file.write_all(list.as_bytes())?;
    file.commit().with_context(|| format!("cannot write {}", path.display()))
}
