//! The software fallback: a P-256 key in a 0600 file, for boxes without a TPM where the network allows them.

use crate::KeyError;
use atomic_write_file::OpenOptions;
use atomic_write_file::unix::OpenOptionsExt as _;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::rand_core::OsRng;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// A key in memory that came from a private file.
#[derive(Clone)]
pub struct SoftwareKey(Arc<SigningKey>);

impl SoftwareKey {
    /// Reads the key, or makes it. A file that others can read is refused.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::open(path) {
            Ok(Some(key)) => Ok(key),
            Ok(None) => Self::create(path),
            Err(error) => Err(error),
        }
    }

    fn open(path: &Path) -> Result<Option<Self>, KeyError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(path, error)),
        };
        let mode = fs::metadata(path).map_err(|error| unusable(path, error))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(unusable(path, format!("mode {:o}, others can read it", mode & 0o777)));
        }
        let key = SigningKey::from_slice(&bytes).map_err(|error| unusable(path, error))?;
        Ok(Some(Self(Arc::new(key))))
    }

    fn create(path: &Path) -> Result<Self, KeyError> {
        let key = SigningKey::random(&mut OsRng);
        let mut file = OpenOptions::new()
            .preserve_mode(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| unusable(path, error))?;
        file.write_all(&key.to_bytes()).map_err(|error| unusable(path, error))?;
        file.commit().map_err(|error| unusable(path, error))?;
        Ok(Self(Arc::new(key)))
    }

    pub(crate) fn public_sec1(&self) -> [u8; 65] {
        let point = self.0.verifying_key().to_encoded_point(false);
        point.as_bytes().try_into().expect("an uncompressed P-256 point has 65 bytes")
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.0.sign(message);
        signature.as_bytes().to_vec()
    }
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> KeyError {
    KeyError::Software(format!("{}: {why}", path.display()))
}
