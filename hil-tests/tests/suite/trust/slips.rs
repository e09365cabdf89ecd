//! What people prepare by mistake, and take back; and two who work in one folder.

use super::ceremony::{INIT, PASSPHRASE, begun, ctl, keys, minisign, refusal, sign};
use anyhow::Context as _;
use noderr_releases::{FileKey, Prepared, ReleaseFolder, Root};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

/// What `release show` says of a role.
fn shown(here: &Path, role: &str) -> anyhow::Result<Value> {
    let rows: Vec<Value> = serde_json::from_str(&ctl(here, "--json release show releases", "")?)?;
    rows.into_iter().find(|row| row["role"] == role).context("the role")
}

#[test]
fn what_is_taken_back_puts_nothing_else_in_force() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    for name in ["dora", "bea --builder"] {
        ctl(here, &format!("keys new {name}"), &format!("{PASSPHRASE}\n"))?;
    }
    let prepared = || -> anyhow::Result<()> {
        // Anna signs both; the builder waits for the root alone then.
        ctl(here, "keys rotate releases ben.pub dora.pub", "")?;
        ctl(here, "release builders releases --add bea.pub", "")?;
        let said = sign(here, "anna")?;
        assert!(said.contains("root waits for one of ben, cleo and for one of cleo, dora"), "{said}");
        assert!(said.contains("targets waits for the role above alone"), "{said}");
        Ok(())
    };
    prepared()?;
    let said = ctl(here, "release discard releases root", "")?;
    assert!(said.contains("targets has enough signatures") && said.contains("discard it too"), "{said}");
    assert_eq!(shown(here, "targets")?["version"], 1);
    ctl(here, "release discard releases targets", "")?;
    assert!(!ctl(here, "release builders releases", "")?.contains("bea"));
    for order in ["root targets", "targets root"] {
        prepared()?;
        let said = ctl(here, &format!("release discard releases {order}"), "")?;
        assert!(!said.contains("enough signatures"), "{said}");
        assert_eq!(shown(here, "targets")?["version"], 1);
        assert_eq!(shown(here, "root")?["version"], 1);
    }
    // Whoever does want it signs something else, or asks once more.
    prepared()?;
    ctl(here, "release discard releases root", "")?;
    let said = ctl(here, "release sign releases --key olga", "")?;
    assert!(said.contains("targets had enough signatures, and counts now"), "{said}");
    assert_eq!(shown(here, "targets")?["version"], 2);
    assert!(ctl(here, "release builders releases", "")?.contains("bea"));
    // Whoever signs is told what else counts from then on.
    ctl(here, "keys rotate releases ben.pub dora.pub", "")?;
    ctl(here, "release builders releases --remove bea.pub", "")?;
    sign(here, "anna")?;
    let said = sign(here, "cleo")?;
    assert!(said.contains("targets lacks no signature any more, and counts with"), "{said}");
    assert_eq!(shown(here, "targets")?["version"], 3);
    Ok(())
}

#[test]
fn a_release_that_is_taken_back_leaves_what_else_was_prepared() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    ctl(here, "release renew releases --days 700", "")?;
    let renewed: Vec<Value> = serde_json::from_str(&ctl(here, "--json release show releases", "")?)?;
    assert!(renewed.iter().all(|row| row["prepared"] == 2), "{renewed:?}");
    fs::write(here.join("image"), b"other bytes")?;
    minisign(here, "-S -s bob -m image -t os/generic/1.0.1")?;
    ctl(here, "release add releases image os/generic/1.0.1", "")?;
    let refused = refusal(here, "release withdraw releases os/generic/1.0.1", "")?;
    assert!(refused.contains("only prepared") && refused.contains("release discard"), "{refused}");
    ctl(here, "release discard releases os/generic/1.0.1", "")?;
    let after: Vec<Value> = serde_json::from_str(&ctl(here, "--json release show releases", "")?)?;
    assert_eq!(after, renewed, "the later end is gone with the release");

    // Nor what another key has to sign anew.
    for role in renewed.iter().filter_map(|row| row["role"].as_str()) {
        ctl(here, &format!("release discard releases {role}"), "")?;
    }
    ctl(here, "keys new oscar", &format!("{PASSPHRASE}\n"))?;
    ctl(here, "keys rotate releases olga.pub oscar.pub", "")?;
    let rotated = ctl(here, "--json release show releases", "")?;
    ctl(here, "release add releases image os/generic/1.0.1", "")?;
    ctl(here, "release discard releases os/generic/1.0.1", "")?;
    assert_eq!(ctl(here, "--json release show releases", "")?, rotated);
    for key in ["oscar", "anna"] {
        sign(here, key)?;
    }
    ctl(here, "release verify releases", "").map(drop)
}

