//! Keys that sign releases. A key in a file is encrypted with a passphrase, as PKCS#8 has it: stock tools can read it.

use crate::ReleaseError;
use pkcs8::der::pem;
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument};
use rand_core::{OsRng, RngCore as _};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey, VerificationAlgorithm,
};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use serde::{Deserialize, Serialize};

/// PKCS#8 around the 32 bytes of an Ed25519 key.
const HEAD: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
/// What a guess at a passphrase costs: as much work as is usual today, in no more memory than OpenSSL allows.
const LOG_N: u8 = 14;
const R: u32 = 8;
const P: u32 = 8;
const NOT_A_KEY: &str = "this is not a key that `noderrctl keys new` has made, or the file is damaged";
const LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// SubjectPublicKeyInfo around the 65 bytes of a point of P-256.
const P256: [u8; 26] = *b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const P256_LABEL: &str = "PUBLIC KEY";

/// Signs metadata, wherever the key is.
pub trait ReleaseKey {
    /// The public half.
    fn public(&self) -> &PublicKey;
    /// Signs bytes.
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, ReleaseError>;
}

/// A public key as metadata names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublicKey {
    keytype: String,
    scheme: String,
    keyval: KeyValue,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct KeyValue {
    public: String,
}

impl PublicKey {
    /// An Ed25519 key, by its 32 bytes.
    pub fn ed25519(raw: &[u8]) -> Self {
        let keyval = KeyValue { public: hex::encode(raw) };
        Self { keytype: "ed25519".to_owned(), scheme: "ed25519".to_owned(), keyval }
    }

    /// An ECDSA key on P-256, by its uncompressed point: what HSMs have.
    pub fn p256(point: &[u8]) -> Result<Self, ReleaseError> {
        let document = [&P256[..], point].concat();
        let public = pem::encode_string(P256_LABEL, LineEnding::LF, &document)
            .map_err(|error| ReleaseError::Key(error.to_string()))?;
        let keyval = KeyValue { public };
        Ok(Self { keytype: "ecdsa".to_owned(), scheme: "ecdsa-sha2-nistp256".to_owned(), keyval })
    }

    /// What kind of key it is.
    pub fn kind(&self) -> &str {
        &self.scheme
    }

    /// The key in a line.
    pub fn written(&self) -> String {
        self.keyval.public.lines().filter(|line| !line.starts_with("---")).collect()
    }

    /// The bytes of the key and how it signs, where it is written as this tool writes keys.
    fn parsed(&self) -> Option<(Vec<u8>, &'static dyn VerificationAlgorithm)> {
        let public = &self.keyval.public;
        let (raw, again, algorithm): (_, _, &'static dyn VerificationAlgorithm) = match &*self.keytype {
            "ed25519" => {
                let raw = hex::decode(public).ok().filter(|raw| raw.len() == 32)?;
                let again = Self::ed25519(&raw);
                (raw, again, &ED25519)
            }
            "ecdsa" => {
                let (_, document) = pem::decode_vec(public.as_bytes()).ok()?;
                let point = document.strip_prefix(&P256[..]).filter(|point| point.len() == 65)?;
                // A key that is none can never sign: of three there would be two.
                p256::PublicKey::from_sec1_bytes(point).ok()?;
                (point.to_owned(), Self::p256(point).ok()?, &ECDSA_P256_SHA256_ASN1)
            }
            _ => return None,
        };
        // A key that could be written in several ways would have several ids.
        (again == *self).then_some((raw, algorithm))
    }

    /// Whether this is written as this tool writes keys.
    pub(crate) fn is_sound(&self) -> bool {
        self.parsed().is_some()
    }

    /// Whether a signature is of this key.
    pub(crate) fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        self.parsed()
            .is_some_and(|(raw, how)| UnparsedPublicKey::new(how, raw).verify(bytes, signature).is_ok())
    }

    /// The id of the key: the hash of the key as metadata names it, so that a key has one.
    pub fn id(&self) -> String {
        #[expect(
            clippy::expect_used,
            reason = "only numbers with fractions have no canonical form, and these are strings"
        )]
        let bytes =
            sigstore_tuf::canonical_json::to_canonical_bytes(&serde_json::json!(self)).expect("strings");
        crate::digest::sha256(&bytes)
    }
}

/// An Ed25519 key in memory, from an encrypted file.
pub struct FileKey {
    pair: Ed25519KeyPair,
    pkcs8: SecretBox<[u8; 48]>,
    public: PublicKey,
}

