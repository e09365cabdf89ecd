//! Measurements of the node's own parts: clock, TPM, session, spool.

use super::Probe;
use crate::shared::Shared;
use noderr_identity::NodeKeys;
use noderr_protocol::Metric;

pub(super) fn probe(shared: &Shared) -> Probe {
    let shared = shared.clone();
    Box::new(move |sample| {
        let tpm = match &shared.keys {
            NodeKeys::Tpm(tpm) => Some(tpm.stats()),
            NodeKeys::Software { .. } => None,
        };
        let (spool, status) = (shared.outbox.spool.stats(), shared.board.read());
        sample
            .with(Metric::ClockOffset, shared.clock.is_vouched().then(|| shared.clock.system_offset_ms()))
            .with(Metric::TpmCommands, tpm.as_ref().map(|tpm| tpm.answered))
            .with(Metric::TpmFailures, tpm.as_ref().map(|tpm| tpm.failed))
            .with(Metric::LinkConnects, Some(status.connects))
            .with(Metric::LinkRoundTrip, status.round_trip_ms)
            .with(Metric::SpoolRecords, Some(spool.records))
            .with(Metric::SpoolLost, Some(spool.lost))
    })
}
