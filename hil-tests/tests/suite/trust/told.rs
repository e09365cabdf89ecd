//! What whoever prepares and signs is told before it is too late.

use super::ceremony::{INIT, PASSPHRASE, begun, ctl, keys, refusal, sign};
use noderr_releases::ReleaseFolder;
use std::fs;

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
