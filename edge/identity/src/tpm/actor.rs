//! The actor: a thread with the TPM connection, a bounded queue before it, a deadline on every call.

use super::device::Device;
use super::keys::Signer;
use super::proof::{Evidence, PublicKeys};
use super::{TpmConfig, TpmError, TpmStats};
use noderr_protocol::PcrValue;
use sha2::{Digest as _, Sha256};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

const QUEUE: usize = 32;
/// How many deadlines a slow command gets: making and persisting keys takes a discrete TPM seconds.
const SLOW: u32 = 12;

type Answer<T> = SyncSender<Result<T, TpmError>>;

enum Command {
    PublicKeys {
        create: bool,
        reply: Answer<PublicKeys>,
    },
    Sign {
        signer: Signer,
        digest: [u8; 32],
        reply: Answer<Vec<u8>>,
    },
    Activate {
        blob: Vec<u8>,
        secret: Vec<u8>,
        reply: Answer<Vec<u8>>,
    },
    Quote {
        binding: [u8; 32],
        pcr_mask: u32,
        reply: Answer<(Evidence, Vec<PcrValue>)>,
    },
    Certify {
        signer: Signer,
        binding: [u8; 32],
        reply: Answer<(Vec<u8>, Evidence)>,
    },
    Close {
        reply: Answer<()>,
    },
    #[cfg(test)]
    Panic,
}

/// A handle on the TPM; cheap to clone. Its methods block: call them from blocking code.
#[derive(Clone)]
pub struct Tpm {
    commands: SyncSender<(Instant, Command)>,
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
    /// Refuses a TCTI string that no TPM can be reached with.
    pub fn check_tcti(tcti: &str) -> Result<(), TpmError> {
        Device::new(tcti).map(drop)
    }

    /// Starts the actor. Does not speak to the TPM yet.
    pub fn start(config: TpmConfig) -> Result<Self, TpmError> {
        let device = Device::new(&config.tcti)?;
        let (commands, queue) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("tpm".to_owned())
            .spawn(move || run(device, &queue))
            .map_err(|error| TpmError::Unreachable(error.to_string()))?;
        Ok(Self { commands, deadline: config.deadline, tls_public: Arc::default(), counters: Arc::default() })
    }

    /// The public keys, made and persisted if `create` and missing.
    pub fn public_keys(&self, create: bool) -> Result<PublicKeys, TpmError> {
        let keys = self.ask(self.deadline * SLOW, |reply| Command::PublicKeys { create, reply })?;
        // Set once and for the life of the handle: a TPM that was swapped under us must not go unnoticed.
        if *self.tls_public.get_or_init(|| keys.tls_sec1) == keys.tls_sec1 {
            Ok(keys)
        } else {
            Err(TpmError::KeysGone)
        }
    }

