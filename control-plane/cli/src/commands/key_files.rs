//! Files of keys, and the public halves beside them.

use super::hsm::HsmPlace;
use super::proof::read_secret;
use anyhow::{Context as _, bail, ensure};
use noderr_archive::builder_in;
use noderr_releases::{BuilderKey, FileKey, PublicKey, ReleaseKey};
use secrecy::{ExposeSecret as _, SecretString};
use std::fs::{self, File};
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A passphrase is guessed at by whoever has the file, as often as the machine can.
const SHORTEST: usize = 12;

/// Where the public half of a key lies.
pub(super) fn public_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn is_public_half(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "pub")
}

/// No key and no public half is overwritten.
pub(super) fn ensure_free(file: &Path) -> anyhow::Result<()> {
    for path in [file, &public_of(file)] {
        ensure!(!path.try_exists()?, "{} exists already, and no key is overwritten", path.display());
    }
    Ok(())
}

/// Asks for a passphrase for a new file.
pub(super) fn new_passphrase(prompt: &str) -> anyhow::Result<SecretString> {
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

/// Writes a file that nobody else may read, and the public half beside it.
pub(super) fn write_pair(file: &Path, secret: &[u8], public: &[u8]) -> anyhow::Result<()> {
    write(file, secret, 0o600)?;
    write_public(&public_of(file), public)
}

/// Writes a public half where nothing is yet.
pub(super) fn write_public(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write(path, bytes, 0o644)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let file = File::options().write(true).create_new(true).mode(mode).open(path);
    match file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all())) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists already, and nothing is overwritten", path.display())
        }
        written => written.with_context(|| format!("cannot write {}", path.display())),
    }
}

/// The public half of a key, by the key's file or by its own.
pub(super) fn public(file: &Path) -> anyhow::Result<PublicKey> {
    let place = if is_public_half(file) { file.to_owned() } else { public_of(file) };
    let bytes = small(&place)
        .with_context(|| format!("cannot read the public half of the key, {}", place.display()))?;
    if builder_half(file)?.is_some() {
        bail!("{} is the key of a builder, see `noderrctl release builders`", place.display());
    }
    serde_json::from_slice(&bytes)
        .ok()
        .with_context(|| format!("{} holds no public half of a key that signs releases", place.display()))
}

/// The public half of a builder's key, if the file holds one.
pub(super) fn builder_half(file: &Path) -> anyhow::Result<Option<String>> {
    let place = if is_public_half(file) { file.to_owned() } else { public_of(file) };
    let bytes = small(&place)
        .with_context(|| format!("cannot read the public half of the key, {}", place.display()))?;
    Ok(std::str::from_utf8(&bytes).ok().and_then(builder_in))
}

/// Asks for the passphrase of a key, or for the PIN of the HSM that keeps the key.
pub(super) fn unlock(file: &Path) -> anyhow::Result<Box<dyn ReleaseKey>> {
    let text = read(file)?;
    match HsmPlace::of(&text) {
        Some(place) => Ok(Box::new(place.unlock().with_context(|| file.display().to_string())?)),
        None => Ok(Box::new(decrypt(file, &text)?)),
    }
}

/// Asks for the passphrase of a key that lies in its file.
pub(super) fn unlock_file(file: &Path) -> anyhow::Result<FileKey> {
    let text = read(file)?;
    ensure!(
        HsmPlace::of(&text).is_none(),
        "an HSM keeps the key of {}, and gives nobody a copy",
        file.display()
    );
    decrypt(file, &text)
}

/// The largest file of a key that is read: a stick may hold links and files without end.
const LARGEST: u64 = 64 * 1024;

fn small(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ensure!(fs::metadata(file)?.is_file(), "it is no file");
    File::open(file)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn small_text(file: &Path) -> anyhow::Result<String> {
    let bytes = small(file).with_context(|| format!("cannot read the key {}", file.display()))?;
    String::from_utf8(bytes).ok().with_context(|| format!("{} is no key", file.display()))
}

fn ensure_secret(file: &Path) -> anyhow::Result<()> {
    ensure!(
        !is_public_half(file),
        "{} is the public half of a key: name the key itself, {}",
        file.display(),
        file.with_extension("").display()
    );
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    ensure_secret(file)?;
    let text = small_text(file)?;
    ensure!(
        !text.starts_with("untrusted comment:"),
        "{} is the key of a builder, which signs artefacts: see `noderrctl release add --builder`",
        file.display()
    );
    Ok(text)
}

fn decrypt(file: &Path, text: &str) -> anyhow::Result<FileKey> {
    let passphrase = read_secret(&format!("passphrase of {}: ", file.display()))?;
    FileKey::from_pem(text, &passphrase.into()).with_context(|| file.display().to_string())
}

/// Reads the key of a builder, and asks for its passphrase if it has one.
pub(super) fn unlock_builder(file: &Path) -> anyhow::Result<BuilderKey> {
    ensure_secret(file)?;
    let text = small_text(file)?;
    ensure!(
        text.starts_with("untrusted comment:"),
        "{} is no key of a builder: `noderrctl keys new --builder` makes one, or `minisign -G`",
        file.display()
    );
    let asked = || anyhow::Ok(read_secret(&format!("passphrase of {}: ", file.display()))?.into());
    BuilderKey::from_text(&text, asked).with_context(|| file.display().to_string())
}
