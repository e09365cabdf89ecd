//! Logins and API tokens. Secrets are shown once and stored as SHA-256; passwords as argon2.

mod db;
mod password;
mod routes;
mod second_factor;

pub(crate) use db::{list_admins, principal_of, remove_admin, reset_second_factor, set_admin};
pub(crate) use password::hash as hash_password;
pub(crate) use routes::routes;

use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

/// A fresh secret with a prefix that says what it is for.
pub(crate) fn new_secret(prefix: &str) -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    format!("{prefix}_{}", hex::encode(bytes))
}

/// What is stored of a secret. It has 256 random bits, so a plain hash does.
pub(crate) fn hash_secret(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}
