//! The registrar: enrols the box, renews its papers long before they end or when they no longer work, and keeps the
//! trusted clock right.

use crate::boot;
use crate::clock_pace::ClockPace;
use crate::config::{Config, KeyPlace};
use crate::event_log::read as read_event_log;
use crate::renewals::Renewals;
use crate::status::Board;
use anyhow::{Context as _, bail};
use noderr_identity::{Enrolment, NodeKeys, Papers, SoftwareKey, Tpm, TrustRoots, TrustedClock};
use noderr_link::{CallError, ExchangeError, HttpsClient, LinkState, ask_time, enrol, renew};
use noderr_part::{Backoff, Folder};
use noderr_protocol::IdentityKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Opens the keys the configuration asks for. A box that enrolled with a TPM never runs with a file key.
pub(crate) fn open_keys(
    config: &Config,
    data: &Folder,
    enrolment: Option<&Enrolment>,
) -> anyhow::Result<NodeKeys> {
    match (config.identity.keys, enrolment.map(|enrolment| enrolment.kind)) {
        (KeyPlace::Software, Some(IdentityKind::Tpm)) => bail!(
            "this box enrolled with its TPM and does not fall back to a file key; set identity.keys = \"tpm\", \
             or wipe {} and enrol again with a new install token",
            data.root().display()
        ),
        (KeyPlace::Tpm, Some(IdentityKind::Software)) => bail!(
            "this box enrolled with a software identity; to move it to its TPM, wipe {} and enrol again with a new \
             install token",
            data.root().display()
        ),
        (KeyPlace::Software, _) => Ok(NodeKeys::Software {
            tls: SoftwareKey::open_or_create(&data.root().join("software.key"))?,
            results: SoftwareKey::open_or_create(&data.root().join("results.key"))?,
        }),
        (KeyPlace::Tpm, _) => Ok(NodeKeys::Tpm(Tpm::start(config.identity.tpm()?)?)),
    }
}

/// Looks after papers and clock: holds all that calls to the control plane need.
pub(crate) struct Registrar {
    pub(crate) url: String,
    pub(crate) event_log: PathBuf,
    pub(crate) deadline: Duration,
    /// The roots of the configuration, which count until the box is enrolled.
    pub(crate) configured: Option<TrustRoots>,
    pub(crate) clock: TrustedClock,
    pub(crate) data: Arc<Folder>,
    pub(crate) keys: NodeKeys,
    pub(crate) board: Board,
}

impl Registrar {
    /// Asks the control plane for the time and sets the trusted clock, unless the answer is in doubt.
    async fn set_clock(&self, roots: &TrustRoots) -> Result<(), ExchangeError> {
        let now = ask_time(&self.url, roots, self.deadline).await?;
        let off = now - self.clock.now_ms();
        self.clock.vouch(now)?;
        if off.abs() > 60_000 {
            tracing::warn!(off_ms = off, "the clock was wrong and now follows the control plane");
        }
        let clock = self.clock.clone();
        if let Err(error) = self.data.on_disk(move |data| anyhow::Ok(boot::remember(data, &clock)?)).await {
            tracing::warn!(%error, "the time cannot be remembered across a start");
        }
        Ok(())
    }

    /// Enrols once.
    pub(crate) async fn enrol_once(&self, token: &str) -> Result<Papers, ExchangeError> {
        let roots = self
            .configured
            .as_ref()
            .ok_or_else(|| CallError::Unusable("the configuration names no usable trust roots".to_owned()))?;
        // With a clock that is years off, no certificate can be checked, and a fresh certificate cannot be
        // used.
        self.set_clock(roots).await?;
        let enrolled =
            enrol(&self.client(roots)?, &self.keys, token, read_event_log(&self.event_log).await).await?;
        self.examined(enrolled.into(), roots).await
    }

