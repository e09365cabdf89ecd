//! Releases on the box: what may be trusted, fetched from servers that nobody has to trust.
//!
//! [`Trust`] knows, by signed metadata, what the network's release keys say: which artefacts there are, and that this is the
//! newest that they have said. [`Fetcher`] gets bytes from servers that may be slow, endless or hostile, within bounds.
//! [`Repository`] is where the two meet: the metadata as a server, or a folder, hands it out.

mod fetch;
mod repository;
mod trust;

pub use fetch::{Channel, FetchError, Fetcher};
pub use repository::Repository;
pub use trust::{Limits, Refusal, Target, Trust, TrustError};
