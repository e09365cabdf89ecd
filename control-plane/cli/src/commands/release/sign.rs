//! Signing what is prepared.

use super::super::Printer;
use super::super::key_files::{public, unlock};
use super::seen::Seen;
use super::waiting::{Names, waiting};
use crate::table::harmless;
use anyhow::{bail, ensure};
use jiff::Timestamp;
use noderr_releases::{Prepared, Progress, ReleaseFolder, listed};
use serde_json::json;
use std::io::BufRead as _;
use std::path::Path;
use std::time::Duration;

/// As long as `release renew` takes, and a little.
const TEN_YEARS: Duration = Duration::from_secs(3660 * 86_400);

pub(super) fn sign(printer: &Printer, releases: &ReleaseFolder, key: &Path, yes: bool) -> anyhow::Result<()> {
    Seen::check(key, releases)?;
    let prepared = releases.prepared_for(&public(key)?)?;
    if prepared.is_empty() {
        // What has enough signatures, and does not count because of a full disk or a power cut, counts from now on.
        let settled = releases.settle()?;
        let waits = waiting(releases)?;
        if !settled.is_empty() {
            let count = if settled.len() == 1 { "counts" } else { "count" };
            let said = format!("{} had enough signatures, and {count} now", listed(&settled));
            return printer.done(&json!({ "signed": [], "in_force": settled }), &said);
        }
        let waits = if waits.is_empty() { String::new() } else { format!(" ({})", waits.join("; ")) };
        bail!("there is nothing prepared that this key may sign and has not signed{waits}");
    }
    show(&prepared);
    caution(releases, &prepared)?;
    for Prepared { progress: Progress { role, expires, .. }, .. } in &prepared {
        let is_sound = *expires > Timestamp::now() && *expires < Timestamp::now() + TEN_YEARS;
        ensure!(is_sound, "{role} would end at {expires}: prepare it anew with `noderrctl release renew`");
    }
    if !yes {
        eprint!("sign this? yes or no: ");
        let mut said = String::new();
        std::io::stdin().lock().read_line(&mut said)?;
        if !matches!(said.trim(), "yes" | "y") {
            bail!("nothing was signed: the answer was not `yes`");
        }
    }
    let unlocked = unlock(key)?;
    ensure!(
        unlocked.public() == &public(key)?,
        "{} and the public half beside it are not of one key",
        key.display()
    );
    let signed: Vec<_> = prepared.iter().map(|prepared| prepared.progress.role.clone()).collect();
    let in_force = releases.sign(&prepared, &*unlocked)?;
    Seen::keep(key, releases)?;
    let waits = waiting(releases)?;
    let then = if waits.is_empty() { "nothing waits any more".to_owned() } else { waits.join("; ") };
    let counts = if in_force.is_empty() {
        String::new()
    } else {
        let count = if in_force.len() == 1 { "counts" } else { "count" };
        format!("; from now on {} {count}", listed(&in_force))
    };
    let said = format!("signed {}{counts}; {then}", listed(&signed));
    printer.done(&json!({ "signed": signed, "in_force": in_force }), &said)
}

/// Says what else follows from a signature.
fn caution(releases: &ReleaseFolder, prepared: &[Prepared]) -> anyhow::Result<()> {
    if prepared.iter().any(|prepared| prepared.progress.role == "targets") {
        let orphans: Vec<_> = releases.built_by_nobody()?.iter().map(ToString::to_string).collect();
        if !orphans.is_empty() {
            eprintln!(
                "take care: none of those who may build from then on has built {}: no box takes or holds it once this is published",
                listed(&orphans)
            );
        }
    }
    let counts_too = enough_without(releases, prepared)?;
    if !counts_too.is_empty() {
        let lacks = if counts_too.len() == 1 {
            "lacks no signature any more, and counts"
        } else {
            "lack no signature any more, and count"
        };
        eprintln!("{} {lacks} with what is signed now, or with the role above", listed(&counts_too));
    }
    Ok(())
}

/// The roles that lack nothing but that somebody signs: what others have signed comes into force with it.
fn enough_without(releases: &ReleaseFolder, prepared: &[Prepared]) -> anyhow::Result<Vec<String>> {
    let is_signed_now = |role: &str| prepared.iter().any(|prepared| prepared.progress.role == role);
    let rest = releases.prepared()?.into_iter().map(|prepared| prepared.progress);
    let enough = rest
        .filter(|progress| progress.lacks.is_empty() && !progress.is_stale && !is_signed_now(&progress.role));
    Ok(enough.map(|progress| progress.role).collect())
}

/// Shows what is to be signed: roles that say the same together.
fn show(prepared: &[Prepared]) {
    let names = Names::here();
    let mut rest: Vec<_> = prepared.iter().collect();
    while let Some(first) = rest.first().copied() {
        let Progress { version, expires, signed, needed, .. } = &first.progress;
        let says = |one: &Prepared| {
            let Progress { version, expires, signed, needed, .. } = one.progress;
            (version, expires, signed, needed, one.says.clone())
        };
        let (same, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|one| says(one) == says(first));
        let roles: Vec<_> = same.iter().map(|one| one.progress.role.clone()).collect();
        eprintln!("{}, version {version}, ends {expires}, signed by {signed} of {needed}:", listed(&roles));
        for sentence in &first.says {
            eprintln!("  {}", names.in_words(&harmless(&sentence.to_string())));
        }
        if first.says.is_empty() {
            eprintln!("  names nothing");
        }
        rest = others;
    }
}
