//! What is asked of the TPM: a bounded queue before a thread, which passes one request after the other on to `noderr-tpm`, and a deadline
//! on every request.

use super::helper::Helper;
use super::wire::{self, Evidence, PublicKeys, Request, Signer};
use super::{TpmConfig, TpmError, TpmStats};
use noderr_protocol::PcrValue;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

const QUEUE: usize = 32;
/// How many deadlines a slow command gets: making and persisting keys takes a discrete TPM seconds.
const SLOW: u32 = 12;
/// How long `noderr-tpm` waits for more: an enrolment and a handshake each ask several times.
const LINGER: Duration = Duration::from_secs(1);

struct Asked {
    request: Request,
    patience: Duration,
    deadline: Instant,
    /// Takes the answer as it was heard.
    reply: SyncSender<Result<Vec<u8>, TpmError>>,
}

/// A handle on the TPM; cheap to clone. Its methods block: call them from blocking code.
#[derive(Clone)]
pub struct Tpm {
    queue: SyncSender<Asked>,
    deadline: Duration,
    tls_public: Arc<OnceLock<[u8; 65]>>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Tpm {
    /// Refuses a TCTI string with which no TPM can be reached, and a box without `noderr-tpm`. Does not speak to the TPM.
    pub fn check(config: &TpmConfig) -> Result<(), TpmError> {
        Helper::check(config)
    }

    /// Checks the configuration, and starts the thread. Does not speak to the TPM yet.
    pub fn start(config: TpmConfig) -> Result<Self, TpmError> {
        Self::check(&config)?;
        let deadline = config.deadline;
        let (queue, asked) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("tpm".to_owned())
            .spawn(move || pass_on(&config, &asked))
            .map_err(|error| TpmError::Unreachable(error.to_string()))?;
        Ok(Self { queue, deadline, tls_public: Arc::default(), counters: Arc::default() })
    }

    /// The public keys, made and persisted if `create` and missing.
    pub fn public_keys(&self, create: bool) -> Result<PublicKeys, TpmError> {
        let keys: PublicKeys = self.ask(self.deadline * SLOW, Request::PublicKeys { create })?;
        // Set once and for the life of the handle: a TPM that was swapped under us must not go unnoticed.
        let point = point(&keys)?;
        if *self.tls_public.get_or_init(|| point) == point { Ok(keys) } else { Err(TpmError::KeysGone) }
    }

    /// The TLS key as an uncompressed SEC1 point.
    pub fn tls_public_sec1(&self) -> Result<[u8; 65], TpmError> {
        match self.tls_public.get() {
            Some(key) => Ok(*key),
            None => point(&self.public_keys(false)?),
        }
    }

    /// ECDSA by the TLS key over the SHA-256 of `message`, DER.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TpmError> {
        self.sign_with(Signer::Tls, message)
    }

    /// ECDSA by the key of results over the SHA-256 of `message`, DER.
    pub fn sign_result(&self, message: &[u8]) -> Result<Vec<u8>, TpmError> {
        self.sign_with(Signer::Results, message)
    }

    fn sign_with(&self, signer: Signer, message: &[u8]) -> Result<Vec<u8>, TpmError> {
        let digest = Sha256::digest(message).into();
        self.ask(self.deadline, Request::Sign { signer, digest })
    }

    /// TPM2_ActivateCredential: the secret that was made for this TPM and its attestation key.
    pub fn activate(&self, blob: Vec<u8>, secret: Vec<u8>) -> Result<Vec<u8>, TpmError> {
        self.ask(self.deadline * SLOW, Request::Activate { blob, secret })
    }

    /// A quote over the registers in `pcr_mask`, with their values.
    pub fn quote(&self, binding: [u8; 32], pcr_mask: u32) -> Result<(Evidence, Vec<PcrValue>), TpmError> {
        self.ask(self.deadline, Request::Quote { binding, pcr_mask })
    }

    /// The attestation key's certification that the TLS key lives in the same TPM.
    pub fn certify(&self, binding: [u8; 32]) -> Result<Evidence, TpmError> {
        let request = Request::Certify { signer: Signer::Tls, binding };
        let (_, evidence): (Vec<u8>, _) = self.ask(self.deadline, request)?;
        Ok(evidence)
    }