impl FileKey {
    /// A new key.
    pub fn generate() -> Self {
        let mut pkcs8 = SecretBox::new(Box::new([0; 48]));
        {
            use secrecy::ExposeSecretMut as _;
            let bytes = pkcs8.expose_secret_mut();
            bytes[..HEAD.len()].copy_from_slice(&HEAD);
            OsRng.fill_bytes(&mut bytes[HEAD.len()..]);
        }
        #[expect(clippy::expect_used, reason = "any 32 bytes are an Ed25519 key")]
        Self::from_pkcs8(pkcs8).expect("32 bytes are a key")
    }

    /// The key as PKCS#8, for a place that keeps secrets itself.
    pub fn to_bytes(&self) -> &[u8] {
        self.pkcs8.expose_secret()
    }

    /// Reads a key from PKCS#8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReleaseError> {
        let bytes: [u8; 48] =
            bytes.try_into().map_err(|_| ReleaseError::Key("this is not an Ed25519 key".to_owned()))?;
        Self::from_pkcs8(SecretBox::new(Box::new(bytes)))
    }

    fn from_pkcs8(pkcs8: SecretBox<[u8; 48]>) -> Result<Self, ReleaseError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8.expose_secret())
            .map_err(|error| ReleaseError::Key(error.to_string()))?;
        let public = PublicKey::ed25519(pair.public_key().as_ref());
        Ok(Self { pair, pkcs8, public })
    }

    /// The key as the text of an encrypted file.
    pub fn to_pem(&self, passphrase: &SecretString) -> Result<SecretString, ReleaseError> {
        let unusable = |why: String| ReleaseError::Key(why);
        let info = PrivateKeyInfo::try_from(&self.pkcs8.expose_secret()[..])
            .map_err(|error| unusable(error.to_string()))?;
        let (mut salt, mut iv) = ([0; 16], [0; 16]);
        OsRng.fill_bytes(&mut salt);
        OsRng.fill_bytes(&mut iv);
        let costs = scrypt::Params::new(LOG_N, R, P, 32).map_err(|error| unusable(error.to_string()))?;
        let cipher = pbes2::Parameters::scrypt_aes256cbc(costs, &salt, &iv)
            .map_err(|error| unusable(error.to_string()))?;
        let encrypted = info
            .encrypt_with_params(cipher, passphrase.expose_secret())
            .map_err(|error| unusable(error.to_string()))?;
        let pem = encrypted.to_pem(LABEL, LineEnding::LF).map_err(|error| unusable(error.to_string()))?;
        Ok(SecretString::from(pem.to_string()))
    }

    /// Reads the text of an encrypted file.
    pub fn from_pem(text: &str, passphrase: &SecretString) -> Result<Self, ReleaseError> {
        let (label, document) =
            SecretDocument::from_pem(text).map_err(|_| ReleaseError::Key(NOT_A_KEY.to_owned()))?;
        if label != LABEL {
            return Err(ReleaseError::Key(NOT_A_KEY.to_owned()));
        }
        let encrypted = EncryptedPrivateKeyInfo::try_from(document.as_bytes())
            .map_err(|_| ReleaseError::Key(NOT_A_KEY.to_owned()))?;
        let decrypted = encrypted
            .decrypt(passphrase.expose_secret())
            .map_err(|_| ReleaseError::Key("the passphrase is wrong, or the file is damaged".to_owned()))?;
        Self::from_bytes(decrypted.as_bytes())
    }
}

impl ReleaseKey for FileKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, ReleaseError> {
        Ok(self.pair.sign(bytes).as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_file_and_from_no_other_passphrase() {
        let key = FileKey::generate();
        let pem = key.to_pem(&"correct horse".into()).unwrap();
        assert!(!pem.expose_secret().contains("-----BEGIN PRIVATE"));
        let back = FileKey::from_pem(pem.expose_secret(), &"correct horse".into()).unwrap();
        assert_eq!(back.public(), key.public());
        assert_eq!(back.sign(b"x").unwrap(), key.sign(b"x").unwrap());
        assert!(FileKey::from_pem(pem.expose_secret(), &"battery staple".into()).is_err());
    }

    #[test]
    fn stock_tools_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let key = FileKey::generate();
        let (file, passphrase) = (folder.path().join("key"), "correct horse");
        std::fs::write(&file, key.to_pem(&passphrase.into()).unwrap().expose_secret()).unwrap();
        let read = std::process::Command::new("openssl")
            .args(["pkey", "-noout", "-text", "-passin", &format!("pass:{passphrase}"), "-in"])
            .arg(&file)
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&read.stdout).replace([':', ' ', '\n'], "");
        assert!(shown.contains(&key.public().keyval.public), "{read:?}");
    }

    #[test]
    fn an_id_is_what_other_tools_of_the_framework_make_of_the_key() {
        let raw = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let key = PublicKey::ed25519(&hex::decode(raw).unwrap());
        // As securesystemslib has it.
        assert_eq!(key.id(), "74c181c7ad8a0855d4b55e44d2ba87aabdddb196832571f15f92fece332e4916");
    }
}
