//! Renewal: the same keys, a fresh question, a new certificate. It is the keys that prove who asks, not the old
//! certificate, so a node that was off until its certificate had expired comes back by itself, unless it is revoked.
//!
//! Anybody may ask for a question, so asking leaves nothing behind: a session carries its own end, and its nonce is
//! a MAC over it that every instance can compute again. Only an answer by the node's own key is put on record.

use super::db::{self, Known};
use super::{issue, pcr_set, pcrs_to_json, refused};
use crate::app::{App, unix_now};
use crate::features::{attestation, audit};
use crate::http::Problem;
use axum::http::StatusCode;
use hmac::{Hmac, Mac as _};
use noderr_attestation::{AttestationKey, PcrSet};
use noderr_ca::{Csr, NodeSubject};
use noderr_protocol::enrol::{Enrolled, RenewChallenge, RenewChallengeRequest, RenewRequest, renew_binding};
use noderr_protocol::{IdentityKind, NodeId};
use rand::RngCore as _;
use serde_json::json;
use sha2::Sha256;

/// Renewals of one node within an hour, or within a certificate's life where that is shorter.
const MOST: i64 = 20;

pub(super) async fn challenge(app: &App, request: RenewChallengeRequest) -> Result<RenewChallenge, Problem> {
    let mut tx = app.database.begin().await?;
    let known = known(&mut tx, &request.node).await?;
    let pcr_mask = mask(app, &known);
    let mut session = [0; 32];
    rand::rng().fill_bytes(&mut session);
    let expires = unix_now() + i64::from(app.config.enrolment.session_s);
    session[..8].copy_from_slice(&expires.to_be_bytes());
    let nonce = nonce(&app.exchange_key, &session, &request.node, pcr_mask);
    Ok(RenewChallenge { session: session.to_vec(), nonce: nonce.to_vec(), pcr_mask })
}

pub(super) async fn renew(app: &App, request: RenewRequest) -> Result<Enrolled, Problem> {
    let session = <[u8; 32]>::try_from(request.session.as_slice()).map_err(|_| bad_session())?;
    if i64::from_be_bytes(session[..8].try_into().expect("8 of 32 bytes")) < unix_now() {
        return Err(bad_session());
    }
    let mut tx = app.database.begin().await?;
    let (node, known) = (request.node, known(&mut tx, &request.node).await?);
    let (kind, mask) = (db::kind_of(&known.kind), mask(app, &known));
    let nonce = nonce(&app.exchange_key, &session, &node, mask);
    let (csr, binding) = check_possession(&known, &nonce, &request)?;
    let window = app.config.authority.node_validity().as_secs_f64().min(3600.0);
    if db::renewals_within(&mut tx, &node, window).await? >= MOST {
        let detail = "this node has renewed its certificate too often; it is valid for much longer than that";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-renewals", detail));
    }
    let checked = check_registers(&known, kind, mask, &binding, &request);
    let outcome = checked.as_ref().map_or_else(Problem::kind, |_| "renewed");
    if !db::record_renewal(&mut tx, &session, &node, kind, mask, outcome).await? {
        return Err(bad_session());
    }
    metrics::counter!("noderr_renewals_total", "outcome" => outcome).increment(1);
    let pcrs = match checked {
        Ok(pcrs) => pcrs,
        Err(problem) => {
            let detail = json!({ "why": problem.kind() });
            audit::record(&mut tx, "enrolment", "node.renew.refused", &node.to_string(), &detail).await?;
            tx.commit().await?;
            return Err(problem);
        }
    };
    if let Some(pcrs) = pcrs.as_ref().map(pcrs_to_json) {
        attestation::note_registers(&mut tx, &node, known.pcr_baseline.as_ref(), &pcrs, "renewal").await?;
    }
    let enrolled = issue(app, &mut tx, NodeSubject { node, kind }, &csr).await?;
    audit::record(&mut tx, "enrolment", "node.renew", &node.to_string(), &json!({})).await?;
    tx.commit().await?;
    Ok(enrolled)
}

fn bad_session() -> Problem {
    let detail = "the renewal session is unknown, expired or was answered already; begin again";
    Problem::forbidden("session", detail)
}

fn mask(app: &App, known: &Known) -> u32 {
    if db::kind_of(&known.kind) == IdentityKind::Tpm { app.config.enrolment.pcr_mask() } else { 0 }
}

fn nonce(key: &[u8], session: &[u8; 32], node: &NodeId, mask: u32) -> [u8; 32] {
    Hmac::<Sha256>::new_from_slice(key)
        .expect("HMAC takes keys of any length")
        .chain_update(b"noderr-renew-nonce-v1")
        .chain_update(session)
        .chain_update(node.as_bytes())
        .chain_update(mask.to_be_bytes())
        .finalize()
        .into_bytes()
        .into()
}

async fn known(tx: &mut crate::database::Tx, node: &NodeId) -> Result<Known, Problem> {
    db::known(tx, node).await?.ok_or_else(|| {
        let detail = "this node is not enrolled, it is revoked, or its operator is suspended";
        Problem::forbidden("not-enrolled", detail)
    })
}

/// The request is for the enrolled key and by the enrolled key. Whoever fails here is a stranger.
fn check_possession(known: &Known, nonce: &[u8], request: &RenewRequest) -> Result<(Csr, [u8; 32]), Problem> {
    let csr = Csr::parse(&request.csr).map_err(|error| Problem::bad_request("csr", error.to_string()))?;
    if csr.key_sec1() != known.tls_key {
        return Err(Problem::forbidden(
            "csr-key",
            "the certificate request is not for the key this node enrolled with",
        ));
    }
    let binding = renew_binding(nonce, &request.session, &request.csr);
    csr.check_signature(&binding, &request.possession)
        .map_err(|_| Problem::forbidden("possession", "the proof of possession is not by the node's key"))?;
    Ok((csr, binding))
}

/// The registers, as the enrolled TPM quotes them.
fn check_registers(
    known: &Known,
    kind: IdentityKind,
    mask: u32,
    binding: &[u8; 32],
    request: &RenewRequest,
) -> Result<Option<PcrSet>, Problem> {
    match (kind, &request.proof) {
        (IdentityKind::Software, _) => Ok(None),
        (IdentityKind::Tpm, None) => {
            Err(Problem::bad_request("proof", "this node is known with a TPM; its quote is missing"))
        }
        (IdentityKind::Tpm, Some(proof)) => {
            AttestationKey::parse(known.ak_public.as_deref().unwrap_or_default())
                .and_then(|ak| {
                    ak.check_quote(&proof.quote, &proof.quote_sig, binding, mask, pcr_set(&proof.pcrs)?)
                })
                .map(Some)
                .map_err(|refusal| refused(&refusal))
        }
    }
}
