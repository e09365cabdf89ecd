//! How a release comes, from being wanted to being held: pure transitions. What happens outside is an event; what is to be
//! done next, the stage says.

use crate::setback::Setback;
use noderr_protocol::Text;
use noderr_protocol::release::{RefusedRelease, ReleaseState, Transfer};

/// How far a release is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The signed metadata is asked what the release is.
    Looking,
    /// The index comes, and what the box has of the artefact is found.
    Preparing,
    /// What is lacking comes.
    Fetching(Transfer),
    /// All has come, and the whole is checked.
    Checking,
    /// It is held.
    Held,
    /// It cannot go on now.
    Waiting(String),
    /// It is not taken.
    Refused(RefusedRelease),
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The metadata names it, it is for this box, and it is not held yet.
    Named,
    /// The metadata names it, and it is held and whole.
    Found,
    /// So many bytes will come, and may.
    Costs(u64),
    /// So many bytes have come by now.
    Came(u64),
    /// Nothing is lacking any more.
    Complete,
    /// The whole is what was signed.
    Checked,
    /// Something stands in the way.
    Stopped(Setback),
}

impl Stage {
    /// The stage of a release that cannot even be looked for.
    pub fn stopped(setback: Setback) -> Self {
        Self::Looking.after(Event::Stopped(setback))
    }

    /// The stage after an event. What does not belong to a stage changes nothing.
    #[must_use]
    pub fn after(self, event: Event) -> Self {
        match (self, event) {
            (Self::Looking, Event::Named) => Self::Preparing,
            (Self::Looking, Event::Found) | (Self::Checking, Event::Checked) => Self::Held,
            (Self::Preparing, Event::Costs(cost_bytes)) => {
                Self::Fetching(Transfer { fetched_bytes: 0, cost_bytes })
            }
            (Self::Fetching(transfer), Event::Came(bytes)) => {
                // A transfer that was interrupted costs more than it would have; it never goes back.
                let fetched_bytes = bytes.max(transfer.fetched_bytes);
                Self::Fetching(Transfer { fetched_bytes, cost_bytes: transfer.cost_bytes.max(fetched_bytes) })
            }
            (Self::Preparing | Self::Fetching(_), Event::Complete) => Self::Checking,
            (stage, Event::Stopped(setback)) if stage.is_under_way() => match setback {
                Setback::Passing(why) => Self::Waiting(why),
                Setback::Refused { why, detail } => {
                    Self::Refused(RefusedRelease { why, detail: Text::truncated(&detail) })
                }
            },
            (stage, _) => stage,
        }
    }

    /// Whether there is something to be done.
    pub const fn is_under_way(&self) -> bool {
        matches!(self, Self::Looking | Self::Preparing | Self::Fetching(_) | Self::Checking)
    }

    /// What the node reports.
    pub fn state(&self) -> ReleaseState {
        match self {
            Self::Looking | Self::Preparing => ReleaseState::Looking,
            Self::Checking => ReleaseState::Checking,
            Self::Fetching(transfer) => ReleaseState::Fetching(*transfer),
            Self::Held => ReleaseState::Held,
            Self::Waiting(why) => ReleaseState::Waiting(Text::truncated(why)),
            Self::Refused(refused) => ReleaseState::Refused(refused.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noderr_protocol::release::ReleaseRefusal;
    use proptest::prelude::*;

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Named),
            Just(Event::Found),
            any::<u64>().prop_map(Event::Costs),
            any::<u64>().prop_map(Event::Came),
            Just(Event::Complete),
            Just(Event::Checked),
            Just(Event::Stopped(Setback::Passing("later".to_owned()))),
            Just(Event::Stopped(Setback::refused(ReleaseRefusal::Room, "full".to_owned()))),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_held_that_was_not_checked(events in proptest::collection::vec(events(), 0..12)) {
            let mut stage = Stage::Looking;
            for event in events {
                let before = stage.clone();
                stage = stage.after(event.clone());
                if stage == Stage::Held && before != Stage::Held {
                    prop_assert!(matches!(
                        (&before, &event),
                        (Stage::Checking, Event::Checked) | (Stage::Looking, Event::Found)
                    ));
                }
                if let (Stage::Fetching(was), Stage::Fetching(is)) = (&before, &stage) {
                    prop_assert!(was.fetched_bytes <= is.fetched_bytes && is.fetched_bytes <= is.cost_bytes);
                }
                if !before.is_under_way() {
                    prop_assert_eq!(before, stage.clone(), "what has ended goes on");
                }
            }
        }
    }
}
