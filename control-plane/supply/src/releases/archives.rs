//! The archives behind releases: whether they are there and of use to a box, and what an update costs.

use super::db::Update;
use super::terms::{NO_ARCHIVE, not_fit};
use crate::state::Supply;
use noderr_archive::Index;
use noderr_kernel::Problem;
use noderr_protocol::release::Manifest;
use noderr_releases::check_index;

/// The index of a release's archive; refuses a release whose archive is not there, or is of no use to a box.
pub(super) async fn require_index(supply: &Supply, manifest: &Manifest) -> Result<Index, Problem> {
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

/// What travels to a box that holds the version before, if there is one here.
pub(super) async fn update(
    supply: &Supply,
    manifest: &Manifest,
    new: &Index,
    named: &[Manifest],
) -> Result<Option<Update>, Problem> {
    let is_before = |other: &&Manifest| {
        let (other, this) = (&other.release, &manifest.release);
        other.series == this.series && other.version < this.version
    };
    let Some(before) = named.iter().filter(is_before).max_by_key(|other| &other.release.version) else {
        return Ok(None);
    };
    let held = index(supply, before).await?;
    let beyond = held.and_then(|held| new.beyond(&held));
    Ok(beyond.map(|chunks| Update {
        from: before.release.version.to_string(),
        bytes: i64::try_from(manifest.archive.index_bytes + chunks).unwrap_or(i64::MAX),
    }))
}
