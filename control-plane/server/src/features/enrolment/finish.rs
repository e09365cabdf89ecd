//! `finish`: does the answer prove that one TPM holds all three keys, and that it answers this very question?

use super::begin::bad_token;
use super::db::{self, Exchange};
use super::{issue, pcr_set, pcrs_to_json, refused, secret_of};
use crate::app::App;
use crate::database::Tx;
use crate::features::nodes::{self, node_id};
use crate::features::{audit, install_tokens};
use crate::http::Problem;
use noderr_attestation::{AttestationKey, PcrSet, Refusal, TlsKey};
use noderr_ca::{Csr, NodeSubject};
use noderr_protocol::IdentityKind;
use noderr_protocol::enrol::{Enrolled, FinishRequest, TpmProof, enrol_binding};
use serde_json::json;

pub(super) async fn finish(app: &App, request: FinishRequest) -> Result<Enrolled, Problem> {
    let mut tx = app.database.begin().await?;
    let exchange = db::take(&mut tx, &request.session).await?.ok_or_else(|| {
        Problem::forbidden(
            "session",
            "the enrolment session is unknown, expired or was answered already; begin again",
        )
    })?;
    let node = node_id(&exchange.node_id);
    let kind = db::kind_of(&exchange.kind);
    let (csr, pcrs) = match check(app, &exchange, kind, &request) {
        Ok(checked) => checked,
        Err(problem) => {
            // One answer each: a session that was answered wrongly is over, and that is on record.
            db::finish(&mut tx, &request.session, problem.kind(), None).await?;
            let detail = json!({ "why": problem.kind() });
            audit::record(&mut tx, "enrolment", "node.enrol.refused", &node.to_string(), &detail).await?;
            tx.commit().await?;
            metrics::counter!("noderr_enrolments_total", "outcome" => problem.kind()).increment(1);
            return Err(problem);
        }
    };
    bind(&mut tx, &exchange, &csr, pcrs.as_ref()).await?;
    nodes::void_certificates(&mut tx, &node).await?;
    let enrolled = issue(app, &mut tx, NodeSubject { node, kind }, &csr).await?;
    let event_log = request.proof.and_then(|proof| proof.event_log);
    db::finish(&mut tx, &request.session, "enrolled", event_log.as_deref()).await?;
    let detail = json!({
        "identity": kind.as_str(),
        "ek": exchange.ek_fingerprint.map(hex::encode),
        "ek_certified": exchange.ek_certified,
        "event_log": event_log.is_some(),
    });
    audit::record(&mut tx, "enrolment", "node.enrol", &node.to_string(), &detail).await?;
    tx.commit().await?;
    metrics::counter!("noderr_enrolments_total", "outcome" => "enrolled").increment(1);
    Ok(enrolled)
}

/// Uses the token up and binds the node to the keys. What `begin` saw may have changed since: another box may have
/// finished under the same id.
async fn bind(tx: &mut Tx, exchange: &Exchange, csr: &Csr, pcrs: Option<&PcrSet>) -> Result<(), Problem> {
    let bound = db::lock_binding(tx, &node_id(&exchange.node_id)).await?;
    if bound.ek_fingerprint.is_some() && bound.ek_fingerprint != exchange.ek_fingerprint {
        return Err(Problem::forbidden(
            "other-tpm",
            "this node id was bound to another TPM meanwhile; an admin can unbind it",
        ));
    }
    let same_box = match &exchange.ek_fingerprint {
        Some(ek_fingerprint) => bound.ek_fingerprint.as_ref() == Some(ek_fingerprint),
        None => bound.tls_key.as_deref() == Some(csr.key_sec1()),
    };
    let token = exchange.token_id.ok_or_else(bad_token)?;
    if !install_tokens::consume(tx, token, same_box).await? {
        return Err(bad_token());
    }
    let baseline = pcrs.map(pcrs_to_json);
    db::bind(tx, exchange, csr.key_sec1(), baseline.as_ref()).await.map_err(|error| {
        match error.as_database_error() {
            Some(inner) if inner.is_unique_violation() => Problem::conflict(
                "tpm-in-use",
                "this TPM stands behind another node already; one box is one node",
            ),
            _ => error.into(),
        }
    })
}

fn check(
    app: &App,
    exchange: &Exchange,
    kind: IdentityKind,
    request: &FinishRequest,
) -> Result<(Csr, Option<PcrSet>), Problem> {
    let csr = Csr::parse(&request.csr).map_err(|error| Problem::bad_request("csr", error.to_string()))?;
    let pcrs = match (kind, &request.proof) {
        (IdentityKind::Tpm, Some(proof)) => {
            Some(check_proof(app, exchange, request, proof, &csr).map_err(|refusal| refused(&refusal))?)
        }
        (IdentityKind::Tpm, None) => {
            return Err(Problem::bad_request(
                "proof",
                "this session was begun with a TPM; its proof is missing",
            ));
        }
        (IdentityKind::Software, None) => None,
        (IdentityKind::Software, Some(_)) => {
            return Err(Problem::bad_request(
                "proof",
                "this session was begun without a TPM; begin again with its keys",
            ));
        }
    };
    Ok((csr, pcrs))
}

fn check_proof(
    app: &App,
    exchange: &Exchange,
    request: &FinishRequest,
    proof: &TpmProof,
    csr: &Csr,
) -> Result<PcrSet, Refusal> {
    let ak = AttestationKey::parse(exchange.ak_public.as_deref().unwrap_or_default())?;
    let tls = TlsKey::parse(exchange.tls_public.as_deref().unwrap_or_default(), &ak)?;
    let secret = secret_of(app, &request.session);
    let binding = enrol_binding(&secret, &request.session, &request.csr, proof.event_log.as_deref());
    let mask = exchange.pcr_mask.cast_unsigned();
    let pcrs = ak.check_quote(&proof.quote, &proof.quote_sig, &binding, mask, pcr_set(&proof.pcrs)?)?;
    ak.check_certify(&proof.certify, &proof.certify_sig, &binding, &tls)?;
    tls.check_csr_key(csr.key_sec1())?;
    Ok(pcrs)
}
