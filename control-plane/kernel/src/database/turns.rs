//! Turns at the database: whoever asks for much at once leaves connections for others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// A turn; over when it is dropped.
pub(crate) struct Turn(
    #[expect(dead_code, reason = "held, and given back when it is dropped")] Option<OwnedSemaphorePermit>,
);

/// How many transactions each person may have open at once, tokens counted with the person who answers for them.
pub(crate) struct Turns {
    each: usize,
    people: Mutex<HashMap<Uuid, Weak<Semaphore>>>,
}

impl Turns {
    /// Half of so many connections for each person.
    pub(crate) fn of(connections: u32) -> Self {
        let each = usize::try_from(connections / 2).unwrap_or(1).max(1);
        Self { each, people: Mutex::default() }
    }

    /// Waits for a turn of this person.
    pub(crate) async fn take(&self, person: Uuid) -> Turn {
        let turns = self.turns_of(person);
        // Nobody closes the semaphore.
        Turn(turns.acquire_owned().await.ok())
    }

    fn turns_of(&self, person: Uuid) -> Arc<Semaphore> {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = people.get(&person).and_then(Weak::upgrade) {
            return turns;
        }
        // Whoever has no turn and waits for none is forgotten.
        people.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(self.each));
        people.insert(person, Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn one_person_takes_half_and_another_need_not_wait() {
        let turns = Turns::of(10);
        let (greedy, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut taken = Vec::new();
        for _ in 0..5 {
            taken.push(turns.take(greedy).await);
        }
        let more = tokio::time::timeout(Duration::from_millis(50), turns.take(greedy)).await;
        assert!(more.is_err(), "a sixth turn");
        drop(turns.take(other).await);
        taken.pop();
        drop(turns.take(greedy).await);
        drop(taken);
        drop(turns.take(other).await);
        assert_eq!(turns.people.lock().unwrap().len(), 1, "whoever has no turn is forgotten");
    }
}
