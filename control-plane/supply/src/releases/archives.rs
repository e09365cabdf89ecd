//! The archives behind releases: whether they are there and of use to a box, and what an update costs.

use super::db::Update;
use super::terms::{NO_ARCHIVE, not_fit};
use crate::state::Supply;
use noderr_archive::Index;
use noderr_kernel::Problem;
use noderr_protocol::release::{Manifest, ReleaseName};
use noderr_releases::check_index;
use std::sync::Arc;

/// The index of a release's archive; refuses a release whose archive is not there, or is of no use to a box.
async fn require_index(supply: &Supply, manifest: &Manifest) -> Result<Index, Problem> {
    index(supply, manifest).await?.ok_or_else(|| {
        let name = hex::encode(manifest.archive.sha256.0);
        NO_ARCHIVE.because(format!("the archive {name} of {} is not here; upload it first", manifest.release))
    })
}

async fn index(supply: &Supply, manifest: &Manifest) -> Result<Option<Index>, Problem> {
    let name = hex::encode(manifest.archive.sha256.0);
    let length = supply.objects.length(&name).await.map_err(anyhow::Error::from)?;
    if length != Some(manifest.archive.bytes) {
        return Ok(None);
    }
    let index = supply.objects.range(&name, 0..manifest.archive.index_bytes).await;
    let (index, described) = (index.map_err(anyhow::Error::from)?, manifest.clone());
    let checked = tokio::task::spawn_blocking(move || check_index(&described, &index)).await;
    let checked = checked.map_err(anyhow::Error::from)?;
    checked.map(Some).map_err(|why| not_fit(format!("{}: {why}", manifest.release)))
}

/// What travels to a box that holds the version before, if there is one here that can be compared. Refuses a release whose archive
/// is not there, or is of no use to a box.
pub(super) async fn cost_of_update(
    supply: Arc<Supply>,
    manifest: Manifest,
    named: Arc<Vec<(Manifest, Vec<u8>)>>,
) -> Result<(ReleaseName, Option<Update>), Problem> {
    let new = require_index(&supply, &manifest).await?;
    let update = cost_beyond(&supply, &manifest, &new, &named).await;
    Ok((manifest.release, update))
}

async fn cost_beyond(
    supply: &Supply,
    manifest: &Manifest,
    new: &Index,
    named: &[(Manifest, Vec<u8>)],
) -> Option<Update> {
    let is_before = |other: &&Manifest| {
        let (other, this) = (&other.release, &manifest.release);
        other.series == this.series && other.version < this.version
    };
    let before = named.iter().map(|(manifest, _)| manifest).filter(is_before);
    let before = before.max_by_key(|other| &other.release.version)?;
    // A figure for people keeps nothing from being published.
    let held = index(supply, before).await.inspect_err(
        |problem| tracing::warn!(%problem, release = %before.release, "no update can be measured from it"),
    );
    let chunks = new.beyond(&held.ok()??)?;
    let bytes = i64::try_from(manifest.archive.index_bytes + chunks).unwrap_or(i64::MAX);
    Some(Update { from: before.release.version.to_string(), bytes })
}
