//! What the parts of a node stand on: pauses that grow, supervision, the pulse that the watchdog feels, the data folder
//! with its small documents and other files, and the first connection that comes about. Knows nothing of servers, keys or messages.

mod backoff;
pub mod dial;
mod disk;
mod document;
mod file;
mod folder;
mod pulse;
mod supervise;

pub use backoff::Backoff;
pub use disk::{Disk, Ledger};
pub use document::{Document, DocumentError};
pub use file::{open_file, open_or_create_file, own_folder, read_file, replace_file};
pub use folder::{Folder, FolderError};
pub use pulse::{Busy, Pulse, SLOW_DISK};
pub use supervise::{EndOrder, Ending, Supervisor};
