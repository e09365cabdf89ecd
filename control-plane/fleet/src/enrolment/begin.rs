//! `begin`: is the token good, is the TPM one we let in, and may it stand behind this node?

use super::db::{self, Exchange};
use super::problems::{
    EK_ALGORITHM, EK_CERTIFICATE_REQUIRED, EK_NOT_LISTED, INSTALL_TOKEN, KNOWN_WITH_TPM, OTHER_TPM,
    SOFTWARE_NOT_ALLOWED, TOO_MANY_ATTEMPTS, TPM_BARRED, refused,
};
use crate::install_tokens::{self, GoodToken};
use crate::settings::{EkAlgorithm, EkPolicy};
use crate::state::Fleet;
use crate::values::node_id;
use hmac::{Hmac, Mac as _};
use noderr_attestation::{AttestationKey, EndorsementKey, Refusal, TlsKey, make_credential};
use noderr_kernel::{Problem, hash_secret, record, unix_now};
use noderr_protocol::IdentityKind;
use noderr_protocol::enrol::{ActivationChallenge, BeginRequest, BeginResponse, TpmKeys};
use rand::RngCore as _;
use rustls_pki_types::UnixTime;
use serde_json::json;
use sha2::Sha256;
use std::time::Duration;

/// Enrolments that may be begun with one token within an hour.
const ATTEMPTS: i64 = 30;

pub(super) async fn begin(fleet: &Fleet, request: BeginRequest) -> Result<BeginResponse, Problem> {
    let mut tx = fleet.kernel.database.begin_for_stranger().await?;
    let token =
        install_tokens::find_good(&mut tx, &hash_secret(&request.token)).await?.ok_or(INSTALL_TOKEN)?;
    if token.attempts >= ATTEMPTS {
        return Err(TOO_MANY_ATTEMPTS.into());
    }
    let mut session = [0; 32];
    rand::rng().fill_bytes(&mut session);
    let barred = match &request.tpm {
        Some(keys) => {
            let ek = EndorsementKey::parse(&keys.ek_pub).map_err(|refusal| refused(&refusal))?;
            db::is_barred(&mut tx, &ek.fingerprint()).await?
        }
        None => false,
    };
    let (exchange, challenge) = match request.tpm {
        Some(keys) => with_tpm(fleet, &token, keys, &secret_of(fleet, &session))?,
        None => (with_software(fleet, &token)?, None),
    };
    let expires_in_s = fleet.settings.enrolment.session_s;
    // An attempt with a barred TPM counts as one, and nobody learns the name of its session.
    db::insert(&mut tx, &session, &exchange, expires_in_s.into()).await?;
    if barred {
        let (node, detail) = (node_id(&token.node_id).to_string(), json!({ "why": TPM_BARRED.name }));
        record(&mut tx, "enrolment", "node.enrol.refused", &node, &detail).await?;
    }
    tx.commit().await?;
    if barred {
        return Err(TPM_BARRED.into());
    }
    Ok(BeginResponse { session: session.to_vec().into(), challenge, expires_in_s })
}

/// The secret of an enrolment, which only the right TPM can decrypt and answer with. It is computed from the
/// session and never stored, so that nobody who reads the database can answer in the TPM's place.
pub(super) fn secret_of(fleet: &Fleet, session: &[u8]) -> [u8; 32] {
    Hmac::<Sha256>::new_from_slice(&fleet.exchange_key)
        .expect("HMAC takes keys of any length")
        .chain_update(b"noderr-enrol-secret-v1")
        .chain_update(session)
        .finalize()
        .into_bytes()
        .into()
}

