//! Whether an artefact is the one, and who built it: by its SHA-256, and by the signature of a builder, as `minisign` makes
//! it.

use minisign_verify::{PublicKey, Signature};
use noderr_protocol::release::{Builders, Content};
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

/// Checks all of `source` against the artefact that it should be, and against the signature of a builder.
pub fn check_artefact(
    mut source: impl Read,
    content: &Content,
    builders: &Builders,
    minisig: &str,
) -> Result<(), NotTheArtefact> {
    let none = |why: &str| NotTheArtefact::NotBuilt(why.to_owned());
    let signature = Signature::decode(minisig).map_err(|_| none("the signature is malformed"))?;
    let keys: Vec<_> = builders.keys.iter().filter_map(|key| PublicKey::from_base64(key).ok()).collect();
    // A signature names its key, so one verifier at most begins.
    let mut verifier = keys
        .iter()
        .find_map(|key| key.verify_stream(&signature).ok())
        .ok_or_else(|| none("it is signed by another key"))?;
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
