//! What rounds go by, where releases come from, and who watches.

use crate::fetch::Reach;
use crate::policy::{Allowance, ThisBox};
use crate::stage::Stage;
use crate::stick::StickFolder;
use crate::store::StoreLimits;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What rounds go by.
#[derive(Clone)]
pub struct Settings {
    /// The control plane, such as `https://control.example.org:8443`.
    pub control_plane: String,
    /// What the box is.
    pub this: ThisBox,
    /// What releases may cost.
    pub allowance: Allowance,
    /// Bytes a second that a transfer may take.
    pub bytes_per_s: Option<u64>,
    /// Which servers are asked.
    pub reach: Reach,
    /// What the store may take.
    pub store: StoreLimits,
    /// Bytes of the disk that stay free for others.
    pub leave_free: u64,
    /// A stick, on which archives may lie besides.
    pub stick: Option<StickFolder>,
    /// What tells this box from others, by which they spread over the places of an archive.
    pub spread: Vec<u8>,
    /// How often a transfer looks whether its release is still named.
    pub look_again: Duration,
}

/// Where releases come from.
pub enum Source {
    /// The control plane and the places that it names.
    Network(Arc<ClientConfig>),
    /// The same over plain HTTP: for rehearsals.
    Plain,
    /// A folder, with no network at all.
    Folder(StickFolder),
}

/// Tells the time that the box trusts.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Sees how far a release is.
pub trait Watch: Send {
    /// The release is at this stage, and so many bytes were spent in this month.
    fn sees(&mut self, stage: &Stage, spent: u64);
}
