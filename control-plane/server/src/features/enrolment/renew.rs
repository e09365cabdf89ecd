//! Renewal: the same keys, a fresh question, a new certificate. It is the keys that prove who asks, not the old
//! certificate, so a node that was off until its certificate had expired comes back by itself, unless it is revoked.

use super::db::{self, Exchange, Known, Purpose};
use super::{issue, pcr_set, pcrs_to_json, refused};
use crate::app::App;
use crate::features::nodes::node_id;
use crate::features::{attestation, audit};
use crate::http::Problem;
use noderr_attestation::{AttestationKey, PcrSet};
use noderr_ca::{Csr, NodeSubject};
use noderr_protocol::enrol::{Enrolled, RenewChallenge, RenewChallengeRequest, RenewRequest, renew_binding};
use noderr_protocol::{IdentityKind, NodeId};
use rand::RngCore as _;
use serde_json::json;

pub(super) async fn challenge(app: &App, request: RenewChallengeRequest) -> Result<RenewChallenge, Problem> {
    let mut tx = app.database.begin().await?;
    let known = known(&mut tx, &request.node).await?;
    let (mut session, mut nonce) = ([0; 32], [0; 32]);
    rand::rng().fill_bytes(&mut session);
    rand::rng().fill_bytes(&mut nonce);
    let kind = db::kind_of(&known.kind);
    let pcr_mask = if kind == IdentityKind::Tpm { app.config.enrolment.pcr_mask() } else { 0 };
    let exchange = Exchange {
        node_id: request.node.as_bytes().to_vec(),
        token_id: None,
        kind: known.kind,
        secret: Some(nonce.to_vec()),
        ek_name: None,
        ek_certified: false,
        ak_public: None,
        tls_public: None,
        pcr_mask: pcr_mask.cast_signed(),
    };
    db::insert(&mut tx, &session, Purpose::Renew, &exchange, app.config.enrolment.session_s.into()).await?;
    tx.commit().await?;
    Ok(RenewChallenge { session: session.to_vec(), nonce: nonce.to_vec(), pcr_mask })
}

pub(super) async fn renew(app: &App, request: RenewRequest) -> Result<Enrolled, Problem> {
    let mut tx = app.database.begin().await?;
    let exchange = db::take(&mut tx, &request.session, Purpose::Renew).await?.ok_or_else(|| {
        Problem::forbidden(
            "session",
            "the renewal session is unknown, expired or was answered already; begin again",
        )
    })?;
    let node = node_id(&exchange.node_id);
    let known = known(&mut tx, &node).await?;
    let kind = db::kind_of(&known.kind);
    let (csr, pcrs) = match check(&exchange, &known, kind, &request) {
        Ok(checked) => checked,
        Err(problem) => {
            db::finish(&mut tx, &request.session, problem.kind()).await?;
            let detail = json!({ "why": problem.kind() });
            audit::record(&mut tx, "enrolment", "node.renew.refused", &node.to_string(), &detail).await?;
            tx.commit().await?;
            metrics::counter!("noderr_renewals_total", "outcome" => problem.kind()).increment(1);
            return Err(problem);
        }
    };
    if let Some(pcrs) = pcrs.as_ref().map(pcrs_to_json) {
        attestation::note_registers(&mut tx, &node, known.pcr_baseline.as_ref(), &pcrs, "renewal").await?;
    }
    let enrolled = issue(app, &mut tx, NodeSubject { node, kind }, &csr).await?;
    db::finish(&mut tx, &request.session, "renewed").await?;
    audit::record(&mut tx, "enrolment", "node.renew", &node.to_string(), &json!({})).await?;
    tx.commit().await?;
    metrics::counter!("noderr_renewals_total", "outcome" => "renewed").increment(1);
    Ok(enrolled)
}

async fn known(tx: &mut crate::database::Tx, node: &NodeId) -> Result<Known, Problem> {
    db::known(tx, node)
        .await?
        .ok_or_else(|| Problem::forbidden("not-enrolled", "this node is not enrolled, or it is revoked"))
}

fn check(
    exchange: &Exchange,
    known: &Known,
    kind: IdentityKind,
    request: &RenewRequest,
) -> Result<(Csr, Option<PcrSet>), Problem> {
    let csr = Csr::parse(&request.csr).map_err(|error| Problem::bad_request("csr", error.to_string()))?;
    if csr.key_sec1() != known.tls_key {
        return Err(Problem::forbidden(
            "csr-key",
            "the certificate request is not for the key this node enrolled with",
        ));
    }
    let nonce = exchange.secret.as_deref().unwrap_or_default();
    let binding = renew_binding(nonce, &request.session, &request.csr);
    csr.check_signature(&binding, &request.possession)
        .map_err(|_| Problem::forbidden("possession", "the proof of possession is not by the node's key"))?;
    let pcrs = match (kind, &request.proof) {
        (IdentityKind::Software, _) => None,
        (IdentityKind::Tpm, None) => {
            return Err(Problem::bad_request("proof", "this node is known with a TPM; its quote is missing"));
        }
        (IdentityKind::Tpm, Some(proof)) => {
            let mask = exchange.pcr_mask.cast_unsigned();
            let checked =
                AttestationKey::parse(known.ak_public.as_deref().unwrap_or_default()).and_then(|ak| {
                    ak.check_quote(&proof.quote, &proof.quote_sig, &binding, mask, pcr_set(&proof.pcrs)?)
                });
            Some(checked.map_err(|refusal| refused(&refusal))?.pcrs)
        }
    };
    Ok((csr, pcrs))
}
