//! The registrar: enrols the box, renews the certificate long before its end, and keeps the trusted clock
//! right.

use crate::boot;
use crate::config::{Config, KeyPlace};
use crate::status::Board;
use anyhow::{Context as _, bail};
use noderr_identity::{
    CertificateResolver, Enrolment, NodeKeys, SoftwareKey, Tpm, TpmConfig, TrustRoots, TrustedClock,
};
use noderr_link::{ExchangeError, HttpsClient, ask_time, enrol, renew};
use noderr_part::{Backoff, Folder};
use noderr_protocol::IdentityKind;
use secrecy::ExposeSecret as _;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

const CLOCK_EVERY: Duration = Duration::from_secs(3600);
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
        (KeyPlace::Tpm, _) => Ok(NodeKeys::Tpm(Tpm::start(TpmConfig {
            tcti: config.identity.tcti.clone(),
            deadline: Duration::from_secs(config.identity.tpm_deadline_s.max(1)),
        })?)),
    }
}

/// Looks after certificate and clock: holds all that calls to the control plane need.
pub(crate) struct Registrar {
    pub(crate) url: String,
    pub(crate) deadline: Duration,
    pub(crate) roots: TrustRoots,
    pub(crate) clock: TrustedClock,
    pub(crate) data: Arc<Folder>,
    pub(crate) keys: NodeKeys,
    pub(crate) board: Board,
}

impl Registrar {
    /// Asks the control plane for the time and sets the trusted clock, unless the answer would turn the clock
    /// back.
    pub(crate) async fn set_clock(&self) -> Result<(), ExchangeError> {
        let now = ask_time(&self.url, &self.roots, self.deadline).await?;
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
    pub(crate) async fn enrol_once(&self, token: &str) -> Result<Enrolment, ExchangeError> {
        // With a clock that is years off, no certificate can be checked, and a fresh certificate cannot be
        // used.
        self.set_clock().await?;
        Ok(enrol(&self.client()?, &self.keys, token).await?.into())
    }

    /// Enrols, trying again for as long as it takes: soon after a passing failure, seldom where a person must
    /// act.
    pub(crate) async fn enrol_patiently(&self, config: &Config) -> anyhow::Result<Enrolment> {
        let token = config.control_plane.install_token.as_ref().context(
            "this box is not enrolled and the configuration names no control_plane.install_token; \
             ask for one where you were approved",
        )?;
        let mut soon = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut seldom = Backoff::new(Duration::from_secs(30), Duration::from_secs(1800));
        loop {
            let pause = match self.enrol_once(token.expose_secret()).await {
                Ok(enrolment) => return Ok(enrolment),
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

    /// Keeps clock and certificate good for as long as the node runs.
    pub(crate) async fn run(&self, mut enrolment: Enrolment, resolver: Arc<CertificateResolver>) {
        let mut backoff = Backoff::new(Duration::from_secs(1), LOOK_EVERY);
        let mut clock_set = None::<std::time::Instant>;
        loop {
            if clock_set.is_none_or(|at| at.elapsed() > CLOCK_EVERY) {
                match self.set_clock().await {
                    Ok(()) => clock_set = Some(std::time::Instant::now()),
                    Err(error) => tracing::warn!(%error, "the control plane did not say the time"),
                }
            }
            // A clock that nobody has vouched for must not decide that a certificate has to be renewed.
            let now = self.clock.now_ms() / 1000;
            let due = clock_set.is_some() && enrolment.validity().map_or(true, |life| is_due(&life, now));
            let pause = if due {
                match self.renew_once(&enrolment, &resolver).await {
                    Ok(renewed) => {
                        enrolment = renewed;
                        backoff.reset();
                        LOOK_EVERY
                    }
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "the certificate could not be renewed");
                        backoff.pause()
                    }
                }
            } else if clock_set.is_none() {
                backoff.pause()
            } else {
                LOOK_EVERY
            };
            self.show(&enrolment);
            tokio::time::sleep(pause).await;
        }
    }

    async fn renew_once(
        &self,
        enrolment: &Enrolment,
        resolver: &CertificateResolver,
    ) -> anyhow::Result<Enrolment> {
        let renewed: Enrolment = renew(&self.client()?, &self.keys, enrolment.node).await?.into();
        let kept = renewed.clone();
        self.data.on_disk(move |data| anyhow::Ok(kept.save(data)?)).await?;
        resolver.replace(&self.keys, &renewed.certificate_chain)?;
        tracing::info!("the certificate was renewed");
        Ok(renewed)
    }

    pub(crate) fn show(&self, enrolment: &Enrolment) {
        self.board.update(|status| {
            status.node = Some(enrolment.node);
            status.identity = Some(enrolment.kind);
            status.certificate_ends_s = enrolment.validity().ok().map(|validity| *validity.end());
        });
    }

    fn client(&self) -> Result<HttpsClient, ExchangeError> {
        let tls = self
            .roots
            .client_config(&self.clock)
            .map_err(|error| noderr_link::CallError::Unusable(error.to_string()))?;
        Ok(HttpsClient::new(&self.url, tls, self.deadline)?)
    }
}

/// Whether a third of the certificate's life has passed: the other two thirds are for a long time without
/// network.
const fn is_due(life: &RangeInclusive<i64>, now: i64) -> bool {
    now >= *life.start() + (*life.end() - *life.start()) / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_has_gone() {
        let life = 1000..=4000;
        assert!(!is_due(&life, 1000) && !is_due(&life, 1999));
        assert!(is_due(&life, 2000) && is_due(&life, 5000));
    }
}
