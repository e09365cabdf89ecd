//! Passwords: argon2id, off the runtime's workers.

use super::db::{self, Admin};
use crate::People;
use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use noderr_front::Pauses;
use noderr_kernel::problems::{THROTTLED, VALUE};
use noderr_kernel::{Kind, Problem};
use secrecy::{ExposeSecret as _, SecretString};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The e-mail address or the password is wrong.
pub(crate) const PASSWORD_WRONG: Kind =
    Kind::new(401, "password-wrong", "the e-mail address or the password is wrong");

const LONGEST: Duration = Duration::from_secs(300);
/// Pauses for an account and an address together, so that nobody can lock the owner of an account out.
const OF_ACCOUNT: Pauses = Pauses { free: 5, longest: LONGEST };
/// Pauses for an address alone, whatever accounts it tries.
const OF_ADDRESS: Pauses = Pauses { free: 30, longest: LONGEST };

/// Checks under way and waiting; a check takes some tenths of a second.
const MOST_LOGINS: usize = 20;

static QUEUE: Semaphore = Semaphore::const_new(MOST_LOGINS);
static VERIFYING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(2)));

/// Hashes a password for storing.
pub async fn hash(password: String) -> anyhow::Result<String> {
    let hashed = tokio::task::spawn_blocking(move || {
        let salt = SaltString::generate(&mut OsRng);
        Argon2::default().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())
    });
    hashed.await?.map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))
}

/// Checks a password and returns its administrator. The attempt counts as failed until [`forgive`] is called.
pub(crate) async fn check(
    people: &People,
    address: IpAddr,
    email: &str,
    password: &SecretString,
) -> Result<Admin, Problem> {
    // No e-mail address is longer, and the throttle keeps for a while what strangers send.
    if email.len() > 254 {
        return Err(VALUE.because("an e-mail address has at most 254 bytes"));
    }
    let [account, alone] = keys(address, email);
    let keys = [(account, OF_ACCOUNT), (alone, OF_ADDRESS)];
    if let Err(wait) = people.logins.attempt(&keys, Instant::now()) {
        metrics::counter!("noderr_logins_failed_total", "why" => "throttled").increment(1);
        return Err(THROTTLED.after(wait, "too many failed logins from this address"));
    }
    let known = db::find(people.kernel.database.strangers(), email).await?;
    let stored = known.as_ref().map(|admin| admin.password_hash.clone());
    let matches = verify(password.expose_secret().to_owned(), stored).await?;
    if let Some(admin) = known.as_ref().filter(|_| !matches) {
        people.refusals.put_on_record(&people.kernel, admin.id);
    }
    known.filter(|_| matches).ok_or_else(|| {
        metrics::counter!("noderr_logins_failed_total", "why" => "password").increment(1);
        tracing::warn!(%address, "a login with a wrong password, or of an unknown account");
        PASSWORD_WRONG.into()
    })
}

/// Forgets the failed attempts of this address with this account after one that succeeded.
pub(crate) fn forgive(people: &People, address: IpAddr, email: &str) {
    people.logins.succeeded(&keys(address, email));
}

/// Takes an attempt back whose password was right and whose code was not given yet: whoever asks whether the account has a
/// second factor must not wait before giving the code.
pub(crate) fn take_back(people: &People, address: IpAddr, email: &str) {
    people.logins.take_back(&keys(address, email));
}

fn keys(address: IpAddr, email: &str) -> [(IpAddr, Option<String>); 2] {
    [(address, Some(email.to_owned())), (address, None)]
}

/// Whether the password matches the stored hash. Takes as long when there is no hash, because the account is unknown.
async fn verify(password: String, stored: Option<String>) -> Result<bool, Problem> {
    // Each check costs 19 MiB and a core for a while: strangers may queue, but neither fill the machine nor make an
    // administrator wait behind them for ever. The permit moves into the blocking task, so that a client that
    // disconnects does not free the slot early.
    let _place = QUEUE.try_acquire().map_err(|_| {
        THROTTLED.after(Duration::from_secs(2), "too many logins are being checked at once; try again")
    })?;
    let turn = VERIFYING.clone().acquire_owned().await.map_err(anyhow::Error::from)?;
    Ok(tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| DUMMY_HASH.to_owned());
        let matches = PasswordHash::new(&stored)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
        known && matches
    })
    .await
    .map_err(anyhow::Error::from)?)
}

/// The hash that is verified when the account does not exist, so that timing does not tell.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$mPwSjXvx6YbzLqo4ZqPZ0Yz7s5sXh5bq5l3yq0mZl9E";
