//! What nodes report: sessions, heartbeats, and spooled records stored exactly once.
//!
//! Every worker takes all messages of its share of the nodes in order. A batch of records is one transaction that
//! locks the lanes it touches, so that two instances never store the same number twice; the marks go out after the
//! commit and not before.

mod batch;
mod columns;
mod db;
mod gather;
mod ingest;
mod jobs;
mod presence;
mod routes;
mod sequence;

pub(crate) use ingest::Ingest;
pub(crate) use jobs::{KeepPartitions, MarkOffline, keep_partitions};
pub(crate) use routes::routes;
