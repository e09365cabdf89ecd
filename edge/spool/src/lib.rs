//! The outgoing buffer in sled: append, read, acknowledge, bounded.
//!
//! One tree a lane, keys are big-endian sequence numbers, values are [`block`]s of records with a checksum each.
//! A record is on disk when [`Spool::append`] returns, and is deleted only when the server has committed it.
//! The spool never loses a number silently: a record that is dropped or damaged becomes a [`Gap`](noderr_protocol::Gap)
//! that is sent, acknowledged and counted like a record.
//!
//! ```
//! use noderr_protocol::Lane;
//! use noderr_spool::{Spool, SpoolConfig};
//!
//! let folder = tempfile::tempdir().unwrap();
//! let spool = Spool::open(SpoolConfig::new(folder.path().join("spool"), 1)).unwrap();
//! spool.append(Lane::Telemetry, &[b"first".to_vec(), b"second".to_vec()]).unwrap();
//! let entries = spool.read(Lane::Telemetry, 0, 100, 1 << 16).unwrap();
//! spool.acknowledge(Lane::Telemetry, entries.last().unwrap().last()).unwrap();
//! assert_eq!(spool.stats().records, 0);
//! ```

mod anew;
mod block;
mod commit;
mod error;
mod lane;
mod lanes;
mod odometer;
mod page;
mod reserve;
mod spool;
mod state;
mod stats;
mod store;

pub use error::SpoolError;
pub use lanes::SpoolConfig;
pub use reserve::{RESERVE, TELEMETRY_STOPS_BELOW};
pub use spool::{Appended, Spool};
pub use stats::SpoolStats;
