//! Passwords: argon2id, off the runtime's workers.

use super::db::{self, Admin};
use crate::app::App;
use crate::http::Problem;
use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Instant;
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

/// Whose password it is. Until [`LoginThrottle::succeeded`](crate::http::LoginThrottle::succeeded) is called, the attempt
/// counts as failed.
pub(super) async fn check(
    app: &App,
    address: IpAddr,
    email: &str,
    password: &SecretString,
) -> Result<Admin, Problem> {
    // No address is longer, and what strangers send is kept for a while.
    if email.len() > 254 {
        return Err(Problem::bad_request("email", "an e-mail address has at most 254 bytes"));
    }
    if let Err(wait) = app.logins.attempt(address, email, Instant::now()) {
        let detail = format!("too many failed logins from this address; wait {} s", wait.as_secs() + 1);
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "throttled", detail));
    }
    let known = db::admin(app, email).await?;
    let stored = known.as_ref().map(|admin| admin.password_hash.clone());
    let matches = verify(password.expose_secret().to_owned(), stored).await?;
    known.filter(|_| matches).ok_or_else(wrong)
}

/// The refusal of a wrong password, or of one that nobody has.
pub(super) fn wrong() -> Problem {
    let detail = "the e-mail address or the password is wrong";
    Problem::new(StatusCode::UNAUTHORIZED, "password-wrong", detail)
}

/// Whether the password is the one that was hashed. Takes its time for an unknown address too.
async fn verify(password: String, stored: Option<String>) -> anyhow::Result<bool> {
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
