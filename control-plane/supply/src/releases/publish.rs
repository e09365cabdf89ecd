//! Publishing what was signed: everything together is checked as a box would, and what is not fit is refused before anything
//! is shown. What the control plane adds is its word that nothing newer is hidden.

use super::db::{self, Metadata};
use super::terms::{CHANGED, NO_ARCHIVE, NOT_FIT};
use crate::channels;
use crate::state::Supply;
use noderr_kernel::{Problem, notify};
use noderr_protocol::release::Manifest;
use noderr_releases::{Artefacts, FileKey, ReleaseFolder, ReleaseKey as _, Root, refresh_online};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// What is published: new signed metadata, and the small targets that it names.
#[derive(Default)]
pub(super) struct Publication {
    pub(super) metadata: Vec<Metadata>,
    /// Name and bytes.
    pub(super) targets: Vec<(String, Vec<u8>)>,
}

/// What has come of it.
pub(super) struct Published {
    pub(super) added: Vec<String>,
    pub(super) withdrawn: Vec<String>,
    /// Withdrawn before, and named again.
    pub(super) named_again: Vec<String>,
}

/// Everything that boxes would be shown.
struct Shown {
    metadata: Vec<Metadata>,
    releases: Vec<(Manifest, Vec<u8>)>,
}

/// Publishes, in a transaction that nobody else publishes in.
pub(super) async fn publish(
    supply: &Arc<Supply>,
    connection: &mut PgConnection,
    publication: Publication,
    by: &str,
) -> Result<Published, Problem> {
    db::hold_supply(connection).await?;
    let before = (db::metadata(connection).await?, db::targets(connection).await?);
    for (name, body) in &publication.targets {
        db::put_target(connection, name, &Sha256::digest(body), body).await?;
    }
    let signer = supply.clone();
    let checked = tokio::task::spawn_blocking(move || checked(&signer, before, publication)).await;
    let shown = checked.map_err(|error| Problem::from(anyhow::Error::from(error)))??;
    for new in &shown.metadata {
        db::put_metadata(connection, new).await?;
    }
    let (removed, mut added) = (db::removed(connection).await?, Vec::new());
    for (manifest, sha256) in &shown.releases {
        let is_new = db::note_release(connection, manifest, sha256, by).await?;
        if is_new {
            require_archive(supply, manifest).await?;
            added.push(manifest.release.to_string());
        }
        if is_new
            || (removed.contains(&manifest.archive.sha256.0.to_vec())
                && has_archive(supply, manifest).await?)
        {
            db::mark_removed(connection, &manifest.archive.sha256.0, false).await?;
        }
    }
    let named: Vec<_> = shown.releases.iter().map(|(manifest, _)| manifest.release.to_string()).collect();
    let withdrawn = db::mark_withdrawn(connection, &named).await?;
    let named_again = db::unmark_withdrawn(connection, &named).await?;
    channels::end_withdrawn(connection, by).await?;
    tell(connection).await?;
    Ok(Published { added, withdrawn, named_again })
}

/// Tells every instance, at the commit, that what boxes are shown has changed.
pub(crate) async fn tell(connection: &mut PgConnection) -> sqlx::Result<()> {
    notify(connection, &CHANGED, "").await
}

async fn require_archive(supply: &Supply, manifest: &Manifest) -> Result<(), Problem> {
    if has_archive(supply, manifest).await? {
        return Ok(());
    }
    let name = hex::encode(manifest.archive.sha256.0);
    Err(NO_ARCHIVE
        .because(format!("the archive {name} of {} is not here; upload it first", manifest.release)))
}

async fn has_archive(supply: &Supply, manifest: &Manifest) -> Result<bool, Problem> {
    let length = supply.objects.length(&hex::encode(manifest.archive.sha256.0)).await;
    let length = length.map_err(|error| Problem::from(anyhow::Error::from(error)))?;
    Ok(length == Some(manifest.archive.bytes))
}

fn not_fit(why: impl std::fmt::Display) -> Problem {
    NOT_FIT.because(why.to_string())
}

/// Lays everything out as it would be shown, and checks it.
fn checked(
    supply: &Supply,
    (metadata, targets): (Vec<Metadata>, Vec<(String, Vec<u8>)>),
    publication: Publication,
) -> Result<Shown, Problem> {
    let place = tempfile::tempdir().map_err(|error| Problem::from(anyhow::Error::from(error)))?;
    // Where this is checked is nobody's business.
    let here = format!("{}/", place.path().display());
    let not_fit = |why: &dyn std::fmt::Display| not_fit(why.to_string().replace(&here, ""));
    let folder = ReleaseFolder::new(place.path());
    for new in &publication.metadata {
        let known = metadata.iter().find(|known| known.role == new.role && known.version >= new.version);
        if let Some(known) = known {
            return Err(not_fit(&format!(
                "version {} of {} is published already; the folder is older than what is here",
                known.version, known.role
            )));
        }
    }
    let all = metadata.iter().chain(&publication.metadata);
    for Metadata { role, version, body } in all {
        let name =
            if role == "timestamp" { "timestamp.json".to_owned() } else { format!("{version}.{role}.json") };
        lay(&folder.metadata(), &name, body)?;
    }
    for (name, body) in targets.iter().chain(&publication.targets) {
        lay(&folder.targets(), &super::handed_out::path_of(name, &Sha256::digest(body)), body)?;
    }
    let now = jiff::Timestamp::now();
    let wrong = folder.check(now, Artefacts::Elsewhere).map_err(|error| not_fit(&error))?;
    if !wrong.is_empty() {
        return Err(not_fit(&wrong.join("; ")));
    }
    let root = folder
        .newest::<Root>("root")
        .map_err(|error| not_fit(&error))?
        .ok_or_else(|| not_fit(&"there is no root"))?;
    let keys = supply.online.load();
    let is_named = |key: &FileKey, role: &str| {
        root.says().roles.get(role).is_some_and(|keys| keys.keyids.contains(&key.public().id()))
    };
    let online = keys.iter().find(|key| is_named(key, "snapshot") && is_named(key, "timestamp"));
    let online = online.ok_or_else(|| {
        not_fit(&"the root names another online key than this control plane's: see `noderrctl release online-key`")
    })?;
    refresh_online(&folder, now, online, online).map_err(|error| not_fit(&error))?;
    let mut shown = Shown { metadata: publication.metadata, releases: Vec::new() };
    for role in ["snapshot", "timestamp"] {
        if let Some((version, body)) = folder.newest_bytes(role).map_err(|error| not_fit(&error))? {
            let version = i64::try_from(version).map_err(|error| not_fit(&error))?;
            shown.metadata.push(Metadata { role: role.to_owned(), version, body });
        }
    }
    for (name, target) in folder.published_releases().map_err(|error| not_fit(&error))? {
        let manifest = folder.manifest(&name.to_string(), &target).map_err(|error| not_fit(&error))?;
        let sha256 = target.hashes.get("sha256").and_then(|hash| hex::decode(hash).ok()).unwrap_or_default();
        shown.releases.push((manifest, sha256));
    }
    Ok(shown)
}

/// Writes a file of a folder that is gone in a moment. Names were chosen by whoever publishes.
fn lay(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Problem> {
    let is_plain = name.split('/').all(|part| {
        let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "-._".contains(char);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(fits)
    });
    if !is_plain {
        return Err(not_fit(format!("`{}` is no name of metadata or of a release", name.escape_debug())));
    }
    let path = folder.join(name);
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, bytes)
    };
    write().map_err(|error| Problem::from(anyhow::Error::from(error)))
}
