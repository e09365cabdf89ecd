//! Quarantine: a node that may not be what it was stays connected, takes no work, and is told why. Nobody puts a node in
//! or lets one out by hand: policy and evidence decide, and what a person can do is to accept evidence.

mod db;
mod jobs;
mod judge;
mod terms;
mod tpms;

pub(crate) use judge::judge;
pub use terms::REASONS;

use crate::state::Fleet;
use jobs::JudgeNodes;
use noderr_kernel::{Feature, NodeFeature, Wants};
use noderr_protocol::{Quarantine, SectionBody as _};
use std::sync::Arc;

/// What this feature brings.
pub const FEATURE: Feature<Arc<Fleet>> = Feature {
    routes: tpms::routes,
    metrics: &[("noderr_quarantines_total", "Nodes that were put into quarantine or let out, by reason")],
    jobs: &[&JudgeNodes],
    nodes: NodeFeature {
        wants: Some(Wants {
            kind: Quarantine::KIND,
            want: |_, connection, node| Box::pin(judge::section(connection, node)),
        }),
        ..NodeFeature::nothing()
    },
    ..Feature::named("quarantine")
};
