//! API tokens: for programs. Each token has an end, an administrator who answers for it, and permissions that
//! its issuer holds too; a token goes when its owner goes, or when the token goes that it was issued with.

mod acts;
mod db;
mod routes;
mod terms;

pub use terms::MANAGE_TOKENS;

use crate::People;
use noderr_kernel::{Feature, Forget};
use std::sync::Arc;
use terms::{READS_ONLY, UNKNOWN_PERMISSION};

/// What this feature brings.
pub const FEATURE: Feature<Arc<People>> = Feature {
    routes: routes::routes,
    permissions: &[&MANAGE_TOKENS],
    problems: &[UNKNOWN_PERMISSION, READS_ONLY],
    forgets: |_| {
        vec![Forget::new(
            "api_tokens",
            "expires_at < now() - interval '1 year'
        AND NOT EXISTS (SELECT FROM api_tokens c WHERE c.parent = api_tokens.id)",
        )]
    },
    ..Feature::named("tokens")
};
