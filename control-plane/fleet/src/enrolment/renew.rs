//! Renewal: the same keys, a fresh challenge, a new certificate. The keys prove which node asks, not the old
//! certificate, so a node that was off until its certificate had expired comes back by itself, unless the
//! node is revoked.
//!
//! Anybody may ask for a challenge, so asking leaves nothing behind: a session carries its own end, and its
//! nonce is a MAC over the session, which every instance can compute again. Only an answer by the node's own
//! key is put on record.

use super::db::{self, Known};
use super::issue::{hand_over, pcr_set, sign};
use super::problems::{CSR, NOT_ENROLLED, POSSESSION, PROOF, SESSION, TOO_MANY_RENEWALS, refused};
use super::result_key;
use crate::attestation::note_registers;
use crate::registers;
use crate::state::Fleet;
use hmac::{Hmac, Mac as _};
use noderr_attestation::{AttestationKey, PcrSet, Refusal};
use noderr_ca::{Csr, Issued, NodeSubject};
use noderr_kernel::{Problem, record, unix_now};
use noderr_protocol::enrol::{Enrolled, RenewChallenge, RenewChallengeRequest, RenewRequest, renew_binding};
use noderr_protocol::{IdentityKind, NodeId};
use rand::RngCore as _;
use serde_json::json;
use sha2::Sha256;
use sqlx::PgConnection;
use std::sync::Arc;

/// How many renewals a node may make within an hour, or within a certificate's life where that is shorter.
const RENEWALS: i64 = 20;

pub(super) async fn challenge(
    fleet: &Fleet,
    request: RenewChallengeRequest,
) -> Result<RenewChallenge, Problem> {
    let mut connection = fleet.kernel.database.strangers().acquire().await?;
    let known = known(&mut connection, &request.node).await?;
    let pcr_mask = mask_of(fleet, &known);
    let mut session = [0; 32];
    rand::rng().fill_bytes(&mut session);
    let expires = unix_now() + i64::from(fleet.settings.enrolment.session_s);
    session[..8].copy_from_slice(&expires.to_be_bytes());
    let nonce = nonce_of(&fleet.exchange_key, &session, &request.node, pcr_mask);
    Ok(RenewChallenge { session: session.to_vec().into(), nonce: nonce.to_vec().into(), pcr_mask })
}

pub(super) async fn renew(fleet: &Fleet, request: RenewRequest) -> Result<Enrolled, Problem> {
    let session = <[u8; 32]>::try_from(&*request.session).map_err(|_| SESSION)?;
    if i64::from_be_bytes(session[..8].try_into().expect("8 of 32 bytes")) < unix_now() {
        return Err(SESSION.into());
    }
    let node = request.node;
    let mut connection = fleet.kernel.database.strangers().acquire().await?;
    let known = known(&mut connection, &node).await?;
    let mask = mask_of(fleet, &known);
    let nonce = nonce_of(&fleet.exchange_key, &session, &node, mask);
    let (csr, binding) = check_possession(&known, &nonce, &request)?;
    within_bounds(fleet, &mut connection, &node).await?;
    drop(connection);
    let subject = NodeSubject { node, kind: db::kind_of(&known.kind) };
    let shown = check_keys(&known, subject.kind, mask, &binding, &request);
    let issued = match &shown {
        Ok(_) => Some(sign(fleet, subject, &Arc::new(csr)).await?),
        Err(_) => None,
    };
    // The node itself has proven to ask; its row is locked, so that nothing about the node changes meanwhile.
    let mut tx = fleet.kernel.database.begin_for_stranger().await?;
    if !db::hold(&mut tx, &node, &known.tls_key).await? {
        return Err(NOT_ENROLLED.into());
    }
    within_bounds(fleet, &mut tx, &node).await?;
    let outcome = shown.as_ref().map_or_else(|problem| problem.kind().name, |_| "renewed");
    if !db::record_renewal(&mut tx, &session, &node, subject.kind, mask, outcome).await? {
        return Err(SESSION.into());
    }
    metrics::counter!("noderr_renewals_total", "outcome" => outcome).increment(1);
    let renewed = match (shown, issued) {
        (Ok(shown), Some(issued)) => Ok(renewed(fleet, &mut tx, subject, issued, &known, shown).await?),
        (Err(problem), _) => {
            let detail = json!({ "why": problem.kind().name });
            record(&mut tx, "enrolment", "node.renew.refused", &node.to_string(), &detail).await?;
            Err(problem)
        }
        (Ok(_), None) => unreachable!("whoever has shown its keys is issued a certificate"),
    };
    tx.commit().await?;
    renewed
}

