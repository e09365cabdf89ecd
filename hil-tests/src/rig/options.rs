//! What may differ between boxes.

use std::borrow::Cow;
use std::path::PathBuf;

/// What may differ between boxes.
#[derive(Debug, Clone, Default)]
pub struct BoxOptions {
    /// Whether the box has a software identity instead of a TPM.
    pub software: bool,
    /// Milliseconds between samples, for load.
    pub sample_every_ms: Option<u64>,
    /// The size of the disk of the data folder in MiB (needs root); no disk of its own if absent.
    pub disk_mib: Option<u32>,
    /// MiB that the spool may take, if not the default of rigs.
    pub spool_mib: Option<u32>,
    /// The node's program, if not the one beside the running program.
    pub program: Option<PathBuf>,
    /// Whether the box's disk, of `disk_mib`, forgets what was not synced when the power is cut.
    pub forgetful: bool,
    /// Whether the node runs as nobody, without any capability.
    pub unprivileged: bool,
    /// Whether the box goes where its papers say the broker is, without a cable of its own.
    pub follows_papers: bool,
    /// Seconds for which the control plane must keep saying a time that cannot be right.
    pub clock_patience_s: Option<u32>,
    /// Lines of the section about releases.
    pub releases: Cow<'static, str>,
}

impl BoxOptions {
    /// A box as boxes are.
    pub const PLAIN: Self = Self {
        software: false,
        sample_every_ms: None,
        disk_mib: None,
        spool_mib: None,
        program: None,
        forgetful: false,
        unprivileged: false,
        follows_papers: false,
        clock_patience_s: None,
        releases: Cow::Borrowed(""),
    };
}
