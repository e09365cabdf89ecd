//! Publishing what was signed: everything together is checked as a box would, and what is not fit is refused before anything
//! is shown. What the control plane adds is its word that nothing newer is hidden, and what channels have.

use super::archives;
use super::db::{self, Metadata};
use super::handed_out::beacon;
use super::terms::{CHANGED, NOT_FIT, not_fit};
use super::unneeded;
use super::vouch::{vouch, vouch_for_channels};
use crate::channels;
use crate::state::Supply;
use futures_util::{StreamExt as _, stream};
use noderr_kernel::{Problem, notify};
use noderr_protocol::release::{Manifest, ReleaseName, metadata_file, target_file};
use noderr_releases::{Artefacts, ReleaseError, ReleaseFolder};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What is published: new signed metadata, and the small targets that it names.
#[derive(Default)]
pub(super) struct Publication {
    pub(super) metadata: Vec<Metadata>,
    /// Name and bytes.
    pub(super) targets: Vec<(String, Vec<u8>)>,
    /// Turns that end with it, and not with whoever waits for it no longer.
    pub(super) _turns: Vec<OwnedSemaphorePermit>,
}

/// What has come of it.
pub(super) struct Published {
    pub(super) added: Vec<String>,
    pub(super) withdrawn: Vec<String>,
    /// Withdrawn before, and named again.
    pub(super) named_again: Vec<String>,
    /// Channels whose release was withdrawn: they have none now.
    pub(super) emptied: Vec<String>,
}

/// Everything that boxes would be shown.
struct Shown {
    /// What is new of the signed metadata.
    metadata: Vec<Metadata>,
    /// What is new of the small targets: name and bytes.
    targets: Vec<(String, Vec<u8>)>,
    /// The hash of every target that is named.
    named: Vec<Vec<u8>>,
    /// Every release that is named, with the hash of its manifest.
    releases: Vec<(Manifest, Vec<u8>)>,
}

/// How strict the check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strictness {
    /// What people publish must be fit in every respect.
    Fit,
    /// What is shown already is vouched for anew, whatever has ended meanwhile: one role that its holder forgot must not end all.
    AsItIs,
}

/// What one publication may have.
const MOST_ROLES: usize = 256;
const MOST_TARGETS: usize = 20_000;
const LONGEST_NAME: usize = 200;

/// Of how many new releases it is measured what an update costs.
const MOST_MEASURED: usize = 500;
/// How many archives are looked at side by side, because a bucket takes its time to answer.
const AT_ONCE: usize = 16;

/// Publishes, in a transaction that nobody else publishes in.
pub(super) async fn publish(
    supply: &Arc<Supply>,
    connection: &mut PgConnection,
    publication: Publication,
    by: &str,
) -> Result<Published, Problem> {
    check_size(&publication)?;
    let publication = Arc::new(publication);
    let seen = db::generation(connection).await?;
    // What is not fit is refused before anybody else waits for it.
    let mut shown = checked_of(supply, connection, &publication, Strictness::Fit).await?;
    if db::hold_supply(connection).await? != seen + 1 {
        shown = checked_of(supply, connection, &publication, Strictness::Fit).await?;
    }
    store(connection, &shown).await?;
    let new = note_new(connection, &shown.releases, by).await?;
    let all = Arc::new(shown.releases);
    // Of thousands, as after the loss of a database, what updates cost matters less than that they are there soon.
    let with = if new.len() <= MOST_MEASURED { all.clone() } else { Arc::default() };
    let looked = new.into_iter().map(|new| archives::cost_of_update(supply.clone(), new, with.clone()));
    let mut looked = stream::iter(looked).buffered(AT_ONCE);
    let mut added = Vec::new();
    while let Some((release, update)) = looked.next().await.transpose()? {
        db::note_update(connection, &release, update.as_ref()).await?;
        added.push(release.to_string());
    }
    let named: Vec<_> = all.iter().map(|(manifest, _)| manifest.release.to_string()).collect();
    let withdrawn = db::mark_withdrawn(connection, &named).await?;
    let named_again = db::unmark_withdrawn(connection, &named).await?;
    unneeded::forget_targets(connection, &shown.named).await?;
    let emptied = channels::end_withdrawn(connection, by).await?;
    if !emptied.is_empty() {
        vouch_for_channels(supply, connection).await?;
    }
    tell(connection).await?;
    Ok(Published { added, withdrawn, named_again, emptied })
}

