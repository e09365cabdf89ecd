//! The authority's key in an HSM: SoftHSM, used over PKCS#11 like any other.

use noderr_hil::{BoxOptions, ControlOptions, ControlPlane, Lab, LabOptions, SoftHsm, scratch};
use std::fs;
use std::path::Path;

/// The settings that use the authority's key on a token.
fn settings(hsm: &SoftHsm, pin: &Path) -> ControlOptions {
    let setting = format!(
        "pkcs11 = {{ module = \"{}\", token = \"{}\", key = \"ca\", pin_file = \"{}\" }}",
        SoftHsm::MODULE,
        SoftHsm::TOKEN,
        pin.display()
    );
    let mut options = ControlOptions::default().with("authority", setting);
    options.environment.push(hsm.environment());
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_whose_key_an_hsm_keeps_enrols_restarts_and_enrols() -> anyhow::Result<()> {
    let folder = scratch()?;
    let pin = folder.path().join("pin");
    fs::write(&pin, format!("{}\n", SoftHsm::PIN))?;
    let control = settings(&SoftHsm::new(folder.path())?, &pin);
    let mut lab = Lab::start(folder.path(), LabOptions { control, ..LabOptions::default() }, |_| {}).await?;
    let (_, _first) = lab.online_box("first", &BoxOptions::default()).await?;
    lab.control.stop().await?;
    lab.control.start().await?;
    let (_, _second) = lab.online_box("second", &BoxOptions::default()).await?;
    assert!(!lab.control.authority().join("ca.key").exists(), "the key is nowhere but in the HSM");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hsm_that_refuses_is_named() -> anyhow::Result<()> {
    let folder = scratch()?;
    let pin = folder.path().join("pin");
    fs::write(&pin, "0000")?;
    let options = settings(&SoftHsm::new(folder.path())?, &pin);
    let mut control = ControlPlane::new(&folder.path().join("control"), &options)?;
    let error = control.start().await.expect_err("a wrong PIN is taken").to_string();
    assert!(error.contains("the HSM refuses") && error.to_lowercase().contains("pin"), "{error}");
    Ok(())
}
