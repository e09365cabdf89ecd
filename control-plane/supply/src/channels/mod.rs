//! Channels: which release boxes of a tier and a hardware should hold, and what they have made of it.

mod acts;
mod cautions;
mod db;
mod offered;
mod reports;
mod routes;
mod terms;
mod wants;

pub(crate) use acts::end_withdrawn;

use crate::state::Supply;
use noderr_kernel::{Feature, Hears, NodeFeature, Wants};
use noderr_protocol::release::Releases;
use noderr_protocol::{SectionBody as _, UpKind};
use std::sync::Arc;

/// What this feature brings.
pub const FEATURE: Feature<Arc<Supply>> = Feature {
    routes: routes::routes,
    problems: terms::PROBLEMS,
    nodes: NodeFeature {
        hears: &[Hears {
            kind: UpKind::ActualState,
            hear: |supply, node, message| Box::pin(reports::heard(supply, node, message)),
        }],
        wants: Some(Wants {
            kind: Releases::KIND,
            want: |_, connection, node| Box::pin(wants::section(connection, node)),
        }),
        ..NodeFeature::nothing()
    },
    ..Feature::named("channels")
};