/// Refuses a node that renews too often.
async fn within_bounds(fleet: &Fleet, connection: &mut PgConnection, node: &NodeId) -> Result<(), Problem> {
    let window = fleet.settings.authority.node_validity().as_secs_f64().min(3600.0);
    if db::renewals_within(connection, node, window).await? >= RENEWALS {
        return Err(TOO_MANY_RENEWALS.into());
    }
    Ok(())
}

async fn renewed(
    fleet: &Fleet,
    connection: &mut PgConnection,
    subject: NodeSubject,
    issued: Issued,
    known: &Known,
    Shown { pcrs, result_key }: Shown,
) -> Result<Enrolled, Problem> {
    let (node, serial) = (subject.node, hex::encode(issued.serial));
    let enrolled = hand_over(fleet, connection, subject, issued).await?;
    let new_result_key = db::note_result_key(connection, &node, &result_key).await?;
    // The audit entries come last, because the audit log has one writer at a time.
    let detail = json!({ "new_result_key": new_result_key, "certificate": serial });
    record(connection, "enrolment", "node.renew", &node.to_string(), &detail).await?;
    if let Some(pcrs) = pcrs.as_ref().map(registers::to_json) {
        note_registers(connection, fleet, &node, known.pcr_baseline.as_ref(), &pcrs, "renewal").await?;
    }
    Ok(enrolled)
}

fn mask_of(fleet: &Fleet, known: &Known) -> u32 {
    match db::kind_of(&known.kind) {
        IdentityKind::Tpm => fleet.settings.enrolment.pcr_mask(),
        IdentityKind::Software => 0,
    }
}

fn nonce_of(key: &[u8], session: &[u8; 32], node: &NodeId, mask: u32) -> [u8; 32] {
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

async fn known(connection: &mut PgConnection, node: &NodeId) -> Result<Known, Problem> {
    Ok(db::known(connection, node).await?.ok_or(NOT_ENROLLED)?)
}

/// Checks that the request is for the enrolled key and signed by the enrolled key. A request that fails here
/// is a stranger's.
fn check_possession(known: &Known, nonce: &[u8], request: &RenewRequest) -> Result<(Csr, [u8; 32]), Problem> {
    let csr = Csr::parse(&request.csr).map_err(|error| CSR.because(error.to_string()))?;
    if csr.key_sec1() != known.tls_key {
        return Err(refused(&Refusal::CsrKey));
    }
    let binding = renew_binding(nonce, &request.session, &request.csr);
    csr.check_signature(&binding, &request.possession).map_err(|_| POSSESSION)?;
    Ok((csr, binding))
}

/// What the node has proven beside the possession of its TLS key.
struct Shown {
    /// The registers that the enrolled TPM has quoted.
    pcrs: Option<PcrSet>,
    result_key: Vec<u8>,
}

fn check_keys(
    known: &Known,
    kind: IdentityKind,
    mask: u32,
    binding: &[u8; 32],
    request: &RenewRequest,
) -> Result<Shown, Problem> {
    let (ak, pcrs) = match (kind, &request.proof) {
        (IdentityKind::Software, _) => (None, None),
        (IdentityKind::Tpm, None) => {
            return Err(PROOF.because("this node is known with a TPM; its quote is missing"));
        }
        (IdentityKind::Tpm, Some(proof)) => {
            let refused = |refusal: Refusal| refused(&refusal);
            let ak =
                AttestationKey::parse(known.ak_public.as_deref().unwrap_or_default()).map_err(refused)?;
            let pcrs = pcr_set(&proof.pcrs).map_err(refused)?;
            let pcrs =
                ak.check_quote(&proof.quote, &proof.quote_sig, binding, mask, pcrs).map_err(refused)?;
            (Some(ak), Some(pcrs))
        }
    };
    let result_key = result_key::check(&request.result_key, ak.as_ref(), &known.tls_key, binding)?;
    Ok(Shown { pcrs, result_key })
}
