//! Install tokens: secrets, good once and for a short time, with which a box enrols as one node. Stored as a
//! hash.

mod acts;
mod db;
mod routes;
mod terms;

pub(crate) use db::{GoodToken, consume, find_good};

use crate::state::Fleet;
use noderr_kernel::{Feature, Forget};
use std::sync::Arc;
use terms::MAY_NOT_ENROL;

/// What this feature brings.
pub const FEATURE: Feature<Arc<Fleet>> = Feature {
    routes: routes::routes,
    problems: &[MAY_NOT_ENROL],
    forgets: |_| {
        vec![Forget::new(
            "install_tokens",
            "expires_at < retention_now() - interval '90 days'
             AND NOT EXISTS (SELECT FROM enrolments e WHERE e.token_id = install_tokens.id)",
        )]
    },
    ..Feature::named("install_tokens")
};
