//! Signing what is prepared.

use super::super::Printer;
use super::super::key_files::{public, unlock};
use super::seen::Seen;
use anyhow::{bail, ensure};
use noderr_releases::{Prepared, Progress, ReleaseFolder};
use serde_json::json;
use std::io::BufRead as _;
use std::path::Path;

pub(super) fn sign(printer: &Printer, releases: &ReleaseFolder, key: &Path, yes: bool) -> anyhow::Result<()> {
    Seen::check(key, releases)?;
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
    releases.sign(prepared, &*unlocked)?;
    Seen::keep(key, releases)?;
    let waits = |Prepared { progress: Progress { role, signed, needed, .. }, .. }| {
        format!("{role} takes {} more", needed.saturating_sub(signed))
    };
    let waits: Vec<_> = releases.prepared()?.into_iter().map(waits).collect();
    let then = if waits.is_empty() { "nothing waits any more".to_owned() } else { waits.join(", ") };
    printer.done(&json!({ "signed": signed }), &format!("signed {}; {then}", signed.join(", ")))
}
