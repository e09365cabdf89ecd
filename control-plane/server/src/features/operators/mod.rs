//! Operators: the people in whose homes the boxes stand.

mod db;
mod routes;

pub(crate) use routes::routes;
