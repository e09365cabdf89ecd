//! Other keys: a root key that is lost, one that was used long enough, a key of a kind that is taken away, another key of the
//! control plane. As the guide has it, by the commands, with a box that knew the network before.

use super::ceremony::{PASSPHRASE, begun, ctl, refusal, sign};
use noderr_releases::{FileKey, ReleaseFolder, refresh_online};
use noderr_update::{Limits, Repository, StickFolder, Trust};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

const RELEASE: &str = "os/generic/1.0.0";

/// Vouches for the newest as the control plane does, with the key of this name.
fn vouch(here: &Path, online: &str) -> anyhow::Result<()> {
    let key = FileKey::from_pem(&fs::read_to_string(here.join(online))?, &PASSPHRASE.into())?;
    let folder = ReleaseFolder::new(&here.join("releases"));
    Ok(refresh_online(&folder, SystemTime::now().try_into()?, &key, &key)?)
}

/// A box that was given the first root.
fn box_of(here: &Path) -> anyhow::Result<Trust> {
    let folder = ReleaseFolder::new(&here.join("releases"));
    let repository = Repository::Folder(StickFolder::new(folder.root().to_owned()));
    let root = folder.bytes("root", 1)?.unwrap_or_default();
    Ok(Trust::open(&here.join("box"), &root, repository, Limits::default())?)
}

async fn follows(here: &Path, online: &str, root: u64) -> anyhow::Result<()> {
    ctl(here, "release verify releases", "")?;
    vouch(here, online)?;
    let mut this = box_of(here)?;
    this.refresh(SystemTime::now()).await?;
    this.target(RELEASE, SystemTime::now()).await?;
    assert_eq!(this.root_version(), root);
    Ok(())
}

fn new_key(here: &Path, name: &str) -> anyhow::Result<()> {
    ctl(here, &format!("keys new {name}"), &format!("{PASSPHRASE}\n")).map(drop)
}

/// The roles that a command has prepared are not more than these keys can sign.
fn all_signed(here: &Path) -> anyhow::Result<()> {
    let shown = ctl(here, "--json release show releases", "")?;
    assert!(!shown.contains("\"prepared\""), "something still waits: {shown}");
    Ok(())
}

#[tokio::test]
async fn a_root_key_that_is_lost_is_replaced_by_those_that_are_left() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    follows(here, "plane", 1).await?;
    // Ben's key is gone; anna and cleo are enough.
    fs::remove_file(here.join("ben"))?;
    new_key(here, "dora")?;
    let said = ctl(here, "keys rotate releases ben.pub dora.pub", "")?;
    assert!(said.contains("prepared root"), "{said}");
    let shown = sign(here, "anna")?;
    assert!(shown.contains("may sign root no more"), "{shown}");
    sign(here, "cleo")?;
    all_signed(here)?;
    follows(here, "plane", 2).await?;
    // Whoever finds the lost key signs nothing with it.
    ctl(here, "release renew releases", "")?;
    assert!(refusal(here, "release sign releases --key ben.pub", "")?.contains("nothing prepared"));
    for key in ["dora", "cleo", "anna", "olga", "mo"] {
        sign(here, key)?;
    }
    follows(here, "plane", 3).await
}

#[tokio::test]
async fn a_key_of_a_kind_that_is_taken_away_releases_nothing_any_more() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    follows(here, "plane", 1).await?;
    assert!(refusal(here, "keys revoke releases olga.pub", "")?.contains("name a key that takes its place"));
    assert!(refusal(here, "keys rotate releases plane.pub plane.pub", "")?.contains("already"));
    new_key(here, "oscar")?;
    assert!(refusal(here, "keys rotate releases oscar.pub olga.pub", "")?.contains("signs nothing here"));
    ctl(here, "keys rotate releases olga.pub oscar.pub", "")?;
    // Anna says who signs for the OS; oscar signs all that olga had signed.
    for key in ["oscar", "anna"] {
        sign(here, key)?;
    }
    all_signed(here)?;
    follows(here, "plane", 1).await?;
    ctl(here, "release withdraw releases os/generic/1.0.0", "")?;
    assert!(refusal(here, "release sign releases --key olga", "")?.contains("nothing prepared"));
    Ok(())
}

