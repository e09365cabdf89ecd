//! Publishing, and another online key.

use super::db;
use super::publish::{Publication, Published, publish as publish_by, tell};
use super::terms::{NOT_FIT, WRITE_RELEASES};
use super::vouch::{names, newest_root};
use crate::state::{self, Supply};
use noderr_kernel::{Act, Problem};
use noderr_releases::{FileKey, ReleaseKey as _};
use serde_json::json;
use std::sync::Arc;

/// Publishes what was signed elsewhere.
pub(super) async fn publish(
    supply: &Arc<Supply>,
    act: &mut Act,
    publication: Publication,
) -> Result<Published, Problem> {
    act.require(&WRITE_RELEASES)?;
    act.require_fresh_proof()?;
    let online = |role: &str| role == "snapshot" || role == "timestamp";
    if publication.metadata.iter().any(|signed| online(&signed.role)) {
        return Err(NOT_FIT.because("snapshots and timestamps are the control plane's own"));
    }
    let by = act.who().actor();
    let done = publish_by(supply, act, publication, &by).await?;
    let detail = json!({ "added": done.added, "withdrawn": done.withdrawn, "named_again": done.named_again });
    act.record("release.publish", "releases", &detail).await?;
    Ok(done)
}

/// Makes another online key, which is used once a root names the key.
pub(super) async fn next_online_key(supply: &Supply, act: &mut Act) -> Result<FileKey, Problem> {
    act.require(&WRITE_RELEASES)?;
    act.require_fresh_proof()?;
    db::hold_supply(act).await?;
    let root = newest_root(&db::metadata(act).await?)?;
    let is_named = |key: &FileKey| root.as_ref().is_some_and(|root| names(root, key));
    // Secrets are the control plane's own: the principal's role sees none of them. A crash between the two transactions leaves a key
    // that nobody has heard of, and that whoever asks next gets, on record.
    let mut own = supply.kernel.database.begin().await?;
    let key = state::next_online_key(&mut own, is_named).await?;
    own.commit().await?;
    tell(act).await?;
    act.record("release.online-key", key.public().id(), &json!({})).await?;
    Ok(key)
}
