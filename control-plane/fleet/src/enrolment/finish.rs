//! `finish`: does the answer prove that one TPM holds all the keys, and does the proof answer this very
//! challenge?

use super::begin::secret_of;
use super::db::{self, Exchange};
use super::issue::{hand_over, pcr_set, sign};
use super::problems::{
    CSR, INSTALL_TOKEN, OTHER_TPM, POSSESSION, PROOF, SESSION, TPM_BARRED, TPM_IN_USE, refused,
};
use super::result_key;
use crate::attestation::note_registers;
use crate::install_tokens;
use crate::nodes::void_certificates;
use crate::registers;
use crate::state::Fleet;
use crate::values::node_id;
use noderr_attestation::{AttestationKey, PcrSet, Refusal, TlsKey};
use noderr_ca::{Csr, NodeSubject};
use noderr_kernel::{Problem, record};
use noderr_protocol::enrol::{Enrolled, FinishRequest, TpmProof, enrol_binding};
use noderr_protocol::{IdentityKind, NodeId};
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::sync::Arc;

pub(super) async fn finish(fleet: &Fleet, request: FinishRequest) -> Result<Enrolled, Problem> {
    let mut connection = fleet.kernel.database.strangers().acquire().await?;
    let exchange = db::look_at(&mut connection, &request.session).await?.ok_or(SESSION)?;
    drop(connection);
    let node = node_id(&exchange.node_id);
    let finished = finish_exchange(fleet, &exchange, node, &request).await;
    let outcome = finished.as_ref().map_or_else(|problem| problem.kind().name, |_| "enrolled");
    metrics::counter!("noderr_enrolments_total", "outcome" => outcome).increment(1);
    match finished {
        Ok(enrolled) => Ok(enrolled),
        // The database or the authority is not available: the box may give the same answer again.
        Err(problem) if problem.kind().status >= 500 => Err(problem),
        Err(problem) => {
            refuse(fleet, &request.session, node, &problem).await?;
            Err(problem)
        }
    }
}

/// Ends a session that was answered wrongly, and puts the refusal on record: a session is good for one
/// answer.
async fn refuse(fleet: &Fleet, session: &[u8], node: NodeId, problem: &Problem) -> sqlx::Result<()> {
    let why = problem.kind().name;
    let mut tx = fleet.kernel.database.begin_for_stranger().await?;
    // Another answer to the same session has ended it meanwhile.
    if db::take(&mut tx, session).await?.is_none() {
        return Ok(());
    }
    db::finish(&mut tx, session, why, None).await?;
    record(&mut tx, "enrolment", "node.enrol.refused", &node.to_string(), &json!({ "why": why })).await?;
    tx.commit().await
}

async fn finish_exchange(
    fleet: &Fleet,
    exchange: &Exchange,
    node: NodeId,
    request: &FinishRequest,
) -> Result<Enrolled, Problem> {
    let kind = db::kind_of(&exchange.kind);
    let proven = check(fleet, exchange, kind, request)?;
    let subject = NodeSubject { node, kind };
    let issued = sign(fleet, subject, &proven.csr).await?;
    let mut tx = fleet.kernel.database.begin_for_stranger().await?;
    // Whoever comes second to one session comes to one that is answered already.
    db::take(&mut tx, &request.session).await?.ok_or(SESSION)?;
    let before = bind(&mut tx, exchange, &proven).await?;
    // Certificates of an earlier enrolment are no longer good, and sessions with them end.
    void_certificates(&mut tx, &node).await?;
    let serial = hex::encode(issued.serial);
    let enrolled = hand_over(fleet, &mut tx, subject, issued).await?;
    let event_log = request.proof.as_ref().and_then(|proof| proof.event_log.as_deref());
    db::forget_event_logs(&mut tx, &node).await?;
    db::finish(&mut tx, &request.session, "enrolled", event_log).await?;
    let formerly = db::formerly(&mut tx, &node, exchange.ek_fingerprint.as_deref()).await?;
    let detail = json!({
        "identity": kind.as_str(),
        "ek": exchange.ek_fingerprint.as_ref().map(hex::encode),
        "ek_certified": exchange.ek_certified,
        "event_log": event_log.is_some(),
        "certificate": serial,
        "formerly": formerly.iter().map(hex::encode).collect::<Vec<_>>(),
    });
    record(&mut tx, "enrolment", "node.enrol", &node.to_string(), &detail).await?;
    if let Some(pcrs) = proven.pcrs.as_ref().map(registers::to_json) {
        note_registers(&mut tx, fleet, &node, before.as_ref(), &pcrs, "enrolment").await?;
    }
    tx.commit().await?;
    Ok(enrolled)
}

