//! Credentials that were good lately: whoever has one is heard although strangers at the same address ask too much.

use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a credential counts as known. It is looked up in the database all the same.
const LATELY: Duration = Duration::from_secs(600);
/// How many are remembered; of more, the newest are strangers again.
const MOST: usize = 10_000;

/// Digests of credentials, and when each was last found good.
#[derive(Debug, Default)]
pub struct Recognised(Mutex<HashMap<[u8; 32], Instant>>);

impl Recognised {
    /// Whether a credential was good lately.
    pub(crate) fn knows(&self, secret: &str, now: Instant) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&digest(secret)).is_some_and(|at| now.saturating_duration_since(*at) < LATELY)
    }

    /// Notes what the database says of a credential.
    pub(crate) fn note(&self, secret: &str, good: bool, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = digest(secret);
        if !good {
            known.remove(&digest);
            return;
        }
        if known.len() >= MOST && !known.contains_key(&digest) {
            known.retain(|_, at| now.saturating_duration_since(*at) < LATELY);
            if known.len() >= MOST {
                return;
            }
        }
        known.insert(digest, now);
    }
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}
