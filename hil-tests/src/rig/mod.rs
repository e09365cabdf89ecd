//! Rigs: boxes whose surroundings can be taken away.

mod process;

pub use process::{BoxOptions, ProcessRig};
