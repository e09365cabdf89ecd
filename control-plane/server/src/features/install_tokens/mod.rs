//! Install tokens: single use, short-lived, stored as a hash. They turn an approved node id into an enrolled box.

mod db;
mod routes;

pub(crate) use db::{GoodToken, consume, find_good};
pub(crate) use routes::routes;
