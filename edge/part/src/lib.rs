//! What the parts of a node stand on: pauses that grow, supervision, the pulse that the watchdog feels, and the data folder
//! with its small documents. Knows nothing of networks, keys or messages.

mod backoff;
mod disk;
mod document;
mod folder;
mod pulse;
mod supervise;

pub use backoff::Backoff;
pub use disk::{Disk, Ledger};
pub use document::{Document, DocumentError};
pub use folder::{Folder, FolderError};
pub use pulse::{Busy, Pulse, SLOW_DISK};
pub use supervise::{EndOrder, Ending, Supervisor};