    /// The TLS key as an uncompressed SEC1 point.
    pub fn tls_public_sec1(&self) -> Result<[u8; 65], TpmError> {
        match self.tls_public.get() {
            Some(key) => Ok(*key),
            None => Ok(self.public_keys(false)?.tls_sec1),
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
        self.ask(self.deadline, |reply| Command::Sign { signer, digest, reply })
    }

    /// TPM2_ActivateCredential: the secret that was made for this TPM and its attestation key.
    pub fn activate(&self, blob: Vec<u8>, secret: Vec<u8>) -> Result<Vec<u8>, TpmError> {
        self.ask(self.deadline * SLOW, |reply| Command::Activate { blob, secret, reply })
    }

    /// A quote over the registers in `pcr_mask`, with their values.
    pub fn quote(&self, binding: [u8; 32], pcr_mask: u32) -> Result<(Evidence, Vec<PcrValue>), TpmError> {
        self.ask(self.deadline, |reply| Command::Quote { binding, pcr_mask, reply })
    }

    /// The attestation key's certification that the TLS key lives in the same TPM.
    pub fn certify(&self, binding: [u8; 32]) -> Result<Evidence, TpmError> {
        let signer = Signer::Tls;
        Ok(self.ask(self.deadline, |reply| Command::Certify { signer, binding, reply })?.1)
    }

    /// The key of results, TPMT_PUBLIC, and the attestation key's certification that it lives in the same
    /// TPM.
    pub fn certify_result_key(&self, binding: [u8; 32]) -> Result<(Vec<u8>, Evidence), TpmError> {
        // The key of results may have to be made first.
        self.ask(self.deadline * SLOW, |reply| Command::Certify { signer: Signer::Results, binding, reply })
    }

    /// Closes the connection for good: every later call fails. For the end of the process, whose exit handlers must
    /// not take libtss2's crypto library down while the actor is inside it.
    pub fn close(&self) -> Result<(), TpmError> {
        self.ask(self.deadline, |reply| Command::Close { reply })
    }

    /// How many commands were answered, and how many failed.
    pub fn stats(&self) -> TpmStats {
        TpmStats {
            answered: self.counters.answered.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
        }
    }

    fn ask<T>(&self, patience: Duration, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, TpmError> {
        let (reply, answer) = sync_channel(1);
        let deadline = Instant::now() + patience;
        let result = match self.commands.try_send((deadline, command(reply))) {
            Ok(()) => answer.recv_timeout(patience).unwrap_or_else(|why| {
                Err(match why {
                    RecvTimeoutError::Timeout => TpmError::Silent(patience),
                    RecvTimeoutError::Disconnected => TpmError::Unreachable(
                        "the command failed inside the TPM's library; the log says more".to_owned(),
                    ),
                })
            }),
            Err(TrySendError::Full(_)) => Err(TpmError::Busy),
            Err(TrySendError::Disconnected(_)) => {
                Err(TpmError::Unreachable("its thread has ended".to_owned()))
            }
        };
        let counter = if result.is_ok() { &self.counters.answered } else { &self.counters.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }
}

fn run(mut device: Device, queue: &Receiver<(Instant, Command)>) {
    while let Ok((deadline, command)) = queue.recv() {
        // The caller has stopped waiting, which happens while a TPM hangs.
        if Instant::now() > deadline {
            continue;
        }
        // A panic in the library or its wrapper must not leave the box without its TPM for the rest of the process: whoever
        // asked gets no answer, and the next command begins with a fresh connection.
        match catch_unwind(AssertUnwindSafe(|| serve(&mut device, command))) {
            Ok(Served::More) => {}
            Ok(Served::Closed) => return,
            Err(_) => {
                tracing::error!("a TPM command panicked; the connection is made anew");
                device.forget_connection();
            }
        }
    }
}

enum Served {
    More,
    Closed,
}

fn serve(device: &mut Device, command: Command) -> Served {
    match command {
        Command::PublicKeys { create, reply } => answer(&reply, device.public_keys(create)),
        Command::Sign { signer, digest, reply } => answer(&reply, device.sign(signer, digest)),
        Command::Activate { blob, secret, reply } => answer(&reply, device.activate(blob, secret)),
        Command::Quote { binding, pcr_mask, reply } => answer(&reply, device.quote(binding, pcr_mask)),
        Command::Certify { signer, binding, reply } => answer(&reply, device.certify(signer, binding)),
        Command::Close { reply } => {
            device.close();
            answer(&reply, Ok(()));
            return Served::Closed;
        }
        #[cfg(test)]
        Command::Panic => panic!("as asked"),
    }
    Served::More
}

fn answer<T>(reply: &Answer<T>, result: Result<T, TpmError>) {
    // The asker may have given up in the meantime; there is nobody else to tell.
    drop(reply.try_send(result));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_panics_does_not_take_the_tpm_away_from_the_others() {
        let config =
            TpmConfig { tcti: "device:/dev/no-such-tpm".to_owned(), deadline: Duration::from_secs(5) };
        let tpm = Tpm::start(config).unwrap();
        tpm.commands.send((Instant::now() + Duration::from_secs(5), Command::Panic)).unwrap();
        let error = tpm.public_keys(false).unwrap_err().to_string();
        assert!(error.contains("/dev/no-such-tpm does not exist"), "{error}");
    }
}
