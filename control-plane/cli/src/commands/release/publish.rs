//! Publishing a folder: what the control plane lacks is sent, archives first, and all of it takes effect at once.

use super::super::Printer;
use super::super::proof::proven;
use super::ends::FirstEnd;
use super::recover::metadata;
use super::waiting::waiting;
use anyhow::{Context as _, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use noderr_cli::{ApiError, Client};
use noderr_protocol::release::{BUILDERS, Manifest, object_file};
use noderr_releases::{Artefacts, ReleaseFolder, SignedMetadata, Targets, listed, sha256};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

/// Bytes of an archive that are sent at once.
const PART: u64 = 8 << 20;
/// The fewest, over a line that is slow.
const LEAST: u64 = 64 << 10;
/// How often a part is sent again.
const TRIES: u32 = 10;
/// How often to ask whether an archive was checked.
const CHECK_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn publish(
    client: &Client,
    printer: &Printer,
    releases: &ReleaseFolder,
    all_archives: bool,
) -> anyhow::Result<()> {
    let wrong = releases.check(Timestamp::now(), Artefacts::InTheFolder)?;
    ensure!(wrong.is_empty(), "the folder is not fit to be published: {}", wrong.join("; "));
    let there = client.get("/release-metadata").await?;
    same_network(client, releases, &there).await?;
    same_way(releases, &there)?;
    let metadata = newer(releases, &there)?;
    let (targets, manifests) = targets(releases, &metadata)?;
    let known = known(client).await?;
    let meant: BTreeSet<_> = releases.releases()?.into_iter().map(|(name, _)| name.to_string()).collect();
    let names = manifests.iter().map(|manifest| manifest.release.to_string());
    let regretted: Vec<_> = names.filter(|name| !known.contains(name) && !meant.contains(name)).collect();
    ensure!(
        regretted.is_empty(),
        "{} would go out, and is to be withdrawn: the withdrawal waits for signatures (`noderrctl release sign`), or is taken \
         back by `noderrctl release discard`",
        regretted.join(", ")
    );
    for manifest in &manifests {
        // What was published before was sent before, and may have been removed since.
        if !known.contains(&manifest.release.to_string()) {
            upload(client, releases, manifest).await?;
        }
    }
    if all_archives {
        for (name, target) in releases.signed_releases()? {
            upload(client, releases, &releases.manifest(&name.to_string(), &target)?).await?;
        }
    }
    if let Some(end) = FirstEnd::of(releases)?.filter(FirstEnd::is_soon) {
        eprintln!("{}", end.in_words());
    }
    let waits = waiting(releases)?;
    for sentence in &waits {
        eprintln!("not published yet: {sentence}");
    }
    if metadata.is_empty() && !waits.is_empty() {
        bail!("nothing is published: what is new lacks signatures");
    }
    if metadata.is_empty() {
        return printer
            .done(&json!({}), "there is nothing to publish: the control plane has all that is signed");
    }
    let body = json!({ "metadata": metadata, "targets": targets });
    let done = proven(client, async || client.put("/release-metadata", &body).await).await?;
    let mut roles: Vec<_> =
        metadata.iter().filter_map(|signed| signed["role"].as_str()).map(str::to_owned).collect();
    // Of roots, every one.
    roles.dedup();
    printer.done(&done, &in_words(&roles, &done))
}

/// The signed metadata that the control plane has not: every root, and the newest of the other roles.
fn newer(releases: &ReleaseFolder, there: &Value) -> anyhow::Result<Vec<Value>> {
    let has = |role: &str| there["versions"][role].as_u64().unwrap_or_default();
    let mut metadata = Vec::new();
    for version in has("root") + 1..=releases.newest_version("root")?.unwrap_or_default() {
        metadata.push(signed(releases, "root", version)?);
    }
    for role in releases.offline_roles()?.into_iter().filter(|role| role != "root") {
        let newest = releases.newest_version(&role)?.unwrap_or_default();
        if newest > has(&role) {
            metadata.push(signed(releases, &role, newest)?);
        }
    }
    Ok(metadata)
}

fn in_words(roles: &[String], done: &Value) -> String {
    let mut said = vec![format!("published {}", listed(roles))];
    let empty = "channels that have no release now (their nodes go by the next channel that fits)";
    for (what, field) in
        [("new", "added"), ("withdrawn", "withdrawn"), ("named again", "named_again"), (empty, "emptied")]
    {
        let names: Vec<_> = done[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !names.is_empty() {
            said.push(format!("{what}: {}", names.join(", ")));
        }
    }
    said.join("; ")
}

/// Refuses the folder of another network.
pub(super) async fn same_network(
    client: &Client,
    releases: &ReleaseFolder,
    there: &Value,
) -> anyhow::Result<()> {
    if there["versions"]["root"].is_null() {
        return Ok(());
    }
    let first = sha256(&client.handed_out(&metadata("root", 1)).await?);
    let own = releases.first_root().context("the folder has no root that enough have signed")?;
    ensure!(
        first == own,
        "this is the folder of another network: its first root is {own}, and the control plane's is {first}"
    );
    Ok(())
}

/// Refuses a folder that is older than what is published, or has gone another way since.
pub(super) fn same_way(releases: &ReleaseFolder, there: &Value) -> anyhow::Result<()> {
    for role in releases.offline_roles()? {
        let Some(published) = there["versions"][&role].as_u64() else { continue };
        let here = releases.newest_version(&role)?.unwrap_or_default();
        ensure!(
            here >= published,
            "{role} is version {here} in the folder and {published} at the control plane: the folder is older; take the \
             newest, and add there what is new"
        );
        let Some(same) = releases.bytes(&role, published)? else { continue };
        ensure!(
            there["sha256"][&role] == sha256(&same),
            "{role} version {published} is published with other words: somebody has published from another copy of the folder; \
             take that copy, and add there what is new"
        );
    }
    Ok(())
}

/// The releases that the control plane knows.
async fn known(client: &Client) -> anyhow::Result<BTreeSet<String>> {
    let releases = client.list("/releases", usize::MAX).await?;
    let word = |release: &Value, field: &str| release[field].as_str().unwrap_or_default().to_owned();
    let name = |release| ["kind", "name", "version"].map(|field| word(release, field)).join("/");
    Ok(releases.iter().map(name).collect())
}

fn signed(releases: &ReleaseFolder, role: &str, version: u64) -> anyhow::Result<Value> {
    let bytes = releases.bytes(role, version)?.with_context(|| format!("{role} {version} is missing"))?;
    Ok(json!({ "role": role, "version": version, "body": BASE64_STANDARD.encode(bytes) }))
}

/// The small targets that new metadata names, and the manifests among them.
fn targets(releases: &ReleaseFolder, metadata: &[Value]) -> anyhow::Result<(Vec<Value>, Vec<Manifest>)> {
    let (mut targets, mut manifests) = (Vec::new(), Vec::new());
    for role in metadata.iter().filter_map(|signed| signed["role"].as_str()).filter(|role| *role != "root") {
        let Some(says) = releases.newest::<Targets>(role)? else { continue };
        for (name, file) in &SignedMetadata::says(&says).targets {
            let (_, bytes) = releases.small_target(name, file)?;
            targets.push(json!({ "name": name, "body": BASE64_STANDARD.encode(bytes) }));
            if name != BUILDERS {
                manifests.push(releases.manifest(name, file)?);
            }
        }
    }
    Ok((targets, manifests))
}

/// Sends what the control plane lacks of an archive.
async fn upload(client: &Client, releases: &ReleaseFolder, manifest: &Manifest) -> anyhow::Result<()> {
    let (archive, length) = (&manifest.archive.sha256, manifest.archive.bytes);
    let mut source = releases.open_object(archive)?;
    let path = format!("/release-archives/{}", object_file(archive));
    let mut progress = client.get(&path).await?;
    let (mut before, mut tries, mut most) = (None, 0, PART);
    while progress["stored"] != true {
        let offset = progress["bytes"].as_u64().unwrap_or_default();
        if progress["checking"] == true {
            tokio::time::sleep(CHECK_EVERY).await;
            progress = client.get(&path).await?;
            continue;
        }
        tries = if before.replace(offset) == Some(offset) { tries + 1 } else { 0 };
        ensure!(tries < TRIES, "the upload of {} does not get on", manifest.release);
        let mut part = Vec::new();
        source.seek(SeekFrom::Start(offset))?;
        (&source).take(most).read_to_end(&mut part)?;
        ensure!(!part.is_empty(), "the archive of {} has become shorter", manifest.release);
        if length > most {
            eprintln!("{}: {offset} of {length} bytes are there", manifest.release);
        }
        let range = format!("bytes {offset}-{}/{length}", (offset + part.len() as u64).saturating_sub(1));
        progress = match client.put_part(&path, part, &range).await {
            // The same person sends it from elsewhere too, or another instance has another part of it.
            Err(error) if error.kind() == Some("upload-offset") => client.get(&path).await?,
            // A disk that is behind with writing answers later.
            Err(error) if is_passing(&error) => {
                // A line that is slow takes fewer bytes before the time is up.
                most = (most / 4).max(LEAST);
                eprintln!("{error}; going on with {most} bytes at once");
                tokio::time::sleep(CHECK_EVERY).await;
                client.get(&path).await?
            }
            sent => sent?,
        };
    }
    Ok(())
}

fn is_passing(error: &ApiError) -> bool {
    matches!(error, ApiError::Unreachable { .. }) || error.kind() == Some("too-slow")
}
