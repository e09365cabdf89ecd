//! Attestation of enrolled nodes: a challenge over the link, a quote, a verdict against the recorded baseline.

mod answer;
mod db;
mod jobs;
mod routes;

pub(crate) use answer::{note_registers, take_answer};
pub(crate) use db::send_open_challenge;
pub(crate) use jobs::AttestNodes;
pub(crate) use routes::routes;
