//! The turns in which people send what is large: of each a few at a time.

use noderr_kernel::Problem;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Large bodies of one person that are in memory at a time; the next one waits.
const AT_ONCE: usize = 4;

/// The turns of the people who release.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<Uuid, Arc<Semaphore>>>);

impl Turns {
    pub(super) async fn take(&self, person: Uuid) -> Result<OwnedSemaphorePermit, Problem> {
        let turns = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waits for nothing is forgotten.
            all.retain(|known, turns| *known == person || turns.available_permits() < AT_ONCE);
            all.entry(person).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))).clone()
        };
        turns.acquire_owned().await.map_err(|error| Problem::from(anyhow::Error::from(error)))
    }
}
