//! Beginning a folder anew from what is published, where no copy of the folder is left.

use super::super::Printer;
use crate::table::harmless;
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use noderr_cli::{ApiError, Client};
use noderr_protocol::release::{Archive, Manifest, ReleaseName, metadata_file, object_file, target_file};
use noderr_releases::{
    Artefacts, OnlineFiles, ReleaseError, ReleaseFolder, Root, SignedMetadata, Targets, named_by_snapshot,
};
use serde_json::json;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

/// More roots than a network ever has.
const MOST_ROOTS: u64 = 1000;
/// Bytes of an archive that are asked for at once.
const PART: u64 = 4 << 20;

pub(super) async fn recover(client: &Client, printer: &Printer, folder: &Path) -> anyhow::Result<()> {
    let releases = ReleaseFolder::new(folder);
    ensure!(
        releases.prepared()?.is_empty(),
        "{} has something prepared: recover into another folder, and prepare it there again",
        folder.display()
    );
    let gone = fetch_roles(client, &releases).await?;
    // Last: with a root, the folder is one.
    for version in 1..=MOST_ROOTS {
        let Some(root) = there(client.handed_out(&metadata("root", version)).await)? else { break };
        releases.put_signed::<Root>("root", version, &root)?;
    }
    for wrong in releases.check(Timestamp::now(), Artefacts::Elsewhere)? {
        eprintln!("{}", harmless(&wrong));
    }
    let first = releases.first_root()?;
    let mut said = format!(
        "{} has what is published, under the root that began as {first}: that is to be the one that keys and boxes know",
        folder.display()
    );
    if !gone.is_empty() {
        let gone = gone.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        said.push_str(&format!(
            "\nthe archives of {gone} are gone, because nobody used them: withdraw these before publishing"
        ));
    }
    printer.done(&json!({ "first_root": first, "archives_gone": gone }), &said)
}

/// Fetches the roles, what they name, and the archives; returns the releases whose archives are gone.
async fn fetch_roles(client: &Client, releases: &ReleaseFolder) -> anyhow::Result<Vec<ReleaseName>> {
    let timestamp = client.handed_out(&metadata("timestamp", 0)).await?;
    let version = OnlineFiles::snapshot_version(&timestamp)?;
    let snapshot = client.handed_out(&metadata("snapshot", version)).await?;
    let mut gone = Vec::new();
    for (role, version) in named_by_snapshot(&snapshot)? {
        let bytes = client.handed_out(&metadata(&role, version)).await?;
        releases.put_signed::<Targets>(&role, version, &bytes)?;
        let says: SignedMetadata<Targets> = serde_json::from_slice(&bytes)?;
        for (name, file) in &says.says().targets {
            let hash = file.hashes.get("sha256").context("a target without a hash")?;
            let path = format!("/releases/targets/{}", target_file(name, hash));
            releases.put_named(name, file, &client.handed_out(&path).await?)?;
            let Ok(release) = name.parse::<ReleaseName>() else { continue };
            let Manifest { archive, .. } = releases.manifest(name, file)?;
            if !fetch_archive(client, releases, &archive, &release).await? {
                gone.push(release);
            }
        }
    }
    Ok(gone)
}

/// Fetches what is lacking of an archive; whether the control plane has the archive.
async fn fetch_archive(
    client: &Client,
    releases: &ReleaseFolder,
    archive: &Archive,
    release: &ReleaseName,
) -> anyhow::Result<bool> {
    if releases.has_object(archive) {
        return Ok(true);
    }
    let (place, path) =
        (releases.unfinished_object(archive), format!("/releases/objects/{}", object_file(&archive.sha256)));
    fs::create_dir_all(releases.objects())?;
    let mut file = File::options().append(true).create(true).open(&place)?;
    let mut offset = file.metadata()?.len();
    while offset < archive.bytes {
        eprintln!("{release}: {offset} of {} bytes are here", archive.bytes);
        let part = offset..archive.bytes.min(offset + PART);
        let Some(bytes) = there(client.part_handed_out(&path, part).await)? else {
            fs::remove_file(&place)?;
            return Ok(false);
        };
        ensure!(!bytes.is_empty(), "nothing comes of the archive of {release}");
        file.write_all(&bytes)?;
        offset += bytes.len() as u64;
    }
    file.sync_all()?;
    match releases.keep_object(archive) {
        // What does not check is of no use to anybody, and gone like one that was removed.
        Err(ReleaseError::Unreadable { why, .. }) => {
            eprintln!("the archive of {release}: {}", harmless(&why));
            Ok(false)
        }
        kept => Ok(kept.map(|()| true)?),
    }
}

/// Where a control plane hands out a version of a role.
pub(super) fn metadata(role: &str, version: u64) -> String {
    format!("/releases/metadata/{}", metadata_file(role, version))
}

/// Nothing, where the control plane hands nothing out.
fn there(answered: Result<Vec<u8>, ApiError>) -> Result<Option<Vec<u8>>, ApiError> {
    match answered {
        Err(error) if error.kind() == Some("not-found") => Ok(None),
        answered => answered.map(Some),
    }
}
