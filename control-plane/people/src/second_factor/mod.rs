//! A second factor of administrators: time-based one-time passwords (RFC 6238), as authenticator apps make
//! them. A code counts once, and guessing codes of an account takes longer each time, from any address.
//! Setting a second factor up and removing it both take the password: a session that was left open, or
//! stolen, is not enough.

mod acts;
mod code;
mod db;
mod routes;
mod terms;

pub use acts::reset;

pub(crate) use acts::check_code;

use crate::People;
use noderr_kernel::Feature;
use std::sync::Arc;
use terms::{CODE_REQUIRED, CODE_WRONG, HAS_FACTOR};

/// What this feature brings.
pub const FEATURE: Feature<Arc<People>> = Feature {
    routes: routes::routes,
    problems: &[CODE_REQUIRED, CODE_WRONG, HAS_FACTOR],
    ..Feature::named("second_factor")
};
