//! The suite: end-to-end tests with real parts. The suite is one binary, so that it is linked once.

mod api;
mod attestation;
mod bad_days;
mod broken_disks;
mod campaigns;
mod comeback;
mod compat;
mod crowds;
mod databases;
mod desired;
mod dev_up;
mod disk_errors;
mod emptied;
mod enrolment;
mod event_log;
mod first_light;
mod floods;
mod hostile;
mod hsm;
mod isolation;
mod later_node;
mod missed;
mod mosquitto;
mod papers;
mod planes;
mod power_cuts;
mod raw;
mod releases;
mod second_factor;
mod slow_links;
mod storage;
mod trust;
mod units;

use noderr_hil::{BoxOptions, Lab, LabOptions, SOON};

/// A box that samples ten times a second.
const LIVELY: BoxOptions = BoxOptions { sample_every_ms: Some(100), ..BoxOptions::PLAIN };

/// A lab in a folder of its own. Declare the lab before its boxes, because Rust drops the last value first.
async fn lab(options: LabOptions) -> anyhow::Result<(tempfile::TempDir, Lab)> {
    let folder = noderr_hil::scratch()?;
    let lab = Lab::start(folder.path(), options, |_| {}).await?;
    Ok((folder, lab))
}
