//! Builders: keys of `minisign`, with which whoever built an artefact signs it. The stock tool makes them and reads them too.

use crate::ReleaseError;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use minisign::{KeyPair, SecretKey, SecretKeyBox};
use secrecy::{ExposeSecret as _, SecretString};
use std::io::Read;
use std::ops::Range;

/// Where things are in the file of a key: how it is encrypted, its number and the key itself, and behind them their checksum.
const BYTES: usize = 158;
const ENCRYPTED_BY: Range<usize> = 2..4;
const SIGNS_BY: Range<usize> = 0..2;
const NUMBER_AND_KEY: Range<usize> = 54..126;
const CHECKSUM: Range<usize> = 126..BYTES;

/// A key without a passphrase, as the stock tool writes it, with the checksum that the tool leaves out and the library asks for.
fn with_checksum(text: &str) -> Option<String> {
    let (comment, key) = text.trim_end().split_once('\n')?;
    let mut bytes = BASE64_STANDARD.decode(key.trim()).ok().filter(|bytes| bytes.len() == BYTES)?;
    let is_open = bytes[ENCRYPTED_BY] == [0, 0] && bytes[CHECKSUM].iter().all(|byte| *byte == 0);
    let checksum = Blake2b::<U32>::new().chain_update(&bytes[SIGNS_BY]).chain_update(&bytes[NUMBER_AND_KEY]);
    bytes[CHECKSUM].copy_from_slice(&checksum.finalize());
    is_open.then(|| format!("{comment}\n{}\n", BASE64_STANDARD.encode(bytes)))
}

/// The key of a builder.
pub struct BuilderKey(SecretKey);

fn unusable(error: minisign::PError) -> ReleaseError {
    ReleaseError::Key(error.to_string())
}

/// Makes a key: the file that the builder keeps, and the one that is for everybody.
pub fn new_builder(passphrase: &SecretString) -> Result<(SecretString, String), ReleaseError> {
    let pair =
        KeyPair::generate_encrypted_keypair(Some(passphrase.expose_secret().to_owned())).map_err(unusable)?;
    let secret = pair.sk.to_box(None).map_err(unusable)?.into_string();
    Ok((secret.into(), pair.pk.to_box().map_err(unusable)?.into_string()))
}

/// Makes a key without a passphrase, and the public half in a line: for rehearsals.
pub fn new_unlocked_builder() -> Result<(BuilderKey, String), ReleaseError> {
    let pair = KeyPair::generate_unencrypted_keypair().map_err(unusable)?;
    Ok((BuilderKey(pair.sk), pair.pk.to_base64()))
}

impl BuilderKey {
    /// Reads a key as `minisign` writes it. The passphrase is asked for only if the key needs one.
    pub fn from_text<E: From<ReleaseError>>(
        text: &str,
        passphrase: impl FnOnce() -> Result<SecretString, E>,
    ) -> Result<Self, E> {
        let no_key =
            |_| ReleaseError::Key("this is not a key of `minisign`, or the file is damaged".to_owned());
        let text = with_checksum(text).unwrap_or_else(|| text.to_owned());
        let read = || SecretKeyBox::from_string(&text).map_err(no_key);
        if let Ok(key) = read()?.into_unencrypted_secret_key() {
            return Ok(Self(key));
        }
        let passphrase = passphrase()?.expose_secret().to_owned();
        let wrong = |_| ReleaseError::Key("the passphrase is wrong, or the file is damaged".to_owned());
        Ok(Self(read()?.into_secret_key(Some(passphrase)).map_err(wrong)?))
    }

    /// Signs an artefact; `comment` is signed with it.
    pub fn sign(&self, artefact: impl Read, comment: &str) -> Result<String, ReleaseError> {
        let signed = minisign::sign(None, &self.0, artefact, Some(comment), None).map_err(unusable)?;
        Ok(signed.into_string())
    }
}
