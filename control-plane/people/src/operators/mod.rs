//! Operators: the people in whose homes the boxes stand.

mod acts;
mod db;
mod routes;
mod terms;

pub use terms::{READ_OPERATORS, STANDING, WRITE_OPERATORS};

use crate::People;
use noderr_kernel::Feature;
use std::sync::Arc;
use terms::EMAIL_TAKEN;

/// What this feature brings.
pub const FEATURE: Feature<Arc<People>> = Feature {
    routes: routes::routes,
    permissions: &[&READ_OPERATORS, &WRITE_OPERATORS],
    problems: &[EMAIL_TAKEN],
    ..Feature::named("operators")
};
