//! The authority's private key behind [`CaKey`]: here a key in a 0600 file, in `hsm` a key in an HSM.

use crate::OpenError;
use atomic_write_file::OpenOptions;
use atomic_write_file::unix::OpenOptionsExt as _;
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// A key that signs for the authority: anything that implements rcgen's two traits, such as an HSM or a KMS.
pub trait CaKey: SigningKey + Send + Sync {}

impl<K: SigningKey + Send + Sync> CaKey for K {}

/// A shared [`CaKey`], as rcgen's traits ask for.
pub(crate) struct SharedKey(pub(crate) Arc<dyn CaKey>);

impl PublicKeyData for SharedKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for SharedKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// A key in a file that nobody else may read.
pub struct FileKey;

impl FileKey {
    /// Reads the key, or makes a key where the file is missing. Refuses a file that others can read, as
    /// leaked.
    pub fn open_or_create(path: &Path) -> Result<KeyPair, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        match fs::read_to_string(path) {
            Ok(pem) => {
                let mode = fs::metadata(path).map_err(io)?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(OpenError::Exposed { path: path.to_owned(), mode: mode & 0o777 });
                }
                KeyPair::from_pem(&pem).map_err(|source| OpenError::Key { path: path.to_owned(), source })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key =
                    KeyPair::generate().map_err(|source| OpenError::Key { path: path.to_owned(), source })?;
                let mut file = OpenOptions::new().preserve_mode(false).mode(0o600).open(path).map_err(io)?;
                file.write_all(key.serialize_pem().as_bytes()).map_err(io)?;
                file.commit().map_err(io)?;
                Ok(key)
            }
            Err(error) => Err(io(error)),
        }
    }
}