#[test]
fn a_draft_that_comes_back_from_another_copy_of_the_folder_holds_nobody_up() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    fs::write(here.join("image"), b"other bytes")?;
    minisign(here, "-S -s bob -m image -t os/generic/1.0.1")?;
    ctl(here, "release add releases image os/generic/1.0.1", "")?;
    let rows: Vec<Value> = serde_json::from_str(&ctl(here, "--json release show releases", "")?)?;
    let prepared = rows.iter().find(|row| !row["prepared"].is_null()).context("nothing is prepared")?;
    let role = prepared["role"].as_str().context("a role")?.to_owned();
    let draft = here.join(format!("releases/drafts/{role}.json"));
    let unsigned = fs::read(&draft)?;
    sign(here, "olga")?;
    // The same words, unsigned: nobody need sign them again.
    fs::write(&draft, &unsigned)?;
    assert!(shown(here, &role)?["prepared"].is_null());
    assert!(refusal(here, "release sign releases --key olga", "")?.contains("nothing prepared"));
    assert!(!draft.exists());
    // Other words, of a version that is used up.
    let mut other: Value = serde_json::from_slice(&unsigned)?;
    other["signed"]["targets"].as_object_mut().context("targets")?.clear();
    fs::write(&draft, serde_json::to_vec(&other)?)?;
    assert!(shown(here, &role)?["lacks"].as_str().is_some_and(|lacks| lacks.contains("no longer follows")));
    ctl(here, "keys new bea --builder", &format!("{PASSPHRASE}\n"))?;
    ctl(here, "release builders releases --add bea.pub", "")?;
    let said = sign(here, "anna")?;
    assert!(said.contains("targets counts") && said.contains("release discard"), "{said}");
    assert!(refusal(here, "release sign releases --key olga", "")?.contains("release discard"));
    ctl(here, &format!("release discard releases {role}"), "")?;
    ctl(here, "release verify releases", "").map(drop)
}

#[test]
fn a_key_of_which_nothing_is_left_goes_by_its_id() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    ctl(here, "keys new dora", &format!("{PASSPHRASE}\n"))?;
    let shown_key: Value = serde_json::from_str(&ctl(here, "--json keys show ben.pub", "")?)?;
    let id = shown_key["id"].as_str().context("an id")?;
    for file in ["ben", "ben.pub"] {
        fs::remove_file(here.join(file))?;
    }
    assert!(refusal(here, "keys rotate releases 00000000 dora.pub", "")?.contains("begins with 00000000"));
    ctl(here, &format!("keys rotate releases {} dora.pub", &id[..8]), "")?;
    for key in ["anna", "cleo"] {
        sign(here, key)?;
    }
    assert_eq!(shown(here, "root")?["version"], 2);
    let verified = ctl(here, "release verify releases", "")?;
    assert!(verified.contains(" first, at "), "{verified}");
    Ok(())
}

#[test]
fn a_signature_of_the_old_style_is_called_so() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    fs::write(here.join("old"), b"signed as long ago")?;
    minisign(here, "-S -l -s bob -m old -t os/generic/1.0.1")?;
    let refused = refusal(here, "release add releases old os/generic/1.0.1", "")?;
    assert!(refused.contains("minisign's old style"), "{refused}");
    Ok(())
}

#[test]
fn two_who_sign_at_the_same_time_lose_no_signature_and_sign_nothing_they_have_not_seen() -> anyhow::Result<()>
{
    let place = tempfile::tempdir()?;
    let here = place.path();
    keys(here, b"bytes")?;
    ctl(here, INIT, "")?;
    let folder = ReleaseFolder::new(&here.join("releases"));
    let key = |name: &str| -> anyhow::Result<FileKey> {
        Ok(FileKey::from_pem(&fs::read_to_string(here.join(name))?, &PASSPHRASE.into())?)
    };
    let (anna, ben, olga) = (key("anna")?, key("ben")?, key("olga")?);
    // Both are shown the root before either answers.
    let shown = |key: &FileKey| folder.prepared_for(noderr_releases::ReleaseKey::public(key));
    let (to_anna, to_ben): (Vec<Prepared>, Vec<Prepared>) = (shown(&anna)?, shown(&ben)?);
    folder.sign(&to_anna, &anna)?;
    let in_force = folder.sign(&to_ben, &ben)?;
    assert_eq!(in_force, ["root", "targets"]);
    // And at the very same time.
    for _ in 0..20 {
        ctl(here, "release renew releases", "")?;
        let (to_anna, to_ben) = (shown(&anna)?, shown(&ben)?);
        let start = Barrier::new(2);
        let sign = |prepared: &[Prepared], key: &FileKey| {
            start.wait();
            folder.sign(prepared, key).map(drop)
        };
        let (first, second) = thread::scope(|scope| {
            let other = scope.spawn(|| sign(&to_anna, &anna));
            (sign(&to_ben, &ben), other.join())
        });
        first?;
        second.map_err(|_| anyhow::anyhow!("it panicked"))??;
        assert_eq!(folder.draft::<Root>("root")?, None, "a signature is lost");
    }
    // What was shown is not what lies there any more.
    let to_olga = shown(&olga)?;
    ctl(here, "release renew releases --days 30", "")?;
    let refused = folder.sign(&to_olga, &olga).map_err(|error| error.to_string());
    assert!(
        refused.is_err_and(|why| why.contains("another draft now")),
        "olga has signed what she has not seen"
    );
    Ok(())
}
