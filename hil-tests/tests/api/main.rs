//! The API, against a control plane inside the test: refusals, access, requests that take effect once, the
//! work queue.

mod abandoned;
mod access;
mod input;
mod once;
mod upgrade;
mod work;
