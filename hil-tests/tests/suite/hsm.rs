//! The authority's key in an HSM: SoftHSM, used over PKCS#11 like any other.

use anyhow::ensure;
use noderr_hil::{BoxOptions, ControlOptions, ControlPlane, Lab, LabOptions, scratch};
use std::fs;
use std::path::Path;

const PIN: &str = "5678";

/// Makes a PKCS#11 token in a folder of its own; returns the settings that use the token.
async fn token(folder: &Path) -> anyhow::Result<ControlOptions> {
    let tokens = folder.join("tokens");
    fs::create_dir_all(&tokens)?;
    let configuration = folder.join("softhsm2.conf");
    fs::write(&configuration, format!("directories.tokendir = {}\n", tokens.display()))?;
    let made = tokio::process::Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "noderr", "--so-pin", "1234", "--pin", PIN])
        .env("SOFTHSM2_CONF", &configuration)
        .output()
        .await?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pin = folder.join("pin");
    fs::write(&pin, format!("{PIN}\n"))?;
    let setting = format!(
        "pkcs11 = {{ module = \"/usr/lib/softhsm/libsofthsm2.so\", token = \"noderr\", key = \"ca\", pin_file = \"{}\" }}",
        pin.display()
    );
    let mut options = ControlOptions::default().with("authority", setting);
    options.environment.push(("SOFTHSM2_CONF".to_owned(), configuration.display().to_string()));
    Ok(options)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_whose_key_an_hsm_keeps_enrols_restarts_and_enrols() -> anyhow::Result<()> {
    let folder = scratch()?;
    let control = token(folder.path()).await?;
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
    let options = token(folder.path()).await?;
    fs::write(folder.path().join("pin"), "0000")?;
    let mut control = ControlPlane::new(&folder.path().join("control"), &options)?;
    let error = control.start().await.expect_err("a wrong PIN is taken").to_string();
    assert!(error.contains("the HSM refuses") && error.to_lowercase().contains("pin"), "{error}");
    Ok(())
}
