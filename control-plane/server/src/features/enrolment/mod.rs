//! Enrolment and renewal: from an install token and a TPM's proof to a certificate.
//!
//! `begin` and `challenge` hand out a question that only the right TPM can answer; `finish` and `renew` check the
//! answer. A session is good for one answer. An answer that is lost on its way costs nothing: until its install token
//! expires, the box that has used it may use it again.

mod begin;
mod db;
mod finish;
mod renew;
mod routes;

pub(crate) use db::exchange_key;
pub(crate) use routes::routes;

use crate::app::{App, unix_now};
use crate::database::Tx;
use crate::http::Problem;
use axum::http::StatusCode;
use hmac::{Hmac, Mac as _};
use noderr_attestation::{PcrSet, Refusal};
use noderr_ca::{Csr, NodeSubject};
use noderr_protocol::enrol::{Enrolled, HexDigest};
use serde_json::{Map, Value};
use sha2::Sha256;

/// What only the right TPM can decrypt and answer with. Made again from the session when the answer comes, so that
/// whoever reads the database cannot answer in its place.
fn secret_of(app: &App, session: &[u8]) -> [u8; 32] {
    Hmac::<Sha256>::new_from_slice(&app.exchange_key)
        .expect("HMAC takes keys of any length")
        .chain_update(b"noderr-enrol-secret-v1")
        .chain_update(session)
        .finalize()
        .into_bytes()
        .into()
}

/// A refused proof, as a problem. The code is the refusal's own, so that people can look it up.
fn refused(refusal: &Refusal) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, refusal.code(), refusal.to_string())
}

fn pcr_set(values: &[(u8, HexDigest)]) -> Result<PcrSet, Refusal> {
    PcrSet::new(values.iter().map(|(index, HexDigest(digest))| (*index, *digest)))
}

/// Registers as the database keeps them.
pub(crate) fn pcrs_to_json(pcrs: &PcrSet) -> Value {
    Value::Object(
        pcrs.iter()
            .map(|(index, value)| (index.to_string(), hex::encode(value).into()))
            .collect::<Map<_, _>>(),
    )
}

/// Issues a certificate for the key in `csr` and puts it on record.
async fn issue(app: &App, tx: &mut Tx, subject: NodeSubject, csr: &Csr) -> Result<Enrolled, Problem> {
    let validity = app.config.authority.node_validity();
    // An HSM may take its time.
    let issued = tokio::task::block_in_place(|| app.authority.issue_node(subject, csr, unix_now(), validity))
        .map_err(anyhow::Error::from)?;
    db::insert_certificate(tx, &subject.node, &issued).await?;
    let broker = match &app.config.broker.external {
        Some(external) => format!("{}:{}", external.host, external.port),
        None => app.config.broker.public_address.clone(),
    };
    Ok(Enrolled {
        node: subject.node,
        kind: subject.kind,
        certificate_chain: issued.chain_pem,
        trust_roots: app.authority.root_pem().to_owned(),
        epoch_floor: db::epoch_seen(tx, &subject.node).await?.unsigned_abs(),
        broker,
    })
}
