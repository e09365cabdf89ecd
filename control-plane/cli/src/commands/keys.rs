//! The commands about keys that sign releases.

use super::Printer;
use super::folder::open;
use super::hsm::HsmPlace;
use super::key_files::{
    builder_half, ensure_free, new_passphrase, public, public_of, unlock_file, write_pair,
};
use super::release::{copy_seen, prepare};
use crate::arguments::{Keys, NewKey};
use anyhow::{Context as _, bail};
use noderr_archive::builder_in;
use noderr_releases::{FileKey, PublicKey, ReleaseFolder, ReleaseKey as _, Root, new_builder};
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::path::Path;

/// The beginning of an id that is long enough to mean one key.
const SHORTEST_ID: usize = 8;

pub(crate) fn run(printer: &Printer, command: Keys) -> anyhow::Result<()> {
    match command {
        Keys::New(new) => make(printer, new),
        Keys::Export { file, copy } => export(printer, &file, &copy),
        Keys::Rotate { folder, old, new } => {
            let releases = open(&folder)?;
            let (old, new) = (public_or_known(&releases, &old)?, public(&new)?);
            if releases.was_given_up(&new)? {
                eprintln!(
                    "take care: {} signed for this network before, and was taken away: whoever else has the key signs with it again",
                    new.id()
                );
            }
            prepare(printer, &releases, || Ok(releases.replace_key(&old, Some(&new))?))
        }
        Keys::Revoke { folder, key } => {
            let releases = open(&folder)?;
            let key = public_or_known(&releases, &key)?;
            prepare(printer, &releases, || revoke(&releases, &key))
        }
        Keys::Show { file } => {
            if let Some(builder) = builder_half(&file)? {
                return printer.fields(&json!({ "kind": "builder", "key": builder }));
            }
            let key = public(&file)?;
            printer.fields(&json!({ "id": key.id(), "kind": key.kind(), "key": key.written() }))
        }
    }
}

/// A key by its public half, or by its id: whoever has lost a key may have lost both halves.
fn public_or_known(releases: &ReleaseFolder, key: &Path) -> anyhow::Result<PublicKey> {
    let id =
        key.to_str().filter(|id| id.len() >= SHORTEST_ID && id.chars().all(|char| char.is_ascii_hexdigit()));
    let Some(id) = id.filter(|_| !key.exists()) else { return public(key) };
    let known = releases.keys()?.into_iter().filter(|known| known.id().starts_with(&id.to_lowercase()));
    match &known.collect::<Vec<_>>()[..] {
        [one] => Ok(one.clone()),
        [] => bail!("no key that signs anything in this folder has an id that begins with {id}"),
        _ => bail!("several keys have ids that begin with {id}: give more of the id"),
    }
}

fn revoke(releases: &ReleaseFolder, key: &PublicKey) -> anyhow::Result<Vec<String>> {
    let changed = releases.replace_key(key, None)?;
    let root = releases.coming::<Root>("root")?.context("a folder has a root")?;
    for (role, keys) in root.says().roles.iter().filter(|(role, _)| changed.contains(role)) {
        if keys.threshold > 1 && keys.keyids.len() == keys.threshold {
            eprintln!(
                "{role} takes {} keys, and no more are left: with one of them lost, nothing could be changed any more; \
                 `noderrctl keys rotate` puts another key in the place of one",
                keys.threshold
            );
        }
    }
    Ok(changed)
}

/// Writes a key into another file under another passphrase.
fn export(printer: &Printer, file: &Path, copy: &Path) -> anyhow::Result<()> {
    ensure_free(copy)?;
    let key = unlock_file(file)?;
    let passphrase = new_passphrase("passphrase for the copy: ")?;
    let (secret, public) = (key.to_pem(&passphrase)?, serde_json::to_vec_pretty(key.public())?);
    write_pair(copy, secret.expose_secret().as_bytes(), &public)?;
    copy_seen(file, copy)?;
    printer.done(&json!({ "id": key.public().id() }), &format!("{} is the same key", copy.display()))
}

fn make(printer: &Printer, new: NewKey) -> anyhow::Result<()> {
    let NewKey { file, builder, module, token, label, existing } = new;
    ensure_free(&file)?;
    if builder {
        return make_builder(printer, &file);
    }
    let id = match (module, token) {
        (Some(module), Some(token)) => {
            let named = || file.file_name().map(|name| name.to_string_lossy().into_owned());
            let key = label.or_else(named).context("the key needs a name")?;
            let module =
                module.canonicalize().with_context(|| format!("there is no {}", module.display()))?;
            let place = HsmPlace { module, token, key };
            let text = serde_json::to_vec_pretty(&place)?;
            let key = if existing { place.unlock()? } else { place.make()? };
            write_pair(&file, &text, &serde_json::to_vec_pretty(key.public())?)?;
            key.public().id()
        }
        _ => {
            let (passphrase, key) = (new_passphrase("passphrase for the new key: ")?, FileKey::generate());
            let (secret, public) = (key.to_pem(&passphrase)?, serde_json::to_vec_pretty(key.public())?);
            write_pair(&file, secret.expose_secret().as_bytes(), &public)?;
            key.public().id()
        }
    };
    let public = public_of(&file);
    let said = format!("{} is the key {id}; {} is for everybody", file.display(), public.display());
    printer.done(&json!({ "id": id }), &said)
}

fn make_builder(printer: &Printer, file: &Path) -> anyhow::Result<()> {
    let passphrase = new_passphrase("passphrase for the new key: ")?;
    let (secret, public) = new_builder(&passphrase)?;
    write_pair(file, secret.expose_secret().as_bytes(), public.as_bytes())?;
    let place = public_of(file);
    let said = format!("{} is the key of a builder; {} is for everybody", file.display(), place.display());
    printer.done(&json!({ "builder": builder_in(&public) }), &said)
}
