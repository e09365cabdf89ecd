//! The commands about keys that sign releases.

use super::Printer;
use super::folder::open;
use super::proof::read_secret;
use crate::arguments::Keys;
use anyhow::{Context as _, bail, ensure};
use noderr_archive::builder_in;
use noderr_releases::{BuilderKey, FileKey, PublicKey, ReleaseKey as _, Root, new_builder};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A passphrase is guessed at by whoever has the file, as often as the machine can.
const SHORTEST: usize = 12;

pub(crate) fn run(printer: &Printer, command: Keys) -> anyhow::Result<()> {
    match command {
        Keys::New { file, builder } => make(printer, &file, builder),
        Keys::Export { file, copy } => export(printer, &file, &copy),
        Keys::Rotate { folder, old, new } => {
            let roles = open(&folder)?.replace_key(&public(&old)?, Some(&public(&new)?))?;
            replaced(printer, &roles)
        }
        Keys::Revoke { folder, key } => {
            let releases = open(&folder)?;
            let roles = releases.replace_key(&public(&key)?, None)?;
            if let Some(root) = releases.coming::<Root>("root")? {
                for (role, keys) in root.says().roles.iter().filter(|(role, _)| roles.contains(role)) {
                    if keys.threshold > 1 && keys.keyids.len() == keys.threshold {
                        eprintln!(
                            "{role} takes {} keys, and no more are left: with one of them lost, nothing could be changed any more; \
                             `noderrctl keys rotate` puts another key in the place of one",
                            keys.threshold
                        );
                    }
                }
            }
            replaced(printer, &roles)
        }
        Keys::Show { file } => {
            let key = public(&file)?;
            printer.fields(&json!({ "id": key.id(), "key": serde_json::to_value(&key)?["keyval"]["public"] }))
        }
    }
}

fn replaced(printer: &Printer, roles: &[String]) -> anyhow::Result<()> {
    let said = format!("prepared {}; `noderrctl release sign`, and publish", roles.join(", "));
    printer.done(&json!({ "prepared": roles }), &said)
}

/// Writes a key into another file under another passphrase.
fn export(printer: &Printer, file: &Path, copy: &Path) -> anyhow::Result<()> {
    let key = unlock(file)?;
    let place = public_of(copy);
    for path in [copy, &place] {
        ensure!(!path.try_exists()?, "{} exists already, and no key is overwritten", path.display());
    }
    let passphrase = new_passphrase("passphrase for the copy: ")?;
    write(copy, key.to_pem(&passphrase)?.expose_secret().as_bytes(), 0o600)?;
    write(&place, &serde_json::to_vec_pretty(key.public())?, 0o644)?;
    printer.done(&json!({ "id": key.public().id() }), &format!("{} is the same key", copy.display()))
}

/// Asks for a passphrase for a new file.
fn new_passphrase(prompt: &str) -> anyhow::Result<SecretString> {
    let passphrase = SecretString::from(read_secret(prompt)?);
    ensure!(
        passphrase.expose_secret().chars().count() >= SHORTEST,
        "a passphrase has at least {SHORTEST} characters: whoever has the file can guess at leisure"
    );
    if std::io::stdin().is_terminal() {
        let again = read_secret("the passphrase again: ")?;
        ensure!(again == passphrase.expose_secret(), "the two passphrases differ");
    }
    Ok(passphrase)
}

fn make(printer: &Printer, file: &Path, builder: bool) -> anyhow::Result<()> {
    let place = public_of(file);
    for path in [file, &place] {
        ensure!(!path.try_exists()?, "{} exists already, and no key is overwritten", path.display());
    }
    let passphrase = new_passphrase("passphrase for the new key: ")?;
    if builder {
        let (secret, public) = new_builder(&passphrase)?;
        write(file, secret.expose_secret().as_bytes(), 0o600)?;
        write(&place, public.as_bytes(), 0o644)?;
        let said =
            format!("{} is the key of a builder; {} is for everybody", file.display(), place.display());
        return printer.done(&json!({ "builder": builder_in(&public) }), &said);
    }
    let key = FileKey::generate();
    write(file, key.to_pem(&passphrase)?.expose_secret().as_bytes(), 0o600)?;
    write(&place, &serde_json::to_vec_pretty(key.public())?, 0o644)?;
    let said =
        format!("{} is the key {}; {} is for everybody", file.display(), key.public().id(), place.display());
    printer.done(&json!({ "id": key.public().id() }), &said)
}

/// Writes a public half where nothing is yet.
pub(super) fn write_public(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write(path, bytes, 0o644)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let file = File::options().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The public half of a key, by the key's file or by its own.
pub(super) fn public(file: &Path) -> anyhow::Result<PublicKey> {
    let is_public = file.extension().is_some_and(|extension| extension == "pub");
    let place = if is_public { file.to_owned() } else { public_of(file) };
    let bytes = fs::read(&place)
        .with_context(|| format!("cannot read the public half of the key, {}", place.display()))?;
    if std::str::from_utf8(&bytes).ok().and_then(builder_in).is_some() {
        bail!("{} is the key of a builder, see `noderrctl release builders`", place.display());
    }
    serde_json::from_slice(&bytes).with_context(|| format!("{} holds no public key", place.display()))
}

/// Asks for the passphrase of a key, and reads the key.
pub(super) fn unlock(file: &Path) -> anyhow::Result<FileKey> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read the key {}", file.display()))?;
    let passphrase = read_secret(&format!("passphrase of {}: ", file.display()))?;
    FileKey::from_pem(&text, &passphrase.into()).with_context(|| file.display().to_string())
}

/// Reads the key of a builder, and asks for its passphrase if it has one.
pub(super) fn unlock_builder(file: &Path) -> anyhow::Result<BuilderKey> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read the key {}", file.display()))?;
    let asked = || anyhow::Ok(read_secret(&format!("passphrase of {}: ", file.display()))?.into());
    BuilderKey::from_text(&text, asked).with_context(|| file.display().to_string())
}

fn public_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}
