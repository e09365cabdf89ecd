//! What has become of a desired state, as its node reports it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What has become of one section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SectionOutcome {
    /// The number of the section's kind.
    pub(crate) kind: u16,
    /// `applied`, `working`, `failed`, `unsupported`, or `phase_` and a number that this version does not know.
    pub(crate) phase: String,
    /// What went wrong.
    pub(crate) error: Option<String>,
}

/// What has become of a desired state as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// The node has not reported on the newest version yet.
    Waiting,
    /// The node is working on a section.
    Working,
    /// Every section is in force.
    Applied,
    /// A section could not be applied; what was before is in force.
    Failed,
    /// The node does not know a section, or not this version of it; everything else is in force.
    Unsupported,
}

impl Outcome {
    /// The worst of what became of the sections.
    pub(crate) fn of(behind: bool, sections: &[SectionOutcome]) -> Self {
        let any = |phase: &str| sections.iter().any(|section| section.phase == phase);
        match () {
            () if behind => Self::Waiting,
            () if any("failed") => Self::Failed,
            () if any("unsupported") => Self::Unsupported,
            () if sections.iter().any(|section| section.phase != "applied") => Self::Working,
            () => Self::Applied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(behind: bool, phases: &[&str]) -> Outcome {
        let section = |phase: &&str| SectionOutcome { kind: 1, phase: (*phase).to_owned(), error: None };
        Outcome::of(behind, &phases.iter().map(section).collect::<Vec<_>>())
    }

    #[test]
    fn a_document_is_applied_when_every_section_is_and_not_when_it_has_arrived() {
        assert_eq!(outcome(true, &["applied"]), Outcome::Waiting);
        assert_eq!(outcome(false, &["applied", "working"]), Outcome::Working);
        assert_eq!(outcome(false, &["applied", "phase_9"]), Outcome::Working);
        assert_eq!(outcome(false, &["working", "unsupported", "failed"]), Outcome::Failed);
        assert_eq!(outcome(false, &["applied", "unsupported"]), Outcome::Unsupported);
        assert_eq!(outcome(false, &["applied", "applied"]), Outcome::Applied);
    }
}
