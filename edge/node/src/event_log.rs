//! The firmware's event log: what was measured into which register since the box was started. Shown to the control plane at
//! enrolment, and when the registers are not those of the baseline.

use crate::shared::Shared;
use noderr_protocol::{EVENT_LOG_PART, EventLogPart, MAX_EVENT_LOG_PARTS, Up};
use std::path::Path;

const MAX: usize = EVENT_LOG_PART * MAX_EVENT_LOG_PARTS as usize;

/// The log, where the kernel shows one that is no longer than may be sent.
pub(crate) async fn read(path: &Path) -> Option<Vec<u8>> {
    let log =
        tokio::fs::read(path).await.inspect_err(|error| tracing::info!(%error, "there is no event log"));
    log.ok().filter(|log| (1..=MAX).contains(&log.len()))
}

/// Sends the log whenever it is asked for.
pub(crate) async fn run(shared: Shared) {
    let mut wanted = shared.wanted_log.subscribe();
    // After a fall of this part, the request that it fell over still waits for its answer.
    wanted.mark_changed();
    while wanted.changed().await.is_ok() {
        let Some(challenge) = *wanted.borrow_and_update() else { continue };
        let log = read(&shared.config.identity.event_log).await.unwrap_or_default();
        for part in parts(challenge, &log) {
            // Parts are dropped while there is no session; the control plane asks again after the next attestation.
            if shared.outgoing.send(Up::EventLogPart(part)).await.is_err() {
                return;
            }
        }
    }
}

fn parts(challenge: [u8; 16], log: &[u8]) -> Vec<EventLogPart> {
    let pieces: Vec<_> = if log.is_empty() { vec![log] } else { log.chunks(EVENT_LOG_PART).collect() };
    let count = u8::try_from(pieces.len()).unwrap_or(MAX_EVENT_LOG_PARTS);
    (0..count)
        .zip(pieces)
        .map(|(part, bytes)| EventLogPart {
            challenge,
            part,
            parts: count,
            bytes: bytes.to_vec().try_into().unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_sent_whole_in_parts_and_no_log_as_one_that_is_empty() {
        for len in [0, 1, EVENT_LOG_PART, EVENT_LOG_PART + 1, MAX] {
            let log: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let parts = parts([1; 16], &log);
            assert!(parts.iter().zip(0..).all(|(part, number)| part.part == number));
            assert!(parts.iter().all(|part| usize::from(part.parts) == parts.len()));
            assert_eq!(parts.iter().flat_map(|part| part.bytes.to_vec()).collect::<Vec<_>>(), log);
        }
    }
}
