//! Answers the control plane's challenges with quotes by the TPM.

use crate::shared::Shared;
use noderr_identity::{NodeKeys, TpmError};
use noderr_protocol::enrol::attest_binding;
use noderr_protocol::{
    AttestationAnswer, AttestationChallenge, Evidence, List, PcrValue, QuoteEvidence, Text, Up,
};

pub(crate) async fn run(shared: Shared) {
    let mut challenges = shared.challenge.subscribe();
    // After a fall of this part, the challenge that it fell over still waits for its answer.
    challenges.mark_changed();
    while challenges.changed().await.is_ok() {
        let Some(challenge) = challenges.borrow_and_update().clone() else { continue };
        let name = challenge.challenge;
        let answer = AttestationAnswer { challenge: name, evidence: evidence(&shared.keys, challenge).await };
        // The answer is dropped while there is no session; the control plane asks again.
        if shared.outgoing.try_send(Up::AttestationAnswer(answer)).is_err() {
            tracing::warn!("an answer to a challenge was dropped: too many messages wait");
        }
    }
}

async fn evidence(keys: &NodeKeys, challenge: AttestationChallenge) -> Evidence {
    let NodeKeys::Tpm(tpm) = keys else { return Evidence::Software };
    let (tpm, binding) = (tpm.clone(), attest_binding(&challenge));
    let quoted = tokio::task::spawn_blocking(move || tpm.quote(binding, challenge.pcr_mask)).await;
    match quoted.unwrap_or_else(|error| Err(TpmError::Unreachable(error.to_string()))) {
        Ok((quote, pcrs)) => quote_evidence(quote.attest, quote.signature, pcrs),
        Err(error) => Evidence::Unavailable(Text::truncated(&error.to_string())),
    }
}

fn quote_evidence(attest: Vec<u8>, signature: Vec<u8>, pcrs: Vec<PcrValue>) -> Evidence {
    match (attest.try_into(), signature.try_into(), List::try_from(pcrs)) {
        (Ok(attest), Ok(signature), Ok(pcrs)) => Evidence::Quote(QuoteEvidence { attest, signature, pcrs }),
        _ => Evidence::Unavailable(Text::truncated("the TPM's quote is larger than any TPM's should be")),
    }
}
