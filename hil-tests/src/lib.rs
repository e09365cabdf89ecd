//! One suite over rigs: processes with software TPMs first; also the lab behind `./dev up`.
//!
//! A rig is a box whose power, network, TPM, disk and clock can be taken away. The process rig is the node's binary
//! beside a swtpm, behind a proxy of its own.

pub mod account;
mod binaries;
pub mod campaign;
mod control;
mod lab;
mod proxy;
mod rig;
pub mod session;
mod tpm;
mod wait;

pub use binaries::binary;
pub use control::{ControlOptions, ControlPlane};
pub use lab::{Lab, LabOptions, demo_operator};
pub use proxy::{LinkQuality, Proxy};
pub use rig::{BoxOptions, ProcessRig};
pub use tpm::{SoftTpm, TpmVendor};
pub use wait::until;
