//! The commands that prepare, sign and check releases, in a folder and without a network.

use super::Printer;
use super::keys::{public, unlock};
use crate::arguments::{Init, Release};
use crate::out::say;
use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use noderr_releases::{
    Draft, Metadata, Prepared, Progress, PublicKey, ReleaseFolder, ReleaseKey as _, Roles, Root, Targets,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufRead as _;
use std::path::Path;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
const KINDS: [&str; 2] = ["os", "models"];

pub(crate) fn run(printer: &Printer, command: Release) -> anyhow::Result<()> {
    match command {
        Release::Init(init) => prepare(printer, &init),
        Release::Add { folder, file, kind, name, version } => {
            add(printer, &open(&folder)?, &file, (&kind, &name, &version))
        }
        Release::Withdraw { folder, release } => withdraw(printer, &open(&folder)?, &release),
        Release::Renew { folder, days } => renew(printer, &open(&folder)?, days),
        Release::Sign { folder, key, yes } => sign(printer, &open(&folder)?, &key, yes),
        Release::Show { folder } => show(printer, &open(&folder)?),
        Release::List { folder } => list(printer, &open(&folder)?),
        Release::Verify { folder } => verify(printer, &open(&folder)?),
    }
}

fn open(folder: &Path) -> anyhow::Result<ReleaseFolder> {
    let releases = ReleaseFolder::new(folder);
    ensure!(
        releases.coming::<Root>("root")?.is_some(),
        "{} holds no releases; `noderrctl release init` begins a folder",
        folder.display()
    );
    Ok(releases)
}

/// In so many days; metadata knows whole seconds.
fn in_days(days: u32) -> Timestamp {
    let then = Timestamp::now() + DAY * days;
    Timestamp::from_second(then.as_second()).unwrap_or(then)
}

fn prepare(printer: &Printer, init: &Init) -> anyhow::Result<()> {
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
    let (keys, ends) = (root.iter().collect::<Vec<_>>(), in_days(init.days));
    let roles = Roles {
        root: (&keys, init.threshold),
        targets: (&[&targets], 1),
        snapshot: (&[&online], 1),
        timestamp: (&[&online], 1),
    };
    let mut top = Targets::new(1, ends);
    for (kind, key) in KINDS.into_iter().zip([&os, &models]) {
        top.delegate(kind, &[&format!("{kind}/*/*")], &[key], 1);
        releases.put_draft(kind, &Draft::new(Targets::new(1, ends)))?;
    }
    releases.put_draft("targets", &Draft::new(top))?;
    // Last: with a root, the folder is one.
    releases.put_draft("root", &Draft::new(Root::new(1, ends, &roles)))?;
    prepared(printer, &releases)
}

/// The next version of a role, without signatures: its draft, or one that begins with what is published.
fn next(releases: &ReleaseFolder, role: &str) -> anyhow::Result<Targets> {
    let mut says =
        releases.coming::<Targets>(role)?.with_context(|| format!("there is no role {role}"))?.says().clone();
    says.version = releases.newest_version(role)?.unwrap_or_default() + 1;
    Ok(says)
}

fn add(
    printer: &Printer,
    releases: &ReleaseFolder,
    file: &Path,
    (kind, name, version): (&str, &str, &str),
) -> anyhow::Result<()> {
    ensure!(KINDS.contains(&kind), "--kind is one of {}, not `{kind}`", KINDS.join(", "));
    let is_word = |word: &str, more: &str| {
        !word.is_empty()
            && word.len() <= 64
            && word
                .chars()
                .all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || more.contains(char))
    };
    ensure!(is_word(name, "-"), "--name `{name}`: small letters, digits and dashes, 64 at most");
    ensure!(
        is_word(version, ".-") && version.starts_with(|first: char| first.is_ascii_digit()),
        "--release-version `{version}`: a number such as 1.4.0"
    );
    let release = format!("{kind}/{name}/{version}");
    let mut says = next(releases, kind)?;
    ensure!(
        !says.targets.contains_key(&release),
        "{release} is there already, and what was released is never changed: give it another version"
    );
    let artefact = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let target = releases.put_target(&release, artefact)?;
    says.targets.insert(release, target);
    releases.put_draft(kind, &Draft::new(says))?;
    prepared(printer, releases)
}

fn withdraw(printer: &Printer, releases: &ReleaseFolder, release: &str) -> anyhow::Result<()> {
    let kind = release.split('/').next().unwrap_or_default();
    ensure!(KINDS.contains(&kind), "`{release}` is no release; see `noderrctl release list`");
    let mut says = next(releases, kind)?;
    ensure!(
        says.targets.remove(release).is_some(),
        "there is no release {release}; see `noderrctl release list`"
    );
    releases.put_draft(kind, &Draft::new(says))?;
    prepared(printer, releases)
}

