//! Nodes: their ids, desired state, admission and revocation.

mod acts;
mod admission;
mod db;
mod desired;
mod outcome;
mod revocation;
mod routes;
mod terms;

pub(crate) use admission::DatabaseAdmission;
pub(crate) use desired::announce as tell_of_desired;
pub(crate) use revocation::void_certificates;

pub(crate) use db::find as find_node;
pub use db::is_seen;
pub use desired::renew_documents;
pub use terms::{READ_NODES, WRITE_NODES};

use crate::settings::BrokerSettings;
use crate::state::Fleet;
use noderr_kernel::{Feature, Forget, Listens, NodeFeature, SettingsSection, Wants};
use noderr_people::operators::STANDING;
use noderr_protocol::{Base, SectionBody as _};
use std::sync::Arc;
use terms::{DESIRED, DESIRED_OF_MANY, NO_TPM, OPERATOR_NOT_APPROVED, REVOKED, VOIDED};

/// What this feature brings.
pub const FEATURE: Feature<Arc<Fleet>> = Feature {
    routes: routes::routes,
    permissions: &[&READ_NODES, &WRITE_NODES],
    problems: &[NO_TPM, OPERATOR_NOT_APPROVED, REVOKED],
    settings: &[SettingsSection::of::<BrokerSettings>()],
    metrics: noderr_broker::METRICS,
    listens: &[
        Listens::each(VOIDED, |fleet, node| Box::pin(revocation::end_session(fleet, node))),
        Listens::any(VOIDED, |fleet, _| Box::pin(revocation::publish(fleet))),
        Listens::any(STANDING, |fleet, _| Box::pin(revocation::look_round(fleet))),
        Listens::each(DESIRED, |fleet, node| Box::pin(desired::tell(fleet, node))),
        Listens::any(DESIRED_OF_MANY, |fleet, _| Box::pin(desired::look_round(fleet))),
    ],
    catch_up: Some(|fleet| Box::pin(catch_up(fleet))),
    nodes: NodeFeature {
        greets: Some(|fleet, node| Box::pin(desired::send(fleet, node))),
        wants: Some(Wants {
            kind: Base::KIND,
            want: |_, connection, node| Box::pin(desired::base(connection, node)),
        }),
        ..NodeFeature::nothing()
    },
    forgets: |_| vec![Forget::new("node_certificates", "not_after < retention_now() - interval '90 days'")],
    ..Feature::named("nodes")
};

/// Does everything that a missed notice might have asked for about the nodes connected to this instance.
async fn catch_up(fleet: &Arc<Fleet>) -> anyhow::Result<()> {
    revocation::look_round(fleet).await?;
    desired::look_round(fleet).await
}
