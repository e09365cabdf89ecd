//! The settings of enrolment: which boxes may enrol, and with what proof.

use noderr_kernel::Settings;
use serde::Deserialize;
use std::path::PathBuf;

/// `[enrolment]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrolmentSettings {
    /// What must vouch for a TPM's endorsement key.
    pub ek_policy: EkPolicy,
    /// Folder of TPM vendors' certificates, PEM files.
    pub vendor_roots: Option<PathBuf>,
    /// Fingerprints (hex) of endorsement keys that are let in under `allow-listed-ek`.
    pub allowed_eks: Vec<String>,
    /// Whether boxes without a TPM may enrol with a software identity.
    pub allow_software: bool,
    /// Registers of the SHA-256 bank that are quoted.
    pub pcrs: Vec<u8>,
    /// Seconds an enrolment may take from begin to finish.
    pub session_s: u32,
    /// Hours an install token is good for.
    pub token_hours: u32,
    /// Seconds between attestations of a connected node.
    pub attest_every_s: u32,
    /// Seconds that a node has for its answer to a challenge.
    pub attest_answer_s: u32,
    /// What becomes of a node that is trusted no longer: its registers have changed, its TPM's answer is refused, or it has
    /// proven nothing for `trusted_within_s`.
    pub on_changed: OnChanged,
    /// Seconds for which a node may prove nothing.
    pub trusted_within_s: u32,
    /// Which of its endorsement keys a TPM must show.
    pub ek_algorithm: EkAlgorithm,
}

/// What becomes of a node that is trusted no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnChanged {
    /// The change is put on record.
    Note,
    /// The node is kept out of work until its registers are accepted, or are again what they were.
    Quarantine,
}

/// Which of its endorsement keys a TPM must show. A TPM has several, and one TPM is to be one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EkAlgorithm {
    /// RSA-2048, which every TPM for PCs has.
    Rsa,
    /// P-256.
    Ecc,
    /// Either: a TPM may then stand behind two nodes.
    Any,
}

/// What must vouch for a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EkPolicy {
    /// A certificate that leads to a configured vendor root.
    RequireEkCert,
    /// A key on the list.
    AllowListedEk,
    /// Any TPM; recorded as not vouched for unless a certificate does.
    Open,
}

impl EkPolicy {
    /// The name of the policy in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequireEkCert => "require-ek-cert",
            Self::AllowListedEk => "allow-listed-ek",
            Self::Open => "open",
        }
    }
}

impl EnrolmentSettings {
    /// Whether a box with a TPM can enrol at all.
    pub fn lets_no_tpm_in(&self) -> bool {
        self.ek_policy == EkPolicy::AllowListedEk && self.allowed_eks.is_empty()
    }
}

impl Settings for EnrolmentSettings {
    const SECTION: &'static str = "enrolment";
    const EXAMPLE: &'static str = include_str!("enrolment.example.toml");

    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.ek_policy != EkPolicy::RequireEkCert || self.vendor_roots.is_some(),
            "enrolment.ek_policy = \"require-ek-cert\" needs enrolment.vendor_roots"
        );
        for name in &self.allowed_eks {
            anyhow::ensure!(
                name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "enrolment.allowed_eks: `{name}` is not a fingerprint of 64 hexadecimal digits"
            );
        }
        for (field, value) in [
            ("session_s", self.session_s),
            ("token_hours", self.token_hours),
            ("attest_every_s", self.attest_every_s),
            ("attest_answer_s", self.attest_answer_s),
            ("trusted_within_s", self.trusted_within_s),
        ] {
            anyhow::ensure!(value > 0, "enrolment.{field} must not be 0");
        }
        anyhow::ensure!(self.token_hours <= 87_600, "enrolment.token_hours must be at most 87600, ten years");
        anyhow::ensure!(
            !self.pcrs.is_empty() && self.pcrs.iter().all(|index| *index < 24),
            "enrolment.pcrs must name registers from 0 to 23"
        );
        Ok(())
    }
}

impl Default for EnrolmentSettings {
    fn default() -> Self {
        Self {
            ek_policy: EkPolicy::Open,
            vendor_roots: None,
            allowed_eks: Vec::new(),
            allow_software: false,
            pcrs: (0..8).collect(),
            session_s: 300,
            token_hours: 168,
            attest_every_s: 86_400,
            attest_answer_s: 120,
            on_changed: OnChanged::Note,
            trusted_within_s: 2 * 86_400,
            ek_algorithm: EkAlgorithm::Rsa,
        }
    }
}

impl EnrolmentSettings {
    /// The mask of the registers that are quoted: bit `i` asks for register `i`.
    pub fn pcr_mask(&self) -> u32 {
        self.pcrs.iter().fold(0, |mask, index| mask | 1 << index)
    }
}
