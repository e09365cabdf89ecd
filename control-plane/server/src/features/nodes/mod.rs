//! Nodes: their ids, what they should be, revocation.

mod admission;
mod db;
mod desired;
mod revocation;
mod routes;

pub(crate) use admission::DatabaseAdmission;
pub(crate) use db::{find as find_node, node_id};
pub(crate) use desired::{behind_among, send_desired};
pub(crate) use revocation::{Revocations, publish_revocations, unwelcome_among, void_certificates};
pub(crate) use routes::routes;
