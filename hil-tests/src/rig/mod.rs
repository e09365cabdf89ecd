//! Rigs: boxes whose power, network, TPM, disk and clock can be taken away.

mod asks;
mod options;
mod process;
mod small_disk;
mod unit;

pub use options::BoxOptions;
pub use process::ProcessRig;
pub use small_disk::SmallDisk;