fn with_tpm(
    fleet: &Fleet,
    token: &GoodToken,
    keys: TpmKeys,
    secret: &[u8; 32],
) -> Result<(Exchange, Option<ActivationChallenge>), Problem> {
    let refused = |refusal: Refusal| refused(&refusal);
    let ek = EndorsementKey::parse(&keys.ek_pub).map_err(refused)?;
    let fits = match fleet.settings.enrolment.ek_algorithm {
        EkAlgorithm::Rsa => ek.is_rsa(),
        EkAlgorithm::Ecc => !ek.is_rsa(),
        EkAlgorithm::Any => true,
    };
    if !fits {
        return Err(EK_ALGORITHM.into());
    }
    let ek_certified = vouched_for(fleet, &ek, keys.ek_cert.as_deref())?;
    let ak = AttestationKey::parse(&keys.ak_pub).map_err(refused)?;
    TlsKey::parse(&keys.tls_pub, &ak).map_err(refused)?;
    let ek_fingerprint = ek.fingerprint().to_vec();
    if token.used && token.ek_fingerprint.as_ref() != Some(&ek_fingerprint) {
        return Err(INSTALL_TOKEN.into());
    }
    if token.ek_fingerprint.as_ref().is_some_and(|bound| *bound != ek_fingerprint) {
        return Err(OTHER_TPM.into());
    }
    let credential = make_credential(&ek, &ak, secret).map_err(refused)?;
    let pcr_mask = fleet.settings.enrolment.pcr_mask();
    let challenge = ActivationChallenge {
        credential_blob: credential.blob.into(),
        encrypted_secret: credential.encrypted_secret.into(),
        pcr_mask,
    };
    let exchange = Exchange {
        node_id: token.node_id.clone(),
        token_id: Some(token.id),
        kind: IdentityKind::Tpm.to_string(),
        ek_fingerprint: Some(ek_fingerprint),
        ek_certified,
        ak_public: Some(keys.ak_pub.into_vec()),
        tls_public: Some(keys.tls_pub.into_vec()),
        pcr_mask: pcr_mask.cast_signed(),
    };
    Ok((exchange, Some(challenge)))
}

/// Whether a vendor vouches for the key; an error if the policy demands more than the TPM has.
fn vouched_for(fleet: &Fleet, ek: &EndorsementKey, certificate: Option<&[u8]>) -> Result<bool, Problem> {
    let policy = &fleet.settings.enrolment;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(unix_now().unsigned_abs()));
    let checked = certificate.map(|der| {
        let certificate = fleet.vendor_roots.check(der, now)?;
        ek.check_certificate(&certificate)
    });
    match (policy.ek_policy, checked) {
        // A certificate of another key is a lie under any policy.
        (_, Some(Err(refusal @ Refusal::EkMismatch))) => Err(refused(&refusal)),
        (_, Some(Ok(()))) if policy.ek_policy != EkPolicy::AllowListedEk => Ok(true),
        (EkPolicy::RequireEkCert, Some(Err(refusal))) => Err(refused(&refusal)),
        (EkPolicy::RequireEkCert, _) => Err(EK_CERTIFICATE_REQUIRED.into()),
        (EkPolicy::AllowListedEk, checked) => {
            let name = hex::encode(ek.fingerprint());
            if policy.allowed_eks.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name)) {
                return Ok(matches!(checked, Some(Ok(()))));
            }
            let detail = format!("the TPM {name} is not on this network's list (enrolment.allowed_eks)");
            Err(EK_NOT_LISTED.because(detail))
        }
        (EkPolicy::Open, _) => Ok(false),
    }
}

fn with_software(fleet: &Fleet, token: &GoodToken) -> Result<Exchange, Problem> {
    if !fleet.settings.enrolment.allow_software {
        return Err(SOFTWARE_NOT_ALLOWED.into());
    }
    // Whether the box is the same one is checked in `finish`, by its key.
    if token.used && token.kind.as_deref() != Some(IdentityKind::Software.as_str()) {
        return Err(INSTALL_TOKEN.into());
    }
    if token.kind.as_deref() == Some(IdentityKind::Tpm.as_str()) {
        return Err(KNOWN_WITH_TPM.into());
    }
    Ok(Exchange {
        node_id: token.node_id.clone(),
        token_id: Some(token.id),
        kind: IdentityKind::Software.to_string(),
        ek_fingerprint: None,
        ek_certified: false,
        ak_public: None,
        tls_public: None,
        pcr_mask: 0,
    })
}
