//! What is asked of any service: is it alive, is it ready, what time is it, how is it doing.

mod routes;

pub(crate) use routes::routes;
