//! Keys of release managers that an HSM keeps: SoftHSM, used over PKCS#11 like any other.

use super::ceremony::{ADD, INIT, PASSPHRASE, builds, ctl, refusal, sign};
use noderr_hil::SoftHsm;
use noderr_releases::{FileKey, ReleaseFolder, refresh_online};
use noderr_update::{Limits, Repository, StickFolder, Trust};
use std::fs;
use std::time::SystemTime;

#[tokio::test]
async fn a_box_believes_what_keys_in_an_hsm_sign() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    SoftHsm::new(here)?;
    let pin = format!("{}\n", SoftHsm::PIN);
    let on_token =
        |name: &str| format!("keys new {name} --module {} --token {}", SoftHsm::MODULE, SoftHsm::TOKEN);
    for name in ["anna", "cleo", "mo", "plane"] {
        ctl(here, &format!("keys new {name}"), &format!("{PASSPHRASE}\n"))?;
    }
    for name in ["ben", "olga"] {
        ctl(here, &on_token(name), &pin)?;
    }
    // A key that the token has already is taken only if that is meant.
    let again = format!("{} --label ben", on_token("other"));
    assert!(refusal(here, &again, &pin)?.contains("a key labelled `ben` is on the token already"));
    ctl(here, &format!("{again} --existing"), &pin)?;
    let shown = ctl(here, "keys show ben.pub", "")?;
    assert_eq!(shown, ctl(here, "keys show other.pub", "")?);
    assert!(shown.contains("ecdsa-sha2-nistp256"), "{shown}");
    builds(here, b"bytes")?;
    ctl(here, INIT, "")?;
    ctl(here, ADD, "")?;

    let signs = |key: &str| format!("release sign releases --key {key}");
    let refused = refusal(here, &signs("ben"), "yes\n0000\n")?;
    assert!(refused.contains("ben: the HSM refuses") && refused.to_lowercase().contains("pin"), "{refused}");
    let refused = refusal(here, "keys export ben copy", &format!("{PASSPHRASE}\n"))?;
    assert!(refused.contains("an HSM keeps the key of ben, and gives nobody a copy"), "{refused}");
    sign(here, "anna")?;
    ctl(here, &signs("ben"), &format!("yes\n{pin}"))?;
    ctl(here, &signs("olga"), &format!("yes\n{pin}"))?;
    sign(here, "mo")?;
    ctl(here, "release verify releases", "")?;

    let folder = ReleaseFolder::new(&here.join("releases"));
    let plane = FileKey::from_pem(&fs::read_to_string(here.join("plane"))?, &PASSPHRASE.into())?;
    refresh_online(&folder, SystemTime::now().try_into()?, &plane, &plane)?;
    let repository = Repository::Folder(StickFolder::new(folder.root().to_owned()));
    let root = fs::read(folder.metadata().join("1.root.json"))?;
    let mut trust = Trust::open(&here.join("box"), &root, repository, Limits { target_bytes: 1 << 20 })?;
    trust.refresh(SystemTime::now()).await?;
    trust.target("os/generic/1.0.0", SystemTime::now()).await?;

    // Another key of the same name is another key.
    fs::remove_dir_all(here.join("tokens"))?;
    SoftHsm::new(here)?;
    ctl(here, "release withdraw releases os/generic/1.0.0", "")?;
    let refused = refusal(here, &signs("olga"), &format!("yes\n{pin}"))?;
    assert!(refused.contains("there is no key labelled `olga` on the token"), "{refused}");
    fs::rename(here.join("olga"), here.join("olga.before"))?;
    fs::rename(here.join("olga.pub"), here.join("olga.before.pub"))?;
    ctl(here, &on_token("olga"), &pin)?;
    fs::rename(here.join("olga.before.pub"), here.join("olga.pub"))?;
    let refused = refusal(here, &signs("olga"), &format!("yes\n{pin}"))?;
    assert!(refused.contains("are not of one key"), "{refused}");
    Ok(())
}
