//! The node's side of the enrolment and renewal exchanges.

use crate::https::{CallError, HttpsClient};
use noderr_identity::tpm::wire::Evidence;
use noderr_identity::{InDoubt, KeyError, NodeKeys, PapersError, Tpm, TpmError, certificate_request};
use noderr_protocol::enrol::{
    ActivationChallenge, BeginRequest, BeginResponse, Enrolled, FinishRequest, Register, RenewChallenge,
    RenewChallengeRequest, RenewProof, RenewRequest, ResultKey, TpmKeys, TpmProof, enrol_binding,
    renew_binding,
};
use noderr_protocol::{Base64, NodeId, PcrValue};

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The call failed or was refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The key could not be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The control plane's time is not believed yet.
    #[error(transparent)]
    Clock(#[from] InDoubt),
    /// What the control plane issued cannot be used.
    #[error("the control plane issued papers that cannot be used: {0}")]
    Papers(#[from] PapersError),
    /// The control plane wants a proof this box cannot give.
    #[error("the control plane asks for a TPM proof, but this box runs with a software identity")]
    WantsTpm,
    /// The control plane asked for no proof of a box that has a TPM.
    #[error("the control plane asked this TPM for no proof; refusing to enrol without one")]
    WantsNothing,
}

impl From<TpmError> for ExchangeError {
    fn from(error: TpmError) -> Self {
        Self::Key(error.into())
    }
}

impl ExchangeError {
    /// Whether the exchange may succeed later without anybody changing anything.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Call(error) => error.is_passing(),
            Self::Clock(_) | Self::Papers(_) => true,
            Self::Key(KeyError::Tpm(error)) => {
                matches!(error, TpmError::Unreachable(_) | TpmError::Silent(_) | TpmError::Busy)
            }
            Self::Key(_) | Self::WantsTpm | Self::WantsNothing => false,
        }
    }
}

/// Enrols with an install token. Keys are made in the TPM where they are missing.
pub async fn enrol(
    client: &HttpsClient,
    keys: &NodeKeys,
    token: &str,
    event_log: Option<Vec<u8>>,
) -> Result<Enrolled, ExchangeError> {
    let tpm = match keys {
        NodeKeys::Tpm(tpm) => {
            let public = blocking(tpm, |tpm| tpm.public_keys(true)).await?;
            Some(TpmKeys {
                ek_cert: public.ek_cert.map(Base64::from),
                ek_pub: public.ek.into(),
                ak_pub: public.ak.into(),
                tls_pub: public.tls.into(),
            })
        }
        NodeKeys::Software { .. } => None,
    };
    let begin = BeginRequest { token: token.to_owned(), tpm };
    let begun: BeginResponse = client.post("/enrol/begin", &begin).await?;
    let csr = request(keys).await?;
    let (proof, binding) = match (keys, begun.challenge) {
        (NodeKeys::Tpm(tpm), Some(challenge)) => {
            let (proof, binding) = prove(tpm, challenge, &begun.session, &csr, event_log).await?;
            (Some(proof), binding)
        }
        (NodeKeys::Software { .. }, None) => (None, enrol_binding(&[], &begun.session, &csr, None)),
        (NodeKeys::Software { .. }, Some(_)) => return Err(ExchangeError::WantsTpm),
        (NodeKeys::Tpm(_), None) => return Err(ExchangeError::WantsNothing),
    };
    let result_key = result_key(keys, binding).await?;
    let possession = match keys {
        NodeKeys::Tpm(_) => None,
        NodeKeys::Software { .. } => Some(sign(keys, binding).await?.into()),
    };
    let finish = FinishRequest { session: begun.session, csr: csr.into(), proof, possession, result_key };
    Ok(client.post("/enrol/finish", &finish).await?)
}

async fn prove(
    tpm: &Tpm,
    challenge: ActivationChallenge,
    session: &[u8],
    csr: &[u8],
    event_log: Option<Vec<u8>>,
) -> Result<(TpmProof, [u8; 32]), ExchangeError> {
    let (session, csr) = (session.to_vec(), csr.to_vec());
    blocking(tpm, move |tpm| {
        let secret =
            tpm.activate(challenge.credential_blob.into_vec(), challenge.encrypted_secret.into_vec())?;
        let binding = enrol_binding(&secret, &session, &csr, event_log.as_deref());
        let (quote, pcrs) = tpm.quote(binding, challenge.pcr_mask)?;
        let certify = tpm.certify(binding)?;
        let proof = TpmProof {
            pcrs: registers(pcrs),
            event_log: event_log.map(Base64::from),
            quote: quote.attest.into(),
            quote_sig: quote.signature.into(),
            certify: certify.attest.into(),
            certify_sig: certify.signature.into(),
        };
        Ok((proof, binding))
    })
    .await
}

/// Asks for a new certificate for the same keys. Works with an expired certificate too, because the keys
/// alone prove which node asks.
pub async fn renew(client: &HttpsClient, keys: &NodeKeys, node: NodeId) -> Result<Enrolled, ExchangeError> {
    let challenge: RenewChallenge =
        client.post("/enrol/renew/challenge", &RenewChallengeRequest { node }).await?;
    let csr = request(keys).await?;
    let binding = renew_binding(&challenge.nonce, &challenge.session, &csr);
    let proof = match keys {
        NodeKeys::Tpm(tpm) => {
            let mask = challenge.pcr_mask;
            let (Evidence { attest, signature }, pcrs) =
                blocking(tpm, move |tpm| tpm.quote(binding, mask)).await?;
            Some(RenewProof { pcrs: registers(pcrs), quote: attest.into(), quote_sig: signature.into() })
        }
        NodeKeys::Software { .. } => None,
    };
    let possession = sign(keys, binding).await?;
    let result_key = result_key(keys, binding).await?;
    let renew = RenewRequest {
        node,
        session: challenge.session,
        csr: csr.into(),
        proof,
        possession: possession.into(),
        result_key,
    };
    Ok(client.post("/enrol/renew", &renew).await?)
}

async fn request(keys: &NodeKeys) -> Result<Vec<u8>, ExchangeError> {
    let keys = keys.clone();
    Ok(join(tokio::task::spawn_blocking(move || certificate_request(&keys)).await)?)
}

async fn sign(keys: &NodeKeys, binding: [u8; 32]) -> Result<Vec<u8>, ExchangeError> {
    let keys = keys.clone();
    Ok(join(tokio::task::spawn_blocking(move || keys.sign(&binding)).await)?)
}

async fn result_key(keys: &NodeKeys, binding: [u8; 32]) -> Result<ResultKey, ExchangeError> {
    let keys = keys.clone();
    Ok(join(tokio::task::spawn_blocking(move || keys.prove_result_key(&binding)).await)?)
}

async fn blocking<T: Send + 'static>(
    tpm: &Tpm,
    call: impl FnOnce(&Tpm) -> Result<T, TpmError> + Send + 'static,
) -> Result<T, ExchangeError> {
    let tpm = tpm.clone();
    Ok(join(tokio::task::spawn_blocking(move || call(&tpm).map_err(KeyError::from)).await)?)
}

fn join<T>(joined: Result<Result<T, KeyError>, tokio::task::JoinError>) -> Result<T, KeyError> {
    joined.unwrap_or_else(|error| Err(KeyError::Panicked(error.to_string())))
}

fn registers(pcrs: Vec<PcrValue>) -> Vec<Register> {
    // A mask has no more bits than there are registers.
    pcrs.into_iter().filter_map(Register::of).collect()
}
