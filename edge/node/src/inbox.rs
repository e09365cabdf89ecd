//! Hands each message of the control plane to the part that it concerns.

use crate::shared::Shared;
use noderr_protocol::Down;

pub(crate) async fn run(shared: Shared) {
    let mut incoming = shared.incoming.lock().await;
    while let Some(message) = incoming.recv().await {
        match message {
            Down::DesiredState(state) => {
                shared.desired.adopt(state);
                shared.board.update(|status| status.desired_version = shared.desired.version());
            }
            // Only the newest challenge matters: with a new challenge the control plane gives up the one
            // before.
            Down::AttestationChallenge(challenge) => {
                shared.challenge.send_replace(Some(challenge));
            }
            Down::EventLogRequest(request) => {
                shared.wanted_log.send_replace(Some(request.challenge));
            }
            // The link applies marks itself.
            Down::HighWaterMarks(_) | Down::Welcome(_) => {}
        }
    }
}
