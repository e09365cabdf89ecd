//! Preparing what is to be signed.

use super::super::Printer;
use super::super::key_files::{public, unlock_builder};
use super::look::progress;
use crate::arguments::{Add, Init};
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use noderr_archive::builder_in;
use noderr_protocol::release::{Builders, ReleaseName, Requirement, Tier, Word};
use noderr_releases::{FirstKeys, NewRelease, PublicKey, ReleaseFolder, Root, Terms, listed, shelf_of};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// In so many days; metadata knows whole seconds.
fn in_days(days: u32) -> Timestamp {
    let then = Timestamp::now() + DAY * days;
    Timestamp::from_second(then.as_second()).unwrap_or(then)
}

pub(super) fn init(printer: &Printer, init: &Init) -> anyhow::Result<()> {
    let releases = ReleaseFolder::new(&init.folder);
    ensure!(releases.coming::<Root>("root")?.is_none(), "{} holds releases already", init.folder.display());
    let root = init.root.iter().map(|file| public(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let ids: BTreeSet<_> = root.iter().map(PublicKey::id).collect();
    ensure!(ids.len() == root.len(), "a key is named twice among those who sign roots");
    ensure!(
        (1..=root.len()).contains(&init.threshold),
        "--threshold {} cannot be met by {} keys",
        init.threshold,
        root.len()
    );
    let [targets, os, models, online] =
        [&init.targets, &init.os, &init.models, &init.online].map(|file| public(file));
    let (targets, os, models, online) = (targets?, os?, models?, online?);
    ensure!(
        !ids.contains(&online.id()) && [&targets, &os, &models].iter().all(|key| key.id() != online.id()),
        "the control plane's key must sign nothing else: it lies on a machine with a network"
    );
    let builders =
        Builders { keys: init.builder.iter().map(|file| builder(file)).collect::<anyhow::Result<_>>()? };
    let keys = FirstKeys {
        root: (&root.iter().collect::<Vec<_>>(), init.threshold),
        targets: &targets,
        kinds: [&os, &models],
        online: &online,
    };
    releases.begin(&keys, &builders, in_days(init.days))?;
    prepare(printer, &releases, || Ok(releases.offline_roles()?))
}

/// The public key of a builder, from the file that `minisign` or `noderrctl keys new --builder` wrote.
fn builder(file: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    builder_in(&text).with_context(|| format!("{} holds no public key of minisign", file.display()))
}

pub(super) fn add(printer: &Printer, releases: &ReleaseFolder, add: &Add) -> anyhow::Result<()> {
    let name: ReleaseName = add.release.parse()?;
    let words = |words: &[String]| words.iter().map(|word| word.parse()).collect::<Result<Vec<Word>, _>>();
    let (hardware, tiers) = (words(&add.hardware)?, words(&add.tier)?);
    add.tier.iter().try_for_each(|tier| Tier::named(tier).map(drop))?;
    let requires = add.requires.iter().map(|text| requirement(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let file = File::open(&add.file).with_context(|| format!("cannot read {}", add.file.display()))?;
    ensure!(file.metadata()?.is_file(), "{} is not a file", add.file.display());
    let minisig = match &add.builder {
        Some(key) => unlock_builder(key)?.sign(BufReader::new(file), &name.to_string())?,
        None => signed_beside(&add.file, &name)?,
    };
    let terms = Terms { hardware, tiers, requires, security_epoch: add.security_epoch };
    let new = NewRelease { name, minisig, may_be_older: add.older, terms };
    prepare(printer, releases, || Ok(vec![shelf_of(&releases.add(&add.file, new)?.release)]))
}

/// A signature that the builder has made already.
fn signed_beside(file: &Path, name: &ReleaseName) -> anyhow::Result<String> {
    let mut place = file.as_os_str().to_owned();
    place.push(".minisig");
    let place = PathBuf::from(place);
    fs::read_to_string(&place).with_context(|| {
        format!(
            "cannot read the builder's signature {}; `minisign -Sm {} -t {name}` makes it, or name the builder's key with --builder",
            place.display(),
            file.display()
        )
    })
}

/// What another release must be at least, such as `os/generic/1.2.0`.
fn requirement(text: &str) -> anyhow::Result<Requirement> {
    let ReleaseName { series, version } = text.parse().context("--requires")?;
    Ok(Requirement { series, at_least: version })
}

pub(super) fn withdraw(printer: &Printer, releases: &ReleaseFolder, release: &str) -> anyhow::Result<()> {
    let release = release.parse()?;
    prepare(printer, releases, || {
        releases.withdraw(&release)?;
        Ok(vec![shelf_of(&release)])
    })
}

pub(super) fn builders(
    printer: &Printer,
    releases: &ReleaseFolder,
    add: &[PathBuf],
    remove: &[PathBuf],
) -> anyhow::Result<()> {
    let mut keys = releases.builders()?.keys;
    for file in remove {
        let listed = file.to_str().filter(|key| keys.iter().any(|known| known == key));
        let gone = listed.map_or_else(|| builder(file), |key| Ok(key.to_owned()))?;
        let unknown = "is no builder of this network: `release builders` without options lists them";
        ensure!(keys.contains(&gone), "{} {unknown}", file.display());
        keys.retain(|key| *key != gone);
    }
    for file in add {
        let new = builder(file)?;
        ensure!(!keys.contains(&new), "{} is a builder of this network already", file.display());
        keys.push(new);
    }
    ensure!(!keys.is_empty(), "nobody would be left to build anything: name another with --add");
    let mut orphans = Vec::new();
    prepare(printer, releases, || {
        orphans = releases.set_builders(&Builders { keys })?;
        Ok(vec!["targets".to_owned()])
    })?;
    if !orphans.is_empty() {
        eprintln!(
            "these releases were built by none of those who may build from then on, and no box holds or takes them once this is \
             published:"
        );
        for orphan in &orphans {
            eprintln!("  {orphan}");
        }
        eprintln!("release a new version of each first, built by one who stays, and withdraw the old one");
    }
    Ok(())
}

pub(super) fn discard(printer: &Printer, releases: &ReleaseFolder, what: &[String]) -> anyhow::Result<()> {
    for (number, one) in what.iter().enumerate() {
        let discarded = match one.parse::<ReleaseName>() {
            Ok(release) => releases.discard_release(&release),
            Err(_) => releases.discard(one),
        };
        discarded.with_context(|| match number {
            0 => "nothing was discarded".to_owned(),
            _ => format!("{} is discarded, and the rest is not", what[..number].join(", ")),
        })?;
    }
    let rest = releases.prepared()?.into_iter().map(|prepared| prepared.progress);
    let ready: Vec<_> = rest
        .filter(|progress| progress.lacks.is_empty() && !progress.waits_for_above && !progress.is_stale)
        .map(|progress| progress.role)
        .collect();
    let mut said = format!("{} is not prepared any more", what.join(", "));
    if !ready.is_empty() {
        said.push_str(&format!(
            "\n{} has enough signatures, waits for nobody now, and counts with whatever is signed next: discard it too if it \
             should not",
            listed(&ready)
        ));
    }
    printer.done(&json!({ "discarded": what, "counts_next": ready }), &said)
}

pub(super) fn renew(printer: &Printer, releases: &ReleaseFolder, days: u32) -> anyhow::Result<()> {
    let ends = in_days(days);
    prepare(printer, releases, || {
        releases.renew(ends)?;
        Ok(releases.offline_roles()?)
    })
}

/// Prepares roles, and says whose signatures count no more because their role says something else now.
pub(in crate::commands) fn prepare(
    printer: &Printer,
    releases: &ReleaseFolder,
    work: impl FnOnce() -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<()> {
    let signed_before = signed(releases)?;
    let roles = work()?;
    let signed_now = signed(releases)?;
    let void: Vec<_> = signed_before.difference(&signed_now).cloned().collect();
    let mut said =
        format!("prepared {}; `noderrctl release show` shows it, `release sign` signs it", listed(&roles));
    if !void.is_empty() {
        said.push_str(&format!("\n{} is another draft now: who had signed it signs again", listed(&void)));
    }
    printer.done(&json!({ "prepared": progress(releases)?, "signatures_void": void }), &said)
}

/// The roles whose draft somebody has signed.
fn signed(releases: &ReleaseFolder) -> anyhow::Result<BTreeSet<String>> {
    let prepared = releases.prepared()?.into_iter().map(|prepared| prepared.progress);
    Ok(prepared.filter(|progress| progress.signed > 0).map(|progress| progress.role).collect())
}
