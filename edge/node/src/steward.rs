//! Does what the control plane wants: applies the desired state, answers challenges, and says what became of it.

use crate::data::DataFolder;
use crate::status::Board;
use noderr_identity::{NodeKeys, TpmError};
use noderr_protocol::enrol::attest_binding;
use noderr_protocol::{
    ActualState, AttestationAnswer, AttestationChallenge, DesiredState, Down, Evidence, List, QuoteEvidence,
    Text, Up,
};
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, watch};

const FILE: &str = "desired.json";

/// What the steward needs; cheap to clone, so that it can be started again.
#[derive(Clone)]
pub(crate) struct Steward {
    pub(crate) data: Arc<DataFolder>,
    pub(crate) keys: NodeKeys,
    pub(crate) board: Board,
    pub(crate) every_s: watch::Sender<u16>,
    pub(crate) incoming: Arc<Mutex<mpsc::Receiver<Down>>>,
    pub(crate) outgoing: mpsc::Sender<Up>,
}

impl Steward {
    /// The state that was in force when the box went down.
    pub(crate) fn remembered(data: &DataFolder) -> Option<DesiredState> {
        data.read(FILE)
    }

    pub(crate) async fn run(self) {
        let mut incoming = self.incoming.lock().await;
        while let Some(message) = incoming.recv().await {
            let answer = match message {
                Down::DesiredState(desired) => Some(Up::ActualState(self.apply(desired).await)),
                Down::AttestationChallenge(challenge) => {
                    Some(Up::AttestationAnswer(self.attest(challenge).await))
                }
                Down::HighWaterMarks(_) => None,
            };
            // Nobody listens while there is no session; the next hello says the same.
            if let Some(answer) = answer
                && self.outgoing.try_send(answer).is_err()
            {
                tracing::warn!("an answer to the control plane was dropped: too many wait");
            }
        }
    }

    /// Adopts a document that is newer than the one in force; an older one changes nothing.
    async fn apply(&self, desired: DesiredState) -> ActualState {
        let mut error = None;
        if desired.version > self.board.read().desired_version {
            let kept = desired.clone();
            match self.data.on_disk(move |data| data.write(FILE, &kept)).await {
                Ok(()) => self.adopt(&desired),
                Err(why) => {
                    tracing::warn!(error = %why, "the desired state cannot be kept and is not applied");
                    error = Some(Text::truncated(&format!("{why:#}")));
                }
            }
        }
        let status = self.board.read();
        ActualState {
            desired_version: status.desired_version,
            paused: status.paused,
            sample_every_s: status.sample_every_s,
            error,
        }
    }

    pub(crate) fn adopt(&self, desired: &DesiredState) {
        tracing::info!(version = desired.version, paused = desired.paused, "desired state applied");
        self.every_s.send_replace(desired.sample_every_s.max(1));
        self.board.update(|status| {
            status.desired_version = desired.version;
            status.paused = desired.paused;
            status.sample_every_s = desired.sample_every_s.max(1);
        });
    }

    async fn attest(&self, challenge: AttestationChallenge) -> AttestationAnswer {
        let evidence = match &self.keys {
            NodeKeys::Software(_) => Evidence::Software,
            NodeKeys::Tpm(tpm) => {
                let (tpm, binding) = (tpm.clone(), attest_binding(&challenge));
                let quoted =
                    tokio::task::spawn_blocking(move || tpm.quote(binding, challenge.pcr_mask)).await;
                let quoted = quoted.unwrap_or_else(|error| Err(TpmError::Unreachable(error.to_string())));
                match quoted {
                    Ok((quote, pcrs)) => quote_evidence(quote.attest, quote.signature, pcrs),
                    Err(error) => Evidence::Unavailable(Text::truncated(&error.to_string())),
                }
            }
        };
        AttestationAnswer { challenge: challenge.challenge, evidence }
    }
}

fn quote_evidence(attest: Vec<u8>, signature: Vec<u8>, pcrs: Vec<noderr_protocol::PcrValue>) -> Evidence {
    match (attest.try_into(), signature.try_into(), List::try_from(pcrs)) {
        (Ok(attest), Ok(signature), Ok(pcrs)) => Evidence::Quote(QuoteEvidence { attest, signature, pcrs }),
        _ => Evidence::Unavailable(Text::truncated("the TPM's quote is larger than any TPM's should be")),
    }
}
