//! Passwords: argon2id, off the runtime's workers.

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use std::sync::{Arc, LazyLock};
use tokio::sync::Semaphore;

static VERIFYING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(2)));

/// What is stored of a password.
pub(crate) async fn hash(password: String) -> anyhow::Result<String> {
    let hashed = tokio::task::spawn_blocking(move || {
        let salt = SaltString::generate(&mut OsRng);
        Argon2::default().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())
    });
    hashed.await?.map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))
}

/// Whether the password is the one that was hashed. Takes its time for an unknown address too.
pub(super) async fn verify(password: String, stored: Option<String>) -> anyhow::Result<bool> {
    // Each costs 19 MiB and a core for a while: strangers may queue, not fill the machine. The turn belongs to the work:
    // who hangs up does not end it.
    let turn = VERIFYING.clone().acquire_owned().await?;
    Ok(tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| NOBODYS.to_owned());
        let matches = PasswordHash::new(&stored)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
        known && matches
    })
    .await?)
}

/// Of no password anybody knows; costs as much to check as a real one.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$mPwSjXvx6YbzLqo4ZqPZ0Yz7s5sXh5bq5l3yq0mZl9E";
