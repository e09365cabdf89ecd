//! The API client behind `noderrctl`; test rigs use it too.

mod client;

pub use client::{ApiError, Client};
