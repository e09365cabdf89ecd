//! Sessions: logging in, logging out, and giving a fresh proof before an act that lasts.

mod acts;
mod db;
mod routes;

use crate::People;
use crate::admins::PASSWORD_WRONG;
use noderr_kernel::{Feature, Forget};
use std::sync::Arc;

/// What this feature brings.
pub const FEATURE: Feature<Arc<People>> = Feature {
    routes: routes::routes,
    problems: &[PASSWORD_WRONG],
    metrics: &[(
        "noderr_logins_failed_total",
        "Logins and proofs that failed, by why: password or throttled",
    )],
    forgets: |_| vec![Forget::new("sessions", "expires_at < now()")],
    ..Feature::named("sessions")
};
