//! `begin`: is the token good, is the TPM one we let in, and may it stand behind this node?

use super::db::{self, Exchange};
use super::{refused, secret_of};
use crate::app::{App, unix_now};
use crate::config::EkPolicy;
use crate::features::access::hash_secret;
use crate::features::install_tokens::{self, GoodToken};
use crate::http::Problem;
use axum::http::StatusCode;
use noderr_attestation::{AttestationKey, EndorsementKey, Refusal, TlsKey, make_credential};
use noderr_protocol::IdentityKind;
use noderr_protocol::enrol::{ActivationChallenge, BeginRequest, BeginResponse, TpmKeys};
use rand::RngCore as _;
use rustls_pki_types::UnixTime;
use std::time::Duration;

/// Enrolments that may be begun with one token within an hour.
const ATTEMPTS: i64 = 30;

pub(super) async fn begin(app: &App, request: BeginRequest) -> Result<BeginResponse, Problem> {
    let mut tx = app.database.begin().await?;
    let token =
        install_tokens::find_good(&mut tx, &hash_secret(&request.token)).await?.ok_or_else(bad_token)?;
    if token.attempts >= ATTEMPTS {
        let detail = "this install token was tried too often within an hour; wait, or ask for a new one";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts", detail));
    }
    let mut session = [0; 32];
    rand::rng().fill_bytes(&mut session);
    let (exchange, challenge) = match request.tpm {
        Some(keys) => with_tpm(app, &token, keys, &secret_of(app, &session))?,
        None => (with_software(app, &token)?, None),
    };
    let expires_in_s = app.config.enrolment.session_s;
    db::insert(&mut tx, &session, &exchange, expires_in_s.into()).await?;
    tx.commit().await?;
    Ok(BeginResponse { session: session.to_vec(), challenge, expires_in_s })
}

/// Says no more to a stranger than that the token is of no use.
pub(super) fn bad_token() -> Problem {
    let detail = "the install token is unknown, used, expired, or its node may not enrol";
    Problem::forbidden("install-token", detail)
}

fn with_tpm(
    app: &App,
    token: &GoodToken,
    keys: TpmKeys,
    secret: &[u8; 32],
) -> Result<(Exchange, Option<ActivationChallenge>), Problem> {
    let refused = |refusal: Refusal| refused(&refusal);
    let ek = EndorsementKey::parse(&keys.ek_pub).map_err(refused)?;
    let ek_certified = vouched_for(app, &ek, keys.ek_cert.as_deref())?;
    let ak = AttestationKey::parse(&keys.ak_pub).map_err(refused)?;
    TlsKey::parse(&keys.tls_pub, &ak).map_err(refused)?;
    let ek_fingerprint = ek.fingerprint().to_vec();
    if token.used && token.ek_fingerprint.as_ref() != Some(&ek_fingerprint) {
        return Err(bad_token());
    }
    if token.ek_fingerprint.as_ref().is_some_and(|bound| *bound != ek_fingerprint) {
        let detail = "this node id is bound to another TPM; an admin can unbind it";
        return Err(Problem::forbidden("other-tpm", detail));
    }
    let credential = make_credential(&ek, &ak, secret).map_err(refused)?;
    let pcr_mask = app.config.enrolment.pcr_mask();
    let challenge = ActivationChallenge {
        credential_blob: credential.blob,
        encrypted_secret: credential.encrypted_secret,
        pcr_mask,
    };
    let exchange = Exchange {
        node_id: token.node_id.clone(),
        token_id: Some(token.id),
        kind: IdentityKind::Tpm.to_string(),
        ek_fingerprint: Some(ek_fingerprint),
        ek_certified,
        ak_public: Some(keys.ak_pub),
        tls_public: Some(keys.tls_pub),
        pcr_mask: pcr_mask.cast_signed(),
    };
    Ok((exchange, Some(challenge)))
}

/// Whether a vendor vouches for the key; an error where the policy demands more than there is.
fn vouched_for(app: &App, ek: &EndorsementKey, certificate: Option<&[u8]>) -> Result<bool, Problem> {
    let policy = &app.config.enrolment;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(unix_now().unsigned_abs()));
    let checked = certificate.map(|der| {
        let certificate = app.vendor_roots.check(der, now)?;
        ek.check_certificate(&certificate)
    });
    match (policy.ek_policy, checked) {
        // A certificate of another key is a lie under any policy.
        (_, Some(Err(refusal @ Refusal::EkMismatch))) => Err(refused(&refusal)),
        (_, Some(Ok(()))) if policy.ek_policy != EkPolicy::AllowListedEk => Ok(true),
        (EkPolicy::RequireEkCert, Some(Err(refusal))) => Err(refused(&refusal)),
        (EkPolicy::RequireEkCert, _) => {
            let detail =
                "this network asks for a TPM with a vendor's endorsement certificate; this one has none";
            Err(Problem::forbidden("ek-certificate-required", detail))
        }
        (EkPolicy::AllowListedEk, checked) => {
            let name = hex::encode(ek.fingerprint());
            if policy.allowed_eks.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name)) {
                return Ok(matches!(checked, Some(Ok(()))));
            }
            let detail = format!("the TPM {name} is not on this network's list (enrolment.allowed_eks)");
            Err(Problem::forbidden("ek-not-listed", detail))
        }
        (EkPolicy::Open, _) => Ok(false),
    }
}

fn with_software(app: &App, token: &GoodToken) -> Result<Exchange, Problem> {
    if !app.config.enrolment.allow_software {
        let detail = "this network does not let boxes without a TPM in (enrolment.allow_software)";
        return Err(Problem::forbidden("software-not-allowed", detail));
    }
    // Which box it is shows at the end, by its key.
    if token.used && token.kind.as_deref() != Some(IdentityKind::Software.as_str()) {
        return Err(bad_token());
    }
    if token.kind.as_deref() == Some(IdentityKind::Tpm.as_str()) {
        let detail =
            "this node is known with a TPM and does not fall back to a software key; an admin can unbind it";
        return Err(Problem::forbidden("known-with-tpm", detail));
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
