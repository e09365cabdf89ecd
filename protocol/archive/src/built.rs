//! Whether an artefact is the one, and who built it: by its SHA-256, and by the signature of a builder, as `minisign` makes
//! it.

use minisign_verify::{Error, PublicKey, Signature};
use noderr_protocol::release::{Builders, Manifest};
use ring::digest::{Context, SHA256};
use std::io::{self, Read};

/// Why bytes are not the artefact.
#[derive(Debug, thiserror::Error)]
pub enum NotTheArtefact {
    /// They cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Other bytes.
    #[error("these are other bytes than those that were signed")]
    Mismatched,
    /// None of the builders has signed them.
    #[error("no builder of this network has signed it: {0}")]
    NotBuilt(String),
}

/// The signature of a builder and the key that it names, before a byte of the artefact is there.
fn signature_of(manifest: &Manifest, builders: &Builders) -> Result<(PublicKey, Signature), NotTheArtefact> {
    let none = |why: &str| NotTheArtefact::NotBuilt(why.to_owned());
    let signature = Signature::decode(&manifest.minisig).map_err(|_| none("the signature is malformed"))?;
    let name = manifest.release.to_string();
    // What was signed as one release is not another, whoever says so.
    if !signature.trusted_comment().split_whitespace().any(|word| word == name) {
        return Err(none(
            "the builder signed it under another name; the trusted comment must have the release in it",
        ));
    }
    let keys = builders.keys.iter().filter_map(|key| PublicKey::from_base64(key).ok());
    // A signature names its key, so one key at most is meant.
    for key in keys {
        match key.verify_stream(&signature).map(drop) {
            Ok(()) => return Ok((key, signature)),
            Err(Error::UnsupportedLegacyMode) => {
                return Err(none(
                    "the signature is of minisign's old style: sign it without `-l`, or with a newer minisign",
                ));
            }
            Err(_) => {}
        }
    }
    Err(none("it is signed by another key"))
}

/// Whether a manifest has a signature of one of these builders, as far as can be said without the artefact.
pub fn check_builder(manifest: &Manifest, builders: &Builders) -> Result<(), NotTheArtefact> {
    signature_of(manifest, builders).map(drop)
}

/// Checks all of `source` against the artefact that a manifest describes, and against the signature of a builder.
pub fn check_artefact(
    mut source: impl Read,
    manifest: &Manifest,
    builders: &Builders,
) -> Result<(), NotTheArtefact> {
    let none = |why: &str| NotTheArtefact::NotBuilt(why.to_owned());
    let (key, signature) = signature_of(manifest, builders)?;
    let mut verifier = key.verify_stream(&signature).map_err(|_| none("it is signed by another key"))?;
    let content = &manifest.content;
    let (mut sha256, mut bytes) = (Context::new(&SHA256), 0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        bytes += read as u64;
        if bytes > content.bytes {
            return Err(NotTheArtefact::Mismatched);
        }
        sha256.update(&buffer[..read]);
        verifier.update(&buffer[..read]);
    }
    if bytes != content.bytes || sha256.finish().as_ref() != content.sha256.0 {
        return Err(NotTheArtefact::Mismatched);
    }
    verifier.finalize().map_err(|_| none("the signature is of other bytes"))
}

/// The key of a builder in a text: the file that `minisign` writes, or its last line alone.
pub fn builder_in(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    PublicKey::from_base64(line).ok()?;
    Some(line.to_owned())
}
