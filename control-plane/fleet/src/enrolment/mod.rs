//! Enrolment and renewal: from an install token and a TPM's proof to a certificate.
//!
//! `begin` and `challenge` hand out a question that only the right TPM can answer; `finish` and `renew` check the
//! answer. A session is good for one answer. An answer that is lost on its way costs nothing: until its install token
//! expires, the box that has used it may use it again.

mod begin;
mod db;
mod finish;
mod issue;
mod problems;
mod renew;
mod result_key;
mod routes;

use crate::settings::{AuthoritySettings, EnrolmentSettings};
use crate::state::Fleet;
use noderr_kernel::{Feature, Forget, Section};
use std::sync::Arc;

/// What this feature brings.
pub const FEATURE: Feature<Arc<Fleet>> = Feature {
    routes: routes::routes,
    problems: problems::ALL,
    settings: &[Section::of::<AuthoritySettings>(), Section::of::<EnrolmentSettings>()],
    metrics: &[
        ("noderr_enrolments_total", "Enrolments that came to an end, by outcome"),
        ("noderr_renewals_total", "Renewals whose asker has proven to be the node, by outcome"),
    ],
    forgets: |_| {
        vec![
            Forget::new("enrolments", "finished_at IS NULL AND expires_at < now() - interval '1 hour'"),
            Forget::new("enrolments", "created_at < now() - interval '90 days'"),
        ]
    },
    ..Feature::named("enrolment")
};