    /// The key of results, TPMT_PUBLIC, and the attestation key's certification that it lives in the same
    /// TPM.
    pub fn certify_result_key(&self, binding: [u8; 32]) -> Result<(Vec<u8>, Evidence), TpmError> {
        // The key of results may have to be made first.
        self.ask(self.deadline * SLOW, Request::Certify { signer: Signer::Results, binding })
    }

    /// How many commands were answered, and how many failed.
    pub fn stats(&self) -> TpmStats {
        TpmStats {
            answered: self.counters.answered.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
        }
    }

    fn ask<T: DeserializeOwned>(&self, patience: Duration, request: Request) -> Result<T, TpmError> {
        let result = self.heard(patience, request).and_then(|heard| {
            wire::read::<Result<T, TpmError>>(&heard).unwrap_or_else(|error| Err(TpmError::Unreachable(format!(
                "noderr-tpm answers what noderr-node does not understand ({error}); are both of the same version?"
            ))))
        });
        let counter = if result.is_ok() { &self.counters.answered } else { &self.counters.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }

    fn heard(&self, patience: Duration, request: Request) -> Result<Vec<u8>, TpmError> {
        let (reply, answer) = sync_channel(1);
        let deadline = Instant::now() + patience;
        self.queue.try_send(Asked { request, patience, deadline, reply }).map_err(|why| match why {
            TrySendError::Full(_) => TpmError::Busy,
            TrySendError::Disconnected(_) => TpmError::Unreachable("its thread has ended".to_owned()),
        })?;
        match answer.recv_timeout(patience) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout) => Err(TpmError::Silent(patience)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(TpmError::Unreachable("its thread has ended".to_owned()))
            }
        }
    }
}

fn point(keys: &PublicKeys) -> Result<[u8; 65], TpmError> {
    keys.tls_sec1
        .as_slice()
        .try_into()
        .map_err(|_| TpmError::Unreachable("its TLS key is not a point".to_owned()))
}

/// Passes on what is asked until nobody can ask any more.
fn pass_on(config: &TpmConfig, asked: &Receiver<Asked>) {
    let mut helper = None;
    loop {
        let next = match helper {
            Some(_) => asked.recv_timeout(LINGER),
            None => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(asked) => {
                // A caller may have stopped waiting, which happens while a TPM hangs; there is nobody else to tell.
                if Instant::now() < asked.deadline {
                    drop(asked.reply.try_send(answer(config, &mut helper, &asked)));
                }
            }
            Err(why) => {
                helper.take().into_iter().for_each(Helper::end);
                if why == RecvTimeoutError::Disconnected {
                    return;
                }
            }
        }
    }
}

/// Asks the helper that is there, or a new one. One that has ended since it was last asked is no reason to fail; one that says nothing,
/// ends while it works, or cannot be understood is not asked again.
fn answer(config: &TpmConfig, kept: &mut Option<Helper>, asked: &Asked) -> Result<Vec<u8>, TpmError> {
    if let Some(helper) = kept {
        match helper.ask(&asked.request, asked.deadline) {
            Ok(heard) => return Ok(heard),
            Err(error) => {
                *kept = None;
                if error.kind() == ErrorKind::TimedOut {
                    return Err(TpmError::Silent(asked.patience));
                }
                tracing::warn!(%error, "noderr-tpm has ended, and is started anew");
            }
        }
    }
    let mut helper = Helper::start(config)?;
    let heard = helper.ask(&asked.request, asked.deadline).map_err(|error| match error.kind() {
        ErrorKind::TimedOut => TpmError::Silent(asked.patience),
        ErrorKind::UnexpectedEof => TpmError::Unreachable(
            "noderr-tpm has ended in the midst of the command; the log says more".to_owned(),
        ),
        _ => TpmError::Unreachable(format!("noderr-tpm cannot be asked: {error}")),
    })?;
    *kept = Some(helper);
    Ok(heard)
}
