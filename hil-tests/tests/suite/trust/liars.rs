//! What whoever holds the stick writes into a folder, and what the others are shown of it.

use super::ceremony::{INIT, PASSPHRASE, begun, ctl, refusal, sign};
use anyhow::Context as _;
use noderr_protocol::release::{BUILDERS, Builders};
use noderr_releases::{FileKey, ReleaseFolder, ReleaseKey as _, SignedMetadata, shelf_of};
use serde_json::{Value, json};
use std::fs;

#[test]
fn what_stands_between_the_keys_of_builders_steers_no_terminal() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    let folder = ReleaseFolder::new(&here.join("releases"));
    let mut says = folder.next("targets")?;
    let mut keys = folder.builders()?.keys;
    keys.push("\r\u{1b}[2K  as before: builders.json".to_owned());
    let target = folder.put_target(BUILDERS, &serde_json::to_vec(&Builders { keys })?)?;
    says.targets.insert(BUILDERS.to_owned(), target);
    folder.put_draft("targets", &SignedMetadata::new(says))?;
    let shown = ctl(here, "release show releases", "")?;
    assert!(shown.contains("CANNOT BE SEEN") && !shown.contains('\u{1b}'), "{shown}");
    // What cannot be shown is signed by nobody.
    let why = refusal(here, "release sign releases --key anna", &format!("yes\n{PASSPHRASE}\n"))?;
    assert!(why.contains("none as `minisign` writes keys") && !why.contains('\u{1b}'), "{why}");
    Ok(())
}

/// What whoever holds the stick writes into a draft.
type Lie<'a> = &'a dyn Fn(&mut Value);

#[test]
fn whoever_has_the_stick_makes_nobody_sign_what_a_box_would_read_otherwise() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    let draft = here.join("releases/drafts/targets.json");
    ctl(here, "release renew releases", "")?;
    let honest: Value = serde_json::from_slice(&fs::read(&draft)?)?;
    let strange = FileKey::generate();
    let named = serde_json::to_value(strange.public())?;
    let lies: [(&str, Lie<'_>); 6] = [
        ("of another", &|theirs| {
            let keys = theirs["delegations"]["keys"].as_object_mut().expect("keys");
            *keys.values_mut().next().expect("a key") = named.clone();
        }),
        ("no name of a role", &|theirs| theirs["delegations"]["roles"][0]["name"] = "../../os".into()),
        // A box asks the first of the two.
        ("there twice", &|theirs| {
            theirs["delegations"]["keys"][strange.public().id()] = named.clone();
            let roles = theirs["delegations"]["roles"].as_array_mut().expect("roles");
            let mut mine = roles[0].clone();
            mine["keyids"] = json!([strange.public().id()]);
            roles.insert(0, mine);
        }),
        ("no name of a release", &|theirs| {
            theirs["targets"]["os/\u{1b}[2K/1.0.0"] =
                json!({ "length": 1, "hashes": { "sha256": "00".repeat(32) } });
        }),
        ("version", &|theirs| theirs["spec_version"] = "2.0.0".into()),
        ("does not follow", &|theirs| theirs["version"] = 7.into()),
    ];
    for (why, lie) in lies {
        let mut theirs = honest.clone();
        lie(&mut theirs["signed"]);
        fs::write(&draft, theirs.to_string())?;
        let refused = refusal(here, "release sign releases --key anna", "")?;
        assert!(refused.contains(why), "{why}: {refused}");
    }
    Ok(())
}

#[test]
fn whoever_has_the_stick_makes_nobody_sign_or_hand_out_what_they_do_not_see() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    ctl(here, "release renew releases", "")?;
    // What is published under the stick's own hands hides nothing of the draft.
    let shelf = shelf_of(&"os/generic/1.0.0".parse()?);
    let draft = here.join(format!("releases/drafts/{shelf}.json"));
    let published = here.join(format!("releases/metadata/1.{shelf}.json"));
    let before = [fs::read(&draft)?, fs::read(&published)?];
    let mut both: Value = serde_json::from_slice(&before[0])?;
    both["signed"]["targets"]["os/generic/6.6.6"] =
        json!({ "length": 4, "hashes": { "sha256": "ee".repeat(32) } });
    fs::write(&draft, both.to_string())?;
    both["signed"]["version"] = 1.into();
    fs::write(&published, both.to_string())?;
    let shown = refusal(here, "release sign releases --key olga", "no\n")?;
    assert!(shown.contains("os/generic/6.6.6"), "{shown}");
    fs::write(&draft, &before[0])?;
    fs::write(&published, &before[1])?;
    ctl(here, "release verify releases", "")?;
    let targets = here.join("releases/targets/os/generic");
    for folder in [here.join("releases/objects"), targets] {
        let file = fs::read_dir(folder)?.next().context("a file")??.path();
        let honest = fs::read(&file)?;
        fs::write(&file, b"other")?;
        assert!(refusal(here, "release verify releases", "")?.contains("is not what was signed"));
        fs::write(&file, honest)?;
    }
    Ok(())
}

#[test]
fn a_folder_that_does_not_go_on_from_what_a_signer_saw_is_not_signed() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    begun(here)?;
    // An older copy of the folder, and another network's.
    let key = "release sign releases --key olga";
    ctl(here, "release renew releases", "")?;
    for key in ["anna", "ben", "mo", "olga"] {
        sign(here, key)?;
    }
    let newest = fs::read_dir(here.join("releases/metadata"))?.filter_map(Result::ok);
    for file in newest.filter(|file| file.file_name().to_string_lossy().starts_with("2.os-")) {
        fs::remove_file(file.path())?;
    }
    assert!(refusal(here, key, "no\n")?.contains("it is an older copy"));
    fs::remove_dir_all(here.join("releases"))?;
    ctl(here, INIT, "")?;
    for key in ["anna", "ben"] {
        fs::remove_file(here.join(format!("{key}.seen")))?;
        sign(here, key)?;
    }
    assert!(refusal(here, key, "no\n")?.contains("another network"));
    Ok(())
}
