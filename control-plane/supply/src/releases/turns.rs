//! The turns in which people and tokens send what is large: of each a few at a time, so that a stolen token keeps its owner from nothing.

use noderr_kernel::Problem;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Large bodies of one person or token that are in memory at a time; the next one waits.
const AT_ONCE: usize = 4;

/// The turns of those who release.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<Uuid, Arc<Semaphore>>>);

impl Turns {
    pub(super) async fn take(&self, who: Uuid) -> Result<OwnedSemaphorePermit, Problem> {
        let turns = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waits for nothing is forgotten.
            all.retain(|known, turns| *known == who || Arc::strong_count(turns) > 1);
            all.entry(who).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))).clone()
        };
        turns.acquire_owned().await.map_err(|error| Problem::from(anyhow::Error::from(error)))
    }
}
