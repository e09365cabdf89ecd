//! Releases on the box: what may be trusted, fetched from servers that nobody has to trust.
//!
//! [`Trust`] knows, by signed metadata, what the network's release keys say: which artefacts there are, and that this is the
//! newest that they have said. [`Fetcher`] gets bytes from servers that may be slow, endless or hostile, within bounds.
//! [`Repository`] is where the two meet: the metadata as a server, or a folder, hands it out. A [`Round`] of work brings a
//! release into the [`Store`], where only what was read and checked to its end is a [`VerifiedArtefact`].

mod account;
mod epochs;
mod fetch;
mod folders;
mod judge;
mod known;
mod last_word;
mod places;
mod plan;
mod policy;
mod purse;
mod repository;
mod round;
mod setback;
mod settings;
mod stage;
mod stick;
mod store;
mod trust;
mod way;

pub use fetch::{Answer, FetchError, Fetcher, Meter, Reach};
pub use folders::store_in;
pub use known::Known;
pub use last_word::LastWord;
pub use policy::{Allowance, ThisBox};
pub use purse::spent;
pub use repository::Repository;
pub use round::Round;
pub use setback::Setback;
pub use settings::{Clock, Settings, Source, Watch};
pub use stage::Stage;
pub use stick::StickFolder;
pub use store::{
    Checked, Coming, Gap, ManifestFile, PutError, Store, StoreError, StoreLimits, Stored, VerifiedArtefact,
};
pub use trust::{Limits, Refusal, Target, Trust, TrustError, check_root};
