//! The end of both exchanges: a certificate, and the rest that a node must know.

use super::db;
use crate::state::Fleet;
use noderr_attestation::{PcrSet, Refusal};
use noderr_ca::{Csr, NodeSubject};
use noderr_kernel::{Problem, unix_now};
use noderr_protocol::enrol::{Enrolled, Register};
use sqlx::PgConnection;

pub(super) fn pcr_set(registers: &[Register]) -> Result<PcrSet, Refusal> {
    PcrSet::new(registers.iter().map(|register| (register.index.get(), register.sha256.0)))
}

/// Issues a certificate for the key in `csr` and puts it on record.
pub(super) async fn issue(
    fleet: &Fleet,
    connection: &mut PgConnection,
    subject: NodeSubject,
    csr: &Csr,
) -> Result<Enrolled, Problem> {
    let validity = fleet.settings.authority.node_validity();
    // An HSM may take its time.
    let issued =
        tokio::task::block_in_place(|| fleet.authority.issue_node(subject, csr, unix_now(), validity))
            .map_err(anyhow::Error::from)?;
    db::insert_certificate(connection, &subject.node, &issued).await?;
    Ok(Enrolled {
        node: subject.node,
        kind: subject.kind,
        certificate_chain: issued.chain_pem,
        trust_roots: fleet.authority.root_pem().to_owned(),
        epoch_floor: db::epoch_seen(connection, &subject.node).await?.unsigned_abs(),
        broker: fleet.settings.broker.address_of_nodes(),
    })
}
