//! The end of both exchanges: a certificate, and the rest that a node must know.
//!
//! A certificate is signed before the transaction that puts it on record is begun: an HSM may take its time, and nobody waits
//! for it with locks in hand. A certificate that is not on record is good for nothing.

use super::db;
use crate::state::Fleet;
use noderr_attestation::{PcrSet, Refusal};
use noderr_ca::{Csr, Issued, NodeSubject};
use noderr_kernel::problems::TOO_SLOW;
use noderr_kernel::{Problem, unix_now};
use noderr_protocol::enrol::{Enrolled, Register};
use sqlx::PgConnection;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Signatures under way at a time, and how long one may be waited for.
const AT_ONCE: usize = 4;
const LONGEST: Duration = Duration::from_secs(15);

static SIGNING: Semaphore = Semaphore::const_new(AT_ONCE);

pub(super) fn pcr_set(registers: &[Register]) -> Result<PcrSet, Refusal> {
    PcrSet::new(registers.iter().map(|register| (register.index.get(), register.sha256.0)))
}

/// Signs a certificate for the key in `csr`.
pub(super) async fn sign(fleet: &Fleet, subject: NodeSubject, csr: &Arc<Csr>) -> Result<Issued, Problem> {
    let (authority, csr) = (fleet.authority.clone(), csr.clone());
    let validity = fleet.settings.authority.node_validity();
    let signed = tokio::time::timeout(LONGEST, async {
        let place = SIGNING.acquire().await.map_err(anyhow::Error::from)?;
        // A caller that gives up leaves its place taken until the HSM has answered.
        let signing = tokio::task::spawn_blocking(move || {
            let _place = place;
            authority.issue_node(subject, &csr, unix_now(), validity)
        });
        anyhow::Ok(signing.await??)
    });
    signed
        .await
        .map_err(|_| TOO_SLOW.because("the network's authority does not sign in time"))?
        .map_err(Problem::from)
}

/// Puts a certificate on record, and hands it over.
pub(super) async fn hand_over(
    fleet: &Fleet,
    connection: &mut PgConnection,
    subject: NodeSubject,
    issued: Issued,
) -> Result<Enrolled, Problem> {
    db::insert_certificate(connection, &subject.node, &issued).await?;
    Ok(Enrolled {
        node: subject.node,
        kind: subject.kind,
        certificate_chain: issued.chain_pem,
        trust_roots: fleet.authority.root_pem().to_owned(),
        epoch_floor: db::epoch_seen(connection, &subject.node).await?.unsigned_abs(),
        broker: fleet.settings.broker.address_of_nodes(),
        release_root: fleet.kernel.hooks().release_root(),
    })
}
