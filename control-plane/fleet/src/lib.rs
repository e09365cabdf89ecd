//! The nodes of a network: their desired state, install tokens, enrolment, attestation, reports.

pub mod attestation;
mod authority;
mod broker;
pub mod enrolment;
pub mod install_tokens;
pub mod nodes;
pub mod quarantine;
mod registers;
pub mod reports;
mod settings;
mod shares;
mod state;
mod values;

pub use authority::{open_authority, vendor_roots};
pub use broker::start_broker;
pub use settings::{AuthoritySettings, BrokerSettings, EnrolmentSettings, FleetSettings, TelemetrySettings};
pub use state::Fleet;
pub use values::text;
