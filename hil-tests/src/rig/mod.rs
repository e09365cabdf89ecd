//! Rigs: boxes whose power, network, TPM, disk and clock can be taken away.

mod process;

pub use process::{BoxOptions, ProcessRig};
