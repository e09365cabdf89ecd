//! The control plane's own word: that nothing newer is hidden, and what channels have.

use super::db::{self, Metadata};
use super::handed_out::beacon;
use crate::state::Supply;
use noderr_kernel::Problem;
use noderr_releases::{
    FileKey, ReleaseError, ReleaseFolder, ReleaseKey as _, Root, SignedMetadata, Timestamp,
    refresh_online_from, timestamp_with,
};
use sqlx::PgConnection;
use std::sync::Arc;

/// Whether a root lets this key sign online.
pub(super) fn names(root: &Root, key: &FileKey) -> bool {
    let id = key.public().id();
    let may = |role: &str| root.roles.get(role).is_some_and(|keys| keys.keyids.contains(&id));
    may("snapshot") && may("timestamp")
}

/// The newest root of what is stored.
pub(super) fn newest_root(metadata: &[Metadata]) -> Result<Option<Root>, Problem> {
    let newest = metadata.iter().filter(|one| one.role == "root").max_by_key(|one| one.version);
    let read = newest.map(|root| serde_json::from_slice::<SignedMetadata<Root>>(&root.body)).transpose();
    let root = read.map_err(|error| Problem::from(anyhow::Error::from(error)))?;
    Ok(root.map(|root| root.says().clone()))
}

/// The one of the online keys that a root names.
fn online_key<'a>(keys: &'a [FileKey], root: &Root) -> Option<&'a FileKey> {
    keys.iter().find(|key| names(root, key))
}

/// Numbers go with the clock, so that a control plane from a backup says nothing that boxes have seen before.
fn least(now: jiff::Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or_default()
}

/// Signs what is newest in a folder, and what channels have.
pub(super) fn vouch(
    supply: &Supply,
    folder: &ReleaseFolder,
    now: jiff::Timestamp,
    beacon: &[u8],
) -> Result<Vec<Metadata>, String> {
    let words = |error: ReleaseError| error.to_string();
    let root = folder.newest::<Root>("root").map_err(words)?.ok_or("there is no root")?;
    let keys = supply.online.load();
    let key = online_key(&keys, root.says()).ok_or(
        "the root names another online key than this control plane's: see `noderrctl release online-key`",
    )?;
    refresh_online_from(least(now), folder, now, (key, key), Some(beacon)).map_err(words)?;
    let mut vouched = Vec::new();
    for role in ["snapshot", "timestamp"] {
        if let Some((version, body)) = folder.newest_bytes(role).map_err(words)? {
            let version = i64::try_from(version).map_err(|error| error.to_string())?;
            vouched.push(Metadata { role: role.to_owned(), version, body });
        }
    }
    Ok(vouched)
}

/// Signs what channels have now; nothing where nothing is published yet.
pub(crate) async fn vouch_for_channels(
    supply: &Arc<Supply>,
    connection: &mut PgConnection,
) -> Result<(), Problem> {
    let internal = |error: ReleaseError| Problem::from(anyhow::Error::from(error));
    let damaged = |error: serde_json::Error| Problem::from(anyhow::Error::from(error));
    let metadata = db::metadata(connection).await?;
    let before = metadata.iter().filter(|one| one.role == "timestamp").max_by_key(|one| one.version);
    let (Some(root), Some(before)) = (newest_root(&metadata)?, before) else { return Ok(()) };
    let before: SignedMetadata<Timestamp> = serde_json::from_slice(&before.body).map_err(damaged)?;
    let keys = supply.online.load();
    let Some(key) = online_key(&keys, &root) else {
        tracing::error!(
            "the root names another online key than this control plane's: channels are not signed"
        );
        return Ok(());
    };
    let now = jiff::Timestamp::now();
    let beacon = beacon(connection).await?;
    let says = timestamp_with(&beacon, &before, least(now), now, key).map_err(internal)?;
    let version =
        i64::try_from(says.says().version).map_err(|error| Problem::from(anyhow::Error::from(error)))?;
    let new = Metadata { role: "timestamp".to_owned(), version, body: says.to_bytes().map_err(internal)? };
    Ok(db::put_metadata(connection, &new).await?)
}
