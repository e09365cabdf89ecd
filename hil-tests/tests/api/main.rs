//! The API, against a control plane inside the test: what is refused, who may do what, what is done once.

mod abandoned;
mod access;
mod input;
mod once;
mod work;
