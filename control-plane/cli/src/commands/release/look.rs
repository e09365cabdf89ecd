//! What is in a folder of releases: what is in force, what is prepared and who has yet to sign; and whether all of it is whole.

use super::super::Printer;
use super::ends::FirstEnd;
use super::waiting::Names;
use crate::out::say;
use crate::table::harmless;
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use noderr_protocol::release::{Manifest, ReleaseName, Word};
use noderr_releases::{Artefacts, Metadata, Prepared, Progress, ReleaseFolder, Root, Targets};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// What is prepared, as values.
pub(super) fn progress(releases: &ReleaseFolder) -> anyhow::Result<Vec<Value>> {
    let names = Names::here();
    let describe = |Prepared { progress, says, .. }| {
        let words = |as_before| -> Vec<_> {
            let said = says.iter().filter(|sentence| sentence.as_before == as_before);
            said.map(|sentence| sentence.words.as_str()).collect()
        };
        let lacks = if progress.is_stale {
            "nothing: it no longer follows what is in force".to_owned()
        } else {
            names.lacking(&progress)
        };
        let Progress { role, version, expires, signed, needed, lacks: of, .. } = progress;
        let waits_for: BTreeSet<_> = of.into_iter().flat_map(|lack| lack.of).collect();
        let signed = format!("{signed} of {needed}");
        json!({
            "role": role, "version": version, "ends": expires.to_string(), "signed": signed, "lacks": lacks,
            "waits_for": waits_for, "changes": words(false), "as_before": words(true),
        })
    };
    Ok(releases.prepared()?.into_iter().map(describe).collect())
}

pub(super) fn show(printer: &Printer, releases: &ReleaseFolder) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for role in releases.offline_roles()? {
        let in_force = match role.as_str() {
            "root" => releases.newest::<Root>(&role)?.map(|root| describe(root.says())),
            _ => releases.newest::<Targets>(&role)?.map(|targets| describe(targets.says())),
        };
        let mut row = json!({ "role": role, "version": null, "until": null });
        if let Some((version, ends)) = in_force {
            (row["version"], row["until"]) = (version.into(), ends.into());
        }
        rows.push(row);
    }
    let drafts = progress(releases)?;
    for draft in &drafts {
        if let Some(row) = rows.iter_mut().find(|row| row["role"] == draft["role"]) {
            row["prepared"] = draft["version"].clone();
            for field in ["signed", "lacks", "waits_for", "changes", "as_before"] {
                row[field] = draft[field].clone();
            }
        }
    }
    printer.rows(rows, &ROLES)?;
    if printer.json {
        return Ok(());
    }
    let names = Names::here();
    for draft in &drafts {
        let role = draft["role"].as_str().unwrap_or_default();
        for change in draft["changes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            say(&format!(" {role}: {}", names.in_words(&harmless(change))))?;
        }
    }
    Ok(())
}

const ROLES: [(&str, &str); 6] = [
    ("role", "role"),
    ("version", "version"),
    ("until", "until"),
    ("prepared", "prepared"),
    ("signed", "signed"),
    ("waits for", "lacks"),
];

fn describe(says: &impl Metadata) -> (u64, String) {
    (says.version(), says.expires().to_string())
}

/// Whose signatures artefacts need.
pub(super) fn builders(printer: &Printer, releases: &ReleaseFolder) -> anyhow::Result<()> {
    let names = Names::here();
    let row = |key: String| json!({ "builder": key, "name": names.known(&key) });
    let rows = releases.builders()?.keys.into_iter().map(row).collect();
    printer.rows(rows, &[("builder", "builder"), ("name", "name")])
}

pub(super) fn list(printer: &Printer, releases: &ReleaseFolder) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let in_force: BTreeSet<_> =
        releases.signed_releases()?.into_iter().map(|(name, _)| name.to_string()).collect();
    let coming = releases.releases()?;
    let stays: BTreeSet<_> = coming.iter().map(|(name, _)| name.to_string()).collect();
    let going =
        releases.signed_releases()?.into_iter().filter(|(name, _)| !stays.contains(&name.to_string()));
    for (name, target) in coming.iter().cloned().chain(going) {
        let manifest = releases.manifest(&name.to_string(), &target)?;
        let state = match (in_force.contains(&name.to_string()), stays.contains(&name.to_string())) {
            (true, true) => "signed",
            (true, false) => "to be withdrawn",
            _ => "prepared",
        };
        let for_whom: Vec<_> = manifest.hardware.iter().chain(&manifest.tiers).map(Word::as_str).collect();
        rows.push(json!({
            "release": name,
            "state": state,
            "for": if for_whom.is_empty() { "all".to_owned() } else { for_whom.join(", ") },
            "epoch": manifest.security_epoch,
            "bytes": manifest.content.bytes,
            "travels": manifest.archive.bytes,
            "sha256": manifest.content.sha256,
        }));
    }
    printer.rows(
        rows,
        &[
            ("release", "release"),
            ("state", "state"),
            ("for", "for"),
            ("epoch", "epoch"),
            ("bytes", "bytes"),
            ("on the way", "travels"),
            ("sha256", "sha256"),
        ],
    )
}

pub(super) fn unpack(
    printer: &Printer,
    releases: &ReleaseFolder,
    release: &str,
    file: &Path,
) -> anyhow::Result<()> {
    let manifest = find(releases, &release.parse()?)?;
    releases.unpack(&manifest, file)?;
    let mut minisig = file.as_os_str().to_owned();
    minisig.push(".minisig");
    let minisig = Path::new(&minisig);
    let write = || File::create_new(minisig)?.write_all(manifest.minisig.as_bytes());
    write().with_context(|| format!("cannot write {}", minisig.display()))?;
    printer.done(
        &json!({ "file": file, "minisig": minisig }),
        &format!(
            "{} is what was signed; `minisign -Vm` says so too, by {}",
            file.display(),
            minisig.display()
        ),
    )
}

/// The manifest of a release that is or will be named.
fn find(releases: &ReleaseFolder, release: &ReleaseName) -> anyhow::Result<Manifest> {
    let found = releases.releases()?.into_iter().find(|(name, _)| name == release);
    let (name, target) =
        found.with_context(|| format!("there is no release {release}; see `noderrctl release list`"))?;
    Ok(releases.manifest(&name.to_string(), &target)?)
}

pub(super) fn verify(printer: &Printer, releases: &ReleaseFolder) -> anyhow::Result<()> {
    let wrong = releases.check(Timestamp::now(), Artefacts::InTheFolder)?;
    let first = releases.first_root()?;
    let end = FirstEnd::of(releases)?;
    let ends = end.as_ref().map_or_else(String::new, |end| format!("; {}", end.in_words()));
    let well = format!("everything is as it was signed, under the root that began as {first}{ends}");
    printer.done(
        &json!({ "wrong": wrong, "first_root": first, "ends": end.map(|end| end.at.to_string()) }),
        if wrong.is_empty() { &well } else { "not everything is as it should be:" },
    )?;
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}
