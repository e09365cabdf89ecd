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

/// Which of these nodes are revoked.
pub(crate) async fn revoked_among(app: &App, nodes: &[NodeId]) -> sqlx::Result<Vec<NodeId>> {
    let ids: Vec<Vec<u8>> = nodes.iter().map(|node| node.as_bytes().to_vec()).collect();
    let rows =
        sqlx::query_scalar!("SELECT id FROM nodes WHERE id = ANY($1) AND revoked_at IS NOT NULL", &ids)
            .fetch_all(app.database.system())
            .await?;
    Ok(rows.iter().map(|id| node_id(id)).collect())
}

/// Writes the list of revoked certificates for an external broker, where one is configured.
pub(crate) async fn publish_revocations(app: &App) -> sqlx::Result<()> {
    let Some(path) = app.config.broker.external.as_ref().and_then(|broker| broker.revocation_list.as_ref())
    else {
        return Ok(());
    };
    let rows = sqlx::query!(
        r#"SELECT serial, extract(epoch FROM revoked_at)::bigint AS "since!" FROM node_certificates
           WHERE revoked_at IS NOT NULL AND not_after > now()"#
    )
    .fetch_all(app.database.system())
    .await?;
    let revoked: Vec<_> =
        rows.iter().filter_map(|row| Some((row.serial.as_slice().try_into().ok()?, row.since))).collect();
    if let Err(error) = write_list(app, path, &revoked) {
        tracing::error!(error = format!("{error:#}"), "the list of revoked certificates is not up to date");
    }
    Ok(())
}

fn write_list(app: &App, path: &Path, revoked: &[([u8; 16], i64)]) -> anyhow::Result<()> {
    let now = unix_now();
    let list = app.authority.revocation_list(revoked, now.unsigned_abs(), now, LIST_VALIDITY)?;
    let mut file = AtomicWriteFile::open(path)?;
    file.write_all(list.as_bytes())?;
    file.commit().with_context(|| format!("cannot write {}", path.display()))
}