fn renew(printer: &Printer, releases: &ReleaseFolder, days: u32) -> anyhow::Result<()> {
    let ends = in_days(days);
    for role in releases.offline_roles()? {
        if role == "root" {
            let root = releases.coming::<Root>("root")?.context("a folder has a root")?;
            let mut root = root.says().clone();
            (root.version, root.expires) = (releases.newest_version("root")?.unwrap_or_default() + 1, ends);
            releases.put_draft("root", &Draft::new(root))?;
        } else {
            let mut says = next(releases, &role)?;
            says.expires = ends;
            releases.put_draft(&role, &Draft::new(says))?;
        }
    }
    prepared(printer, releases)
}

fn prepared(printer: &Printer, releases: &ReleaseFolder) -> anyhow::Result<()> {
    let rows = progress(releases)?;
    printer.done(&Value::Array(rows), "prepared; `noderrctl release show` shows it, `release sign` signs it")
}

fn progress(releases: &ReleaseFolder) -> anyhow::Result<Vec<Value>> {
    let describe = |Prepared { progress, changes, .. }| {
        let Progress { role, version, expires, signed, needed } = progress;
        let signed = format!("{signed} of {needed}");
        json!({ "role": role, "version": version, "ends": expires.to_string(), "signed": signed, "changes": changes })
    };
    Ok(releases.prepared()?.into_iter().map(describe).collect())
}

fn sign(printer: &Printer, releases: &ReleaseFolder, key: &Path, yes: bool) -> anyhow::Result<()> {
    let prepared = releases.prepared_for(&public(key)?)?;
    ensure!(
        !prepared.is_empty(),
        "there is nothing prepared that this key may sign; see `noderrctl release show`"
    );
    for Prepared { progress, changes, .. } in &prepared {
        let Progress { role, version, expires, signed, needed } = progress;
        eprintln!("{role}, version {version}, ends {expires}, signed by {signed} of {needed}:");
        for change in changes {
            eprintln!("  {change}");
        }
    }
    if !yes {
        eprint!("sign this? yes or no: ");
        let mut said = String::new();
        std::io::stdin().lock().read_line(&mut said)?;
        if said.trim() != "yes" {
            bail!("nothing was signed");
        }
    }
    let unlocked = unlock(key)?;
    ensure!(
        unlocked.public() == &public(key)?,
        "{} and the public half beside it are not of one key",
        key.display()
    );
    let signed: Vec<_> = prepared.iter().map(|prepared| prepared.progress.role.clone()).collect();
    releases.sign(prepared, &unlocked)?;
    let waits = |Prepared { progress: Progress { role, signed, needed, .. }, .. }| {
        format!("{role} takes {} more", needed.saturating_sub(signed))
    };
    let waits: Vec<_> = releases.prepared()?.into_iter().map(waits).collect();
    let then = if waits.is_empty() { "nothing waits any more".to_owned() } else { waits.join(", ") };
    printer.done(&json!({ "signed": signed }), &format!("signed {}; {then}", signed.join(", ")))
}

fn show(printer: &Printer, releases: &ReleaseFolder) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for role in releases.offline_roles()? {
        let published = match role.as_str() {
            "root" => releases.newest::<Root>(&role)?.map(|root| describe(root.says())),
            _ => releases.newest::<Targets>(&role)?.map(|targets| describe(targets.says())),
        };
        let mut row = json!({ "role": role, "published": null, "until": null });
        if let Some((version, ends)) = published {
            (row["published"], row["until"]) = (version.into(), ends.into());
        }
        rows.push(row);
    }
    let drafts = progress(releases)?;
    for draft in &drafts {
        if let Some(row) = rows.iter_mut().find(|row| row["role"] == draft["role"]) {
            (row["prepared"], row["signed"], row["changes"]) =
                (draft["version"].clone(), draft["signed"].clone(), draft["changes"].clone());
        }
    }
    printer.rows(rows, &ROLES)?;
    if printer.json {
        return Ok(());
    }
    for draft in &drafts {
        let role = draft["role"].as_str().unwrap_or_default();
        for change in draft["changes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            say(&format!(" {role}: {change}"))?;
        }
    }
    Ok(())
}

const ROLES: [(&str, &str); 5] = [
    ("role", "role"),
    ("published", "published"),
    ("until", "until"),
    ("prepared", "prepared"),
    ("signed", "signed"),
];

fn describe(says: &impl Metadata) -> (u64, String) {
    (says.version(), says.expires().to_string())
}

fn list(printer: &Printer, releases: &ReleaseFolder) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for role in KINDS {
        let Some(targets) = releases.newest::<Targets>(role)? else { continue };
        rows.extend(targets.says().targets.iter().map(|(release, target)| {
            json!({ "release": release, "bytes": target.length, "sha256": target.hashes.get("sha256") })
        }));
    }
    printer.rows(rows, &[("release", "release"), ("bytes", "bytes"), ("sha256", "sha256")])
}

fn verify(printer: &Printer, releases: &ReleaseFolder) -> anyhow::Result<()> {
    let wrong = releases.check(Timestamp::now())?;
    printer.done(
        &json!({ "wrong": wrong }),
        if wrong.is_empty() {
            "everything is as it was signed"
        } else {
            "not everything is as it should be:"
        },
    )?;
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}
