//! Rigs and the lab: one suite of tests runs over rigs, of which the first kind is processes with software
//! TPMs; `./dev up` shows the same lab.
//!
//! A rig is a box whose power, network, TPM, disk and clock can be taken away. The process rig is the node's binary
//! beside a swtpm, behind a proxy of its own.

pub mod account;
mod bare_broker;
mod binaries;
pub mod campaign;
mod children;
mod clock;
mod control;
pub mod forgetful;
pub mod handout;
mod lab;
mod leftovers;
pub mod manager;
mod memory;
mod mosquitto;
mod nginx;
mod peer;
pub mod plane;
mod ports;
mod proxy;
mod rig;
pub mod session;
mod shared_postgres;
mod soft_hsm;
mod tpm;
pub mod victim;
mod wait;

pub use bare_broker::{bare_broker, papers_for};
pub use binaries::binary;
pub use children::children;
pub use control::{ControlOptions, ControlPlane};
pub use handout::{Bringer, Brought, Handout};
pub use lab::{Lab, LabOptions, demo_operator};
pub use leftovers::{end_leftovers, leftovers};
pub use manager::{Publisher, ReleaseManager};
pub use memory::memory_kib;
pub use mosquitto::Mosquitto;
pub use nginx::Nginx;
pub use peer::{Papers, Peer, hello};
pub use proxy::{LinkQuality, Proxy};
pub use rig::{BoxOptions, ProcessRig, SmallDisk};
pub use soft_hsm::SoftHsm;
pub use tpm::{SoftTpm, TpmVendor};
pub use wait::{SOON, until};

/// A temporary folder that PostgreSQL's user can reach; removed when the value is dropped.
pub fn scratch() -> anyhow::Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new().prefix("noderr-").tempdir_in("/tmp")?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}