/// Whether a publication is one that a network can have.
fn check_size(publication: &Publication) -> Result<(), Problem> {
    let Publication { metadata, targets, .. } = publication;
    if metadata.is_empty() {
        return Err(not_fit("there is no new metadata in it"));
    }
    let is_long = |name: &str| name.len() > LONGEST_NAME;
    if metadata.len() > MOST_ROLES || targets.len() > MOST_TARGETS {
        return Err(not_fit(format!("it is more than {MOST_ROLES} roles or {MOST_TARGETS} targets")));
    }
    if metadata.iter().any(|new| is_long(&new.role)) || targets.iter().any(|(name, _)| is_long(name)) {
        return Err(not_fit(format!("a name has {LONGEST_NAME} letters at most")));
    }
    let others = metadata.iter().map(|new| &new.role).filter(|role| *role != "root");
    let mut seen = BTreeSet::new();
    if let Some(twice) = others.into_iter().find(|role| !seen.insert(*role)) {
        return Err(not_fit(format!("{twice} is there twice: its newest version is enough")));
    }
    Ok(())
}

/// Notes the releases that were never released before; returns their manifests.
async fn note_new(
    connection: &mut PgConnection,
    releases: &[(Manifest, Vec<u8>)],
    by: &str,
) -> Result<Vec<Manifest>, Problem> {
    let known = db::released(connection).await?;
    let mut new = Vec::new();
    for (manifest, sha256) in releases {
        match known.get(&manifest.release.to_string()) {
            Some(before) if before == sha256 => {}
            Some(_) => {
                return Err(NOT_FIT.because(format!(
                    "{} was released before, with another manifest: withdraw it, and give it another version",
                    manifest.release
                )));
            }
            None => {
                db::note_release(connection, manifest, sha256, by).await?;
                new.push(manifest.clone());
            }
        }
    }
    Ok(new)
}

/// Vouches anew for what is shown.
pub(super) async fn renew(supply: &Arc<Supply>, connection: &mut PgConnection) -> Result<(), Problem> {
    db::hold_supply(connection).await?;
    let shown = checked_of(supply, connection, &Arc::default(), Strictness::AsItIs).await?;
    store(connection, &shown).await?;
    Ok(tell(connection).await?)
}

async fn checked_of(
    supply: &Arc<Supply>,
    connection: &mut PgConnection,
    publication: &Arc<Publication>,
    strictness: Strictness,
) -> Result<Shown, Problem> {
    let before = (db::metadata(connection).await?, db::targets(connection).await?);
    let (signer, publication, beacon) = (supply.clone(), publication.clone(), beacon(connection).await?);
    let checked =
        tokio::task::spawn_blocking(move || checked(&signer, before, &publication, strictness, &beacon))
            .await;
    checked.map_err(|error| Problem::from(anyhow::Error::from(error)))?
}

/// Stores what was checked, and nothing else that came with it.
async fn store(connection: &mut PgConnection, shown: &Shown) -> sqlx::Result<()> {
    for new in &shown.metadata {
        db::put_metadata(connection, new).await?;
    }
    for (name, body) in &shown.targets {
        db::put_target(connection, name, &Sha256::digest(body), body).await?;
    }
    Ok(())
}

/// Tells every instance, at the commit, that what boxes are shown has changed.
pub(crate) async fn tell(connection: &mut PgConnection) -> sqlx::Result<()> {
    notify(connection, &CHANGED, "").await
}

