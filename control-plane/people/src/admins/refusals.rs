//! Failed logins on record: that somebody tries the password of an administrator is something that other administrators must be able
//! to see later.

use noderr_kernel::{Kernel, record};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Failed logins of one account that come closer together share an entry, so that nobody fills the log.
const APART: Duration = Duration::from_secs(60);

/// The failed logins of known accounts.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<HashMap<Uuid, Refused>>);

struct Refused {
    on_record: Instant,
    since: u64,
}

impl Refusals {
    /// Counts a failed login. Returns how many there were since the last that went on record, if this one is to go there.
    fn count(&self, admin: Uuid, now: Instant) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(refused) = all.get_mut(&admin) else {
            all.insert(admin, Refused { on_record: now, since: 0 });
            return Some(1);
        };
        refused.since += 1;
        if now.duration_since(refused.on_record) < APART {
            return None;
        }
        let failed = refused.since;
        *refused = Refused { on_record: now, since: 0 };
        Some(failed)
    }

    /// Puts a failed login on record, beside the answer: how long an answer takes must not tell whether the account exists.
    pub(super) fn put_on_record(&self, kernel: &Arc<Kernel>, admin: Uuid) {
        let Some(failed) = self.count(admin, Instant::now()) else { return };
        let kernel = kernel.clone();
        tokio::spawn(async move {
            let written = async {
                let mut tx = kernel.database.begin_for_stranger().await?;
                let detail = json!({ "failed": failed });
                record(&mut tx, "logins", "session.refused", &admin.to_string(), &detail).await?;
                tx.commit().await
            };
            if let Err(error) = written.await {
                tracing::error!(%admin, failed, %error, "failed logins cannot be put on record");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_entry_a_minute_that_counts_it() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(refusals.count(one, now), Some(1));
        for _ in 0..100 {
            assert_eq!(refusals.count(one, now + APART / 2), None);
        }
        assert_eq!(refusals.count(other, now + APART / 2), Some(1));
        assert_eq!(refusals.count(one, now + APART), Some(101));
        assert_eq!(refusals.count(one, now + APART), None);
    }
}
