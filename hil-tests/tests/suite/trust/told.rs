//! What whoever prepares and signs is told before it is too late.

use super::ceremony::{INIT, PASSPHRASE, begun, ctl, keys, minisign, refusal, sign};
use anyhow::Context as _;
use noderr_releases::{ReleaseFolder, SignedMetadata, Targets};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn a_key_that_has_signed_one_first_root_signs_no_other_in_its_place() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    keys(here, b"bytes")?;
    ctl(here, INIT, "")?;
    // One of two who are needed: nothing is in force yet.
    sign(here, "anna")?;
    fs::rename(here.join("releases"), here.join("before"))?;
    ctl(here, &INIT.replace("--models mo.pub", "--models olga.pub"), "")?;
    let refused = refusal(here, "release sign releases --key anna", "")?;
    assert!(refused.contains("has signed another first root"), "{refused}");
    // A copy of the key has seen what the key has seen.
    ctl(here, "keys export anna safe", &format!("{PASSPHRASE}\n{PASSPHRASE}\n"))?;
    let refused = refusal(here, "release sign releases --key safe", "")?;
    assert!(refused.contains("has signed another first root"), "{refused}");
    // The one that was begun goes on.
    fs::remove_dir_all(here.join("releases"))?;
    fs::rename(here.join("before"), here.join("releases"))?;
    sign(here, "ben")?;
    ctl(here, "release renew releases --days 700", "")?;
    sign(here, "anna").map(drop)
}

#[test]
fn what_nobody_has_signed_is_not_remembered_as_seen() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    // Whoever had the stick has laid a role on it that is far ahead.
    let folder = ReleaseFolder::new(&here.join("releases"));
    let planted = "os-3";
    let mut ahead = folder.newest::<Targets>(planted)?.context("a shelf")?.says().clone();
    ahead.version = 99;
    let laid = folder.metadata().join("99.os-3.json");
    fs::write(&laid, SignedMetadata::new(ahead).to_bytes()?)?;
    ctl(here, "release withdraw releases os/generic/1.0.0", "")?;
    sign(here, "olga")?;
    fs::remove_file(laid)?;
    ctl(here, "release renew releases --days 700", "")?;
    sign(here, "olga").map(drop)
}

#[test]
fn a_release_is_called_what_its_name_may_be_and_drafts_stay_readable() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    let names = ["os/my_box/1.0.0".to_owned(), format!("os/{}/1.0.0-{}", "a".repeat(64), "b".repeat(58))];
    for name in &names {
        minisign(here, &format!("-S -s bob -m image -t {name}"))?;
        ctl(here, &format!("release add releases image {name}"), "")?;
        ctl(here, "release show releases", "")?;
        sign(here, "olga")?;
        ctl(here, "release verify releases", "")?;
    }
    // Where a link leads, nothing is prepared.
    let (drafts, elsewhere) = (here.join("releases/drafts"), here.join("elsewhere"));
    fs::create_dir(&elsewhere)?;
    if drafts.exists() {
        fs::remove_dir_all(&drafts)?;
    }
    symlink(&elsewhere, &drafts)?;
    let refused = refusal(here, "release renew releases", "")?;
    assert!(refused.contains("link"), "{refused}");
    assert_eq!(fs::read_dir(&elsewhere)?.count(), 0);
    Ok(())
}

#[test]
fn whoever_rotates_twice_or_back_and_whoever_leaves_a_release_without_a_builder_is_told() -> anyhow::Result<()>
{
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    for name in ["oscar", "bea --builder"] {
        ctl(here, &format!("keys new {name}"), &format!("{PASSPHRASE}\n"))?;
    }
    let said = ctl(here, "keys rotate releases olga.pub oscar.pub", "")?;
    assert!(!said.contains("take care"), "{said}");
    let twice = refusal(here, "keys rotate releases olga.pub oscar.pub", "")?;
    assert!(twice.contains("prepared already, and waits for signatures"), "{twice}");
    let never = refusal(here, "keys revoke releases bea.pub", "")?;
    assert!(!never.contains("prepared already"), "{never}");
    for key in ["oscar", "anna"] {
        sign(here, key)?;
    }
    let never = refusal(here, "keys rotate releases olga.pub oscar.pub", "")?;
    assert!(never.contains("the key signs nothing here"), "{never}");
    let back = ctl(here, "keys rotate releases oscar.pub olga.pub", "")?;
    assert!(back.contains("was taken away: whoever else has the key signs with it again"), "{back}");
    for role in ReleaseFolder::new(&here.join("releases")).prepared()? {
        ctl(here, &format!("release discard releases {}", role.progress.role), "")?;
    }

    ctl(here, "release builders releases --add bea.pub --remove bob.pub", "")?;
    let said = sign(here, "anna")?;
    assert!(said.contains("none of those who may build from then on has built os/generic/1.0.0"), "{said}");
    let wrong = refusal(here, "release verify releases", "")?;
    assert!(wrong.contains("withdraw it (`noderrctl release withdraw`), and have that signed"), "{wrong}");
    ctl(here, "release withdraw releases os/generic/1.0.0", "")?;
    sign(here, "oscar")?;
    ctl(here, "release verify releases", "").map(drop)
}