/// Lays everything out as it would be shown, and checks it.
fn checked(
    supply: &Supply,
    (metadata, targets): (Vec<Metadata>, Vec<(String, Vec<u8>)>),
    publication: &Publication,
    strictness: Strictness,
    beacon: &[u8],
) -> Result<Shown, Problem> {
    let place = tempfile::tempdir().map_err(|error| Problem::from(anyhow::Error::from(error)))?;
    // Where this is checked is nobody's business.
    let here = format!("{}/", place.path().display());
    let not_fit = |why: &dyn std::fmt::Display| not_fit(why.to_string().replace(&here, ""));
    let folder = ReleaseFolder::new(place.path());
    check_versions(&metadata, &publication.metadata)?;
    for Metadata { role, version, body } in metadata.iter().chain(&publication.metadata) {
        lay(&folder.metadata(), &metadata_file(role, version), body)?;
    }
    // Before thousands of targets are laid out for whoever has signed nothing.
    let unsigned = folder.check_signatures().map_err(|error| not_fit(&error))?;
    if strictness == Strictness::Fit && !unsigned.is_empty() {
        return Err(not_fit(&unsigned.join("; ")));
    }
    for (name, body) in targets.iter().chain(&publication.targets) {
        lay(&folder.targets(), &target_file(name, &hex::encode(Sha256::digest(body))), body)?;
    }
    let now = jiff::Timestamp::now();
    let wrong = folder.check(now, Artefacts::Elsewhere).map_err(|error| not_fit(&error))?;
    match strictness {
        _ if wrong.is_empty() => {}
        Strictness::Fit => return Err(not_fit(&wrong.join("; "))),
        Strictness::AsItIs => {
            tracing::error!(
                wrong = wrong.join("; "),
                "what is shown to boxes is not as it should be: renew and publish it"
            );
        }
    }
    let mut shown = shown_of(&folder, publication).map_err(|why| not_fit(&why))?;
    let vouched = vouch(supply, &folder, now, beacon).map_err(|why| not_fit(&why))?;
    shown.metadata.extend(vouched);
    Ok(shown)
}

/// What of a publication the check has walked in a folder: what nobody names is nobody's, and is not shown.
fn shown_of(folder: &ReleaseFolder, publication: &Publication) -> Result<Shown, String> {
    let words = |error: ReleaseError| error.to_string();
    let walked = folder.offline_roles().map_err(words)?;
    if let Some(stranger) = publication.metadata.iter().find(|new| !walked.contains(&new.role)) {
        return Err(format!("nobody has let a role {} name anything", stranger.role));
    }
    let mut shown = Shown {
        metadata: publication.metadata.clone(),
        targets: Vec::new(),
        named: Vec::new(),
        releases: Vec::new(),
    };
    for (name, file) in folder.named_targets().map_err(words)? {
        let sha256 = file.hashes.get("sha256").and_then(|hash| hex::decode(hash).ok()).unwrap_or_default();
        if let Ok(release) = name.parse::<ReleaseName>() {
            let manifest = folder.manifest(&release.to_string(), &file).map_err(words)?;
            shown.releases.push((manifest, sha256.clone()));
        }
        let is_of = |(_, body): &&(String, Vec<u8>)| Sha256::digest(body).as_slice() == sha256;
        shown.targets.extend(publication.targets.iter().filter(|(of, _)| *of == name).find(is_of).cloned());
        shown.named.push(sha256);
    }
    Ok(shown)
}

/// What is new follows what is there: a version of a role comes once, and is greater than what was before.
fn check_versions(known: &[Metadata], new: &[Metadata]) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    for Metadata { role, version, .. } in new {
        if u32::try_from(*version).is_err() || !seen.insert((role, version)) {
            return Err(not_fit(format!("{role} {version} is there twice, or is no version")));
        }
        if let Some(known) = known.iter().find(|known| known.role == *role && known.version >= *version) {
            return Err(not_fit(format!(
                "version {} of {role} is published already; the folder is older than what is here",
                known.version
            )));
        }
    }
    Ok(())
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
