//! Secrets that are shown once: how they are made, and how they are stored as a hash.

use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

/// A fresh secret with a prefix that says what it is for, such as `nit_`.
pub fn new_secret(prefix: &str) -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    format!("{prefix}{}", hex::encode(bytes))
}

/// The hash of a secret that is stored. A secret has 256 random bits, so a plain hash is enough.
pub fn hash_secret(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}
