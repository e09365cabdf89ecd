//! What a round may change of the store: as long as it lasts. A disk works on when nobody waits for it any more, and what it does then
//! must not undo what the next round has found or brought.

use crate::setback::Setback;
use std::sync::{Arc, Mutex, PoisonError};

/// The right to change the store; it ends with the value.
pub(super) struct Mandate(Arc<Mutex<bool>>);

/// What work in the background has of a mandate.
pub(crate) struct Copy(Arc<Mutex<bool>>);

impl Mandate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(true)))
    }

    pub(super) fn copy(&self) -> Copy {
        Copy(self.0.clone())
    }
}

impl Drop for Mandate {
    /// Waits for an act that has begun.
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

impl Copy {
    /// Does something for which the mandate must last.
    pub(crate) fn act<T>(&self, act: impl FnOnce() -> T) -> Result<T, Setback> {
        let lasts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *lasts {
            Ok(act())
        } else {
            Err(Setback::Passing("something else is wished meanwhile".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_for_a_round_that_is_over() {
        let mandate = Mandate::new();
        let copy = mandate.copy();
        assert_eq!(copy.act(|| 1), Ok(1));
        drop(mandate);
        assert!(copy.act(|| 2).is_err());
    }
}