    /// Enrols, trying again for as long as it takes: soon after a passing failure, seldom where a person must
    /// act.
    pub(crate) async fn enrol_patiently(&self, config: &Config) -> anyhow::Result<Papers> {
        let token = config.install_token().context(
            "this box is not enrolled and the configuration names no control_plane.install_token; \
             ask for one where you were approved",
        )?;
        let mut soon = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut seldom = Backoff::new(Duration::from_secs(30), Duration::from_secs(1800));
        loop {
            let pause = match self.enrol_once(token).await {
                Ok(papers) => return Ok(papers),
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "not enrolled yet");
                    self.board.update(|status| status.doing = format!("enrolling: {error}"));
                    soon.pause()
                }
                Err(error) => {
                    tracing::error!(%error, "enrolment was refused");
                    self.board.update(|status| status.doing = format!("not let in: {error}"));
                    seldom.pause()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Keeps clock and papers good for as long as the node runs. New papers are used first and kept then: on a disk that cannot
    /// be written to they are good until the next start.
    pub(crate) async fn run(&self, papers: watch::Sender<Arc<Papers>>, mut link: watch::Receiver<LinkState>) {
        let (mut renewals, mut clock) =
            (Renewals::new(), ClockPace::new(self.clock.patience(), Instant::now()));
        let mut writing = Backoff::new(Duration::from_secs(1), LOOK_EVERY);
        let mut unwritten = true;
        loop {
            let current = papers.borrow().clone();
            self.show(&current.enrolment);
            clock.note(&link.borrow(), Instant::now());
            if clock.is_due(Instant::now()) {
                let asked = self.set_clock(&current.roots).await;
                clock.asked(asked.is_ok(), self.clock.is_in_doubt(), Instant::now());
                if let Err(error) = asked {
                    tracing::warn!(%error, "the clock was not set");
                }
            }
            if unwritten {
                unwritten = self
                    .keep(&current)
                    .await
                    .inspect_err(
                        |error| tracing::warn!(%error, "the papers are in use, but not on the disk yet"),
                    )
                    .is_err();
            }
            let state = link.borrow_and_update().clone();
            renewals.note(&state, Instant::now());
            let life = current.enrolment.validity().ok();
            let unix_s = self.clock.is_vouched().then(|| self.clock.now_ms() / 1000);
            let reason = renewals.reason(life.as_ref(), unix_s, &state, Instant::now());
            let wait = reason.map_or(LOOK_EVERY, |_| renewals.pause(Instant::now()));
            if let (Some(reason), Duration::ZERO) = (reason, wait) {
                renewals.tried(Instant::now());
                match self.renew_once(&current).await {
                    Ok(renewed) => {
                        tracing::info!(?reason, "the papers were renewed");
                        papers.send_replace(Arc::new(renewed));
                        unwritten = true;
                    }
                    Err(error) => tracing::warn!(?reason, %error, "the papers could not be renewed"),
                }
                continue;
            }
            let wait = wait.min(clock.pause(Instant::now())).min(if unwritten {
                writing.pause()
            } else {
                LOOK_EVERY
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = link.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn renew_once(&self, before: &Papers) -> Result<Papers, ExchangeError> {
        let renewed = renew(&self.client(&before.roots)?, &self.keys, before.enrolment.node).await?;
        let mut renewed = Enrolment::from(renewed);
        // The root of releases that a box was given once is the one that counts.
        renewed.release_root.clone_from(&before.enrolment.release_root);
        let renewed = self.examined(renewed, &before.roots).await?;
        renewed.succeed(&before.enrolment)?;
        Ok(renewed)
    }

    /// Checks papers that were issued over `roots`. Roots that the control plane issues count only if the control plane itself
    /// can be reached over them: a box that trusts the wrong ones can never be told better.
    async fn examined(&self, mut issued: Enrolment, roots: &TrustRoots) -> Result<Papers, ExchangeError> {
        if issued.trust_roots != roots.pem() {
            let proof = match TrustRoots::from_pem(&issued.trust_roots) {
                Ok(new) => ask_time(&self.url, &new, self.deadline).await.map(drop),
                Err(error) => Err(CallError::Unusable(error.to_string())),
            };
            if let Err(error) = proof {
                tracing::error!(%error, "the control plane is not itself under the roots that it issued; they are not taken");
                roots.pem().clone_into(&mut issued.trust_roots);
            }
        }
        let (keys, now_ms) = (self.keys.clone(), self.clock.now_ms());
        let examined = tokio::task::spawn_blocking(move || Papers::issued(issued, &keys, now_ms)).await;
        Ok(examined.map_err(|error| CallError::Unusable(error.to_string()))??)
    }

    /// Writes papers down, for the next start.
    pub(crate) async fn keep(&self, papers: &Papers) -> anyhow::Result<()> {
        let enrolment = papers.enrolment.clone();
        let write = move |data: &Folder| {
            let newest = data.read_copies::<Enrolment>().into_iter().next();
            if newest.as_ref() != Some(&enrolment) {
                data.write(&enrolment)?;
            }
            anyhow::Ok(())
        };
        self.data.on_disk(write).await
    }

    pub(crate) fn show(&self, enrolment: &Enrolment) {
        self.board.update(|status| {
            status.node = Some(enrolment.node);
            status.identity = Some(enrolment.kind);
            status.certificate_ends_s = enrolment.validity().ok().map(|validity| *validity.end());
        });
    }

    fn client(&self, roots: &TrustRoots) -> Result<HttpsClient, ExchangeError> {
        let tls = roots.client_config(&self.clock).map_err(|error| CallError::Unusable(error.to_string()))?;
        Ok(HttpsClient::new(&self.url, tls, self.deadline)?)
    }
}
