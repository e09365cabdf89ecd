//! Judges nodes by policy and evidence, and acts on the judgement.

use super::db::{self, Policy};
use super::terms::in_words;
use crate::nodes::tell_of_desired;
use crate::settings::EnrolmentSettings;
use crate::values::node_id;
use noderr_kernel::record;
use noderr_protocol::{NodeId, Quarantine, Section, SectionBody as _, Text};
use serde_json::json;
use sqlx::PgConnection;

/// Judges these nodes now, in the transaction of what has changed about them. Call it last: it may write to the audit log,
/// which has one writer at a time.
pub(crate) async fn judge(
    connection: &mut PgConnection,
    settings: &EnrolmentSettings,
    nodes: &[Vec<u8>],
) -> sqlx::Result<usize> {
    db::lock(connection, nodes).await?;
    let most = i64::try_from(nodes.len()).unwrap_or(i64::MAX);
    let misplaced = db::misplaced(connection, &Policy::of(settings), Some(nodes), most).await?;
    for judged in &misplaced {
        let reason = judged.reason.as_deref();
        db::place(connection, &judged.id, reason).await?;
        let node = node_id(&judged.id);
        tell_of_desired(connection, &node).await?;
        let action = if reason.is_some() { "node.quarantine" } else { "node.release" };
        let detail = json!({ "why": reason.or(judged.before.as_deref()) });
        record(connection, "attestation", action, &node.to_string(), &detail).await?;
        let why = reason.map_or("released", |reason| {
            super::terms::REASONS.iter().find(|(name, _)| *name == reason).map_or("other", |(name, _)| name)
        });
        metrics::counter!("noderr_quarantines_total", "why" => why).increment(1);
    }
    Ok(misplaced.len())
}

/// The section that tells a node why it is in quarantine; none if it is not.
pub(super) async fn section(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Option<Section>> {
    let Some(reason) = db::reason(connection, node.as_bytes()).await? else { return Ok(None) };
    Ok(Quarantine { why: Text::truncated(in_words(&reason)) }.section().ok())
}