/// Uses the token up and binds the node to the keys. The binding may have changed since `begin`: another box
/// may have finished under the same id. Returns the registers that this very box is known with: a box that enrols again does
/// not choose a new baseline.
async fn bind(
    connection: &mut PgConnection,
    exchange: &Exchange,
    Proven { csr, result_key, .. }: &Proven,
) -> Result<Option<Value>, Problem> {
    let bound = db::lock_binding(connection, &node_id(&exchange.node_id)).await?;
    if bound.ek_fingerprint.is_some() && bound.ek_fingerprint != exchange.ek_fingerprint {
        return Err(OTHER_TPM.into());
    }
    // It may have been barred since the session began.
    if let Some(ek_fingerprint) = &exchange.ek_fingerprint
        && db::is_barred(connection, ek_fingerprint).await?
    {
        return Err(TPM_BARRED.into());
    }
    let same_box = match &exchange.ek_fingerprint {
        Some(ek_fingerprint) => bound.ek_fingerprint.as_ref() == Some(ek_fingerprint),
        None => bound.tls_key.as_deref() == Some(csr.key_sec1()),
    };
    let token = exchange.token_id.ok_or(INSTALL_TOKEN)?;
    if !install_tokens::consume(connection, token, same_box).await? {
        return Err(INSTALL_TOKEN.into());
    }
    let bound_now = db::bind(connection, exchange, csr.key_sec1(), result_key, same_box).await;
    bound_now.map_err(|error| match error.as_database_error() {
        Some(inner) if inner.is_unique_violation() => TPM_IN_USE.into(),
        _ => Problem::from(error),
    })?;
    Ok(bound.pcr_baseline.filter(|_| same_box))
}

/// The keys and registers that an answer has proven.
struct Proven {
    csr: Arc<Csr>,
    /// The registers, for a node with a TPM.
    pcrs: Option<PcrSet>,
    result_key: Vec<u8>,
}

fn check(
    fleet: &Fleet,
    exchange: &Exchange,
    kind: IdentityKind,
    request: &FinishRequest,
) -> Result<Proven, Problem> {
    let csr = Arc::new(Csr::parse(&request.csr).map_err(|error| CSR.because(error.to_string()))?);
    let (pcrs, ak, binding) = match (kind, &request.proof) {
        (IdentityKind::Tpm, Some(proof)) => {
            let secret = secret_of(fleet, &request.session);
            let binding = enrol_binding(&secret, &request.session, &request.csr, proof.event_log.as_deref());
            let checked =
                check_proof(exchange, proof, &csr, &binding).map_err(|refusal| refused(&refusal))?;
            (Some(checked.0), Some(checked.1), binding)
        }
        (IdentityKind::Tpm, None) => {
            return Err(PROOF.because("this session was begun with a TPM; its proof is missing"));
        }
        (IdentityKind::Software, None) => {
            let binding = enrol_binding(&[], &request.session, &request.csr, None);
            // A request that was seen elsewhere proves that its key exists, not that whoever answers here holds the key.
            let possession = request.possession.as_deref().unwrap_or_default();
            csr.check_signature(&binding, possession).map_err(|_| POSSESSION)?;
            (None, None, binding)
        }
        (IdentityKind::Software, Some(_)) => {
            return Err(PROOF.because("this session was begun without a TPM; begin again with its keys"));
        }
    };
    let result_key = result_key::check(&request.result_key, ak.as_ref(), csr.key_sec1(), &binding)?;
    Ok(Proven { csr, pcrs, result_key })
}

fn check_proof(
    exchange: &Exchange,
    proof: &TpmProof,
    csr: &Csr,
    binding: &[u8; 32],
) -> Result<(PcrSet, AttestationKey), Refusal> {
    let ak = AttestationKey::parse(exchange.ak_public.as_deref().unwrap_or_default())?;
    let tls = TlsKey::parse(exchange.tls_public.as_deref().unwrap_or_default(), &ak)?;
    let mask = exchange.pcr_mask.cast_unsigned();
    let pcrs = ak.check_quote(&proof.quote, &proof.quote_sig, binding, mask, pcr_set(&proof.pcrs)?)?;
    ak.check_certify(&proof.certify, &proof.certify_sig, binding, tls.name())?;
    tls.check_csr_key(csr.key_sec1())?;
    Ok((pcrs, ak))
}
