//! The audit log: who did what, append-only, each entry bound to the one before it by a hash.

mod db;
mod routes;

pub(crate) use db::record;
pub(crate) use routes::routes;
