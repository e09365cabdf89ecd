//! Enrolment and renewal: from an install token and a TPM's proof to a certificate.
//!
//! `begin` and `challenge` hand out a challenge that only the right TPM can answer; `finish` and `renew`
//! check the answer. A session is good for one answer. Nothing is lost if the certificate does not reach the
//! box: the box may use its install token again until the token expires.

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
use noderr_kernel::{Feature, Forget, SettingsSection};
use std::sync::Arc;

/// What this feature brings.
pub const FEATURE: Feature<Arc<Fleet>> = Feature {
    routes: routes::routes,
    problems: problems::ALL,
    settings: &[SettingsSection::of::<AuthoritySettings>(), SettingsSection::of::<EnrolmentSettings>()],
    metrics: &[
        ("noderr_enrolments_total", "Enrolments that ended, by outcome"),
        ("noderr_renewals_total", "Renewals by the node's own key, by outcome"),
    ],
    forgets: |_| {
        vec![
            Forget::new(
                "enrolments",
                "finished_at IS NULL AND expires_at < retention_now() - interval '1 hour'",
            ),
            Forget::new("enrolments", "created_at < retention_now() - interval '90 days'"),
        ]
    },
    ..Feature::named("enrolment")
};
