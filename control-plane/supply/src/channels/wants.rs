//! What a node should hold.

use super::db;
use noderr_protocol::release::{NamedRelease, ReleaseName, Releases, Tier};
use noderr_protocol::{NodeId, Section, SectionBody as _};
use sqlx::PgConnection;

/// The most releases of one document.
const MOST: usize = 16;

/// The section that tells a node what it should hold; none if no channel is for it.
pub(super) async fn section(connection: &mut PgConnection, node: &NodeId) -> sqlx::Result<Option<Section>> {
    let wanted = db::wanted(connection, node).await?;
    if wanted.is_empty() {
        return Ok(None);
    }
    if wanted.len() > MOST {
        tracing::error!(node = %node.short(), "more than {MOST} channels are for this node; the rest is left out");
    }
    let named = |(kind, name, version): &(String, String, String)| {
        ReleaseName::new(kind, name, version).ok().map(|release| NamedRelease::from(&release))
    };
    let wanted: Vec<_> = wanted.iter().filter_map(named).take(MOST).collect();
    let tier = db::tier(connection, node).await?.and_then(|tier| Tier::named(&tier).ok());
    let Ok(wanted) = wanted.try_into() else { return Ok(None) };
    Ok(Releases { tier, wanted }.section().ok())
}
