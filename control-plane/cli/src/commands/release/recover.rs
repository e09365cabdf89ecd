//! Beginning a folder anew from what is published, where no copy of the folder is left.

use super::super::Printer;
use crate::table::harmless;
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use noderr_cli::{ApiError, Client};
use noderr_protocol::release::{Archive, Manifest, ReleaseName, metadata_file, object_file, target_file};
use noderr_releases::{Artefacts, Published, ReleaseError, ReleaseFolder, Targets};
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// Bytes of an archive that are asked for at once, and the fewest over a line that is slow.
const PART: u64 = 4 << 20;
const LEAST: u64 = 64 << 10;
/// How often the same bytes are asked for, and how long after a failure.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn recover(client: &Client, printer: &Printer, folder: &Path) -> anyhow::Result<()> {
    let releases = ReleaseFolder::new(folder);
    releases.refuse_links()?;
    ensure!(
        releases.prepared()?.is_empty(),
        "{} has something prepared: recover into another folder, and prepare it there again",
        folder.display()
    );
    let mut published = Published::default();
    while let Some(root) = there(client.handed_out(&metadata("root", published.next_root())).await)? {
        published.add_root(root)?;
    }
    let first = published.first_root()?;
    eprintln!("the first root is {first}: that is to be the one that keys and boxes know");
    published.go_on_from(&releases)?;
    let gone = fetch_roles(client, &releases, &mut published).await?;
    published.put_roots(&releases)?;
    for wrong in releases.check(Timestamp::now(), Artefacts::Elsewhere)? {
        eprintln!("{}", harmless(&wrong));
    }
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
async fn fetch_roles(
    client: &Client,
    releases: &ReleaseFolder,
    published: &mut Published,
) -> anyhow::Result<Vec<ReleaseName>> {
    let timestamp = client.handed_out(&metadata("timestamp", 0)).await?;
    let version = published.snapshot_of(&timestamp)?;
    published.add_snapshot(&client.handed_out(&metadata("snapshot", version)).await?)?;
    let mut gone = Vec::new();
    while let Some((role, version)) = published.next_role()? {
        let bytes = client.handed_out(&metadata(&role, version)).await?;
        let says = published.add_role(&bytes)?;
        releases.put_signed::<Targets>(&role, version, &bytes)?;
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
    let path = format!("/releases/objects/{}", object_file(&archive.sha256));
    let (mut file, mut offset) = releases.begin_object(archive)?;
    let (mut most, mut tries) = (PART, 0);
    while offset < archive.bytes {
        eprintln!("{release}: {offset} of {} bytes are here", archive.bytes);
        let part = offset..archive.bytes.min(offset + most);
        let bytes = match there(client.part_handed_out(&path, part).await) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                releases.forget_object(archive)?;
                return Ok(false);
            }
            // A line that is slow brings fewer bytes before the time is up.
            Err(error @ ApiError::Unreachable { .. }) if tries < TRIES => {
                (most, tries) = ((most / 4).max(LEAST), tries + 1);
                eprintln!("{error}; going on with {most} bytes at once");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        ensure!(!bytes.is_empty(), "nothing comes of the archive of {release}");
        file.write_all(&bytes)?;
        (offset, tries) = (offset + bytes.len() as u64, 0);
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