#[tokio::test]
async fn one_of_three_root_keys_is_taken_away_and_the_control_planes_key_is_another() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    follows(here, "plane", 1).await?;
    ctl(here, "keys revoke releases cleo.pub", "")?;
    for key in ["anna", "ben"] {
        sign(here, key)?;
    }
    follows(here, "plane", 2).await?;
    new_key(here, "other-plane")?;
    ctl(here, "keys rotate releases plane.pub other-plane.pub", "")?;
    for key in ["anna", "ben"] {
        sign(here, key)?;
    }
    follows(here, "other-plane", 3).await?;
    // The old one hides nothing any more.
    vouch(here, "plane")?;
    assert!(box_of(here)?.refresh(SystemTime::now()).await.is_err(), "the old key still counts");
    Ok(())
}

#[test]
fn builders_come_and_go_by_the_word_of_whoever_has_the_targets_key() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    ctl(here, "keys new bea --builder", &format!("{PASSPHRASE}\n"))?;
    let refused = refusal(here, "keys rotate releases bob.pub bea.pub", "")?;
    assert!(refused.contains("release builders"), "{refused}");
    let refused = refusal(here, "release builders releases --remove bob.pub", "")?;
    assert!(refused.contains("nobody would be left"), "{refused}");
    fs::write(here.join("image"), "an image of bea's")?;
    ctl(here, "release builders releases --add bea.pub", "")?;
    let shown = sign(here, "anna")?;
    assert!(shown.contains("bea (RW") && shown.contains(") may build artefacts"), "{shown}");
    all_signed(here)?;
    ctl(here, "release add releases image os/generic/1.1.0 --builder bea", &format!("{PASSPHRASE}\n"))?;
    sign(here, "olga")?;
    ctl(here, "release verify releases", "")?;
    // With bob, all goes that bob has built, and whoever takes bob away hears of it before anybody signs.
    let warned = ctl(here, "release builders releases --remove bob.pub", "")?;
    assert!(warned.contains(RELEASE) && warned.contains("were built by none"), "{warned}");
    assert!(!warned.contains("os/generic/1.1.0"), "{warned}");
    sign(here, "anna")?;
    let refused = refusal(here, "release verify releases", "")?;
    assert!(refused.contains(RELEASE) && !refused.contains("os/generic/1.1.0"), "{refused}");
    ctl(here, &format!("release withdraw releases {RELEASE}"), "")?;
    let again = refusal(here, &format!("release withdraw releases {RELEASE}"), "")?;
    assert!(again.contains("prepared already"), "{again}");
    ctl(here, &format!("release discard releases {RELEASE}"), "")?;
    ctl(here, &format!("release withdraw releases {RELEASE}"), "")?;
    sign(here, "olga")?;
    ctl(here, "release verify releases", "").map(drop)
}

#[test]
fn a_copy_of_a_key_is_the_same_key_under_another_passphrase() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    new_key(here, "anna")?;
    ctl(here, "keys export anna safe", &format!("{PASSPHRASE}\nanother passphrase\n"))?;
    let ids = ["anna", "safe"].map(|key| ctl(here, &format!("keys show {key}"), ""));
    let [first, second] = ids;
    assert_eq!(first?, second?);
    FileKey::from_pem(&fs::read_to_string(here.join("safe"))?, &"another passphrase".into())?;
    for (typed, why) in
        [("another passphrase\n", "passphrase is wrong"), (&format!("{PASSPHRASE}\nshort\n"), "at least 12")]
    {
        assert!(refusal(here, "keys export anna copy", typed)?.contains(why));
    }
    assert!(refusal(here, "keys export anna safe", &format!("{PASSPHRASE}\n"))?.contains("exists already"));
    Ok(())
}
