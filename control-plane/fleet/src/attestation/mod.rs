//! Attestation of enrolled nodes: a challenge over the link, a quote, a verdict against the recorded baseline.

mod acts;
mod answer;
mod challenge;
mod db;
mod event_log;
mod expected;
mod jobs;
mod routes;
mod terms;

pub(crate) use answer::note_registers;

pub use terms::ATTEST;

use crate::state::Fleet;
use jobs::AttestNodes;
use noderr_kernel::{Feature, Forget, Hears, Listens, NodeFeature};
use noderr_protocol::{Up, UpKind};
use std::sync::Arc;
use terms::{CHALLENGED, NO_ATTESTATION, NOTHING_TO_ATTEST};

/// What this feature brings.
pub const FEATURE: Feature<Arc<Fleet>> = Feature {
    routes: routes::routes,
    permissions: &[&ATTEST],
    problems: &[NOTHING_TO_ATTEST, NO_ATTESTATION],
    metrics: &[("noderr_attestations_total", "Answers to challenges, by verdict")],
    jobs: &[&AttestNodes],
    listens: &[Listens::each(CHALLENGED, |fleet, node| Box::pin(challenge::tell(fleet, node)))],
    catch_up: Some(|fleet| Box::pin(challenge::look_round(fleet))),
    nodes: NodeFeature {
        hears: &[
            Hears {
                kind: UpKind::AttestationAnswer,
                hear: |fleet, node, message| {
                    Box::pin(async move {
                        match message {
                            Up::AttestationAnswer(answer) => answer::take(fleet, node, answer).await,
                            _ => Ok(()),
                        }
                    })
                },
            },
            Hears {
                kind: UpKind::EventLogPart,
                hear: |fleet, node, message| {
                    Box::pin(async move {
                        match message {
                            Up::EventLogPart(part) => event_log::take(fleet, node, part).await,
                            _ => Ok(()),
                        }
                    })
                },
            },
        ],
        greets: Some(|fleet, node| Box::pin(challenge::send(fleet, node))),
        ..NodeFeature::nothing()
    },
    forgets: |_| {
        vec![
            // The last verdict that says anything stays: a box must not come back unsuspected because it was away long enough.
            Forget::new(
                "attestations",
                "requested_at < retention_now() - interval '1 year' AND challenge IS DISTINCT FROM (
                   SELECT v.challenge FROM verdicts v WHERE v.node_id = attestations.node_id AND v.proves
                   ORDER BY v.requested_at DESC LIMIT 1)",
            ),
            Forget::new("event_logs", "next_part < parts AND shown_at < retention_now() - interval '1 day'"),
            Forget::new(
                "attestations",
                "verdict = 'silent' AND requested_at < retention_now() - interval '30 days'",
            ),
        ]
    },
    ..Feature::named("attestation")
};
