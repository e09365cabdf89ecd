//! Install tokens: single use, short-lived, stored as a hash. They turn an approved node id into an enrolled box.

mod db;
mod routes;

pub(crate) use db::{UsableToken, consume, find_usable};
pub(crate) use routes::routes;
