//! A release as people make it: keys of several hands, a folder that travels between them on a stick, and a box that believes
//! what came of it. Nobody has a network.

use anyhow::{Context as _, ensure};
use noderr_hil::binary;
use noderr_protocol::release::Manifest;
use noderr_releases::{FileKey, ReleaseFolder, refresh_online};
use noderr_update::{Limits, Repository, StickFolder, Trust};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

pub(super) const PASSPHRASE: &str = "a long passphrase";

/// Runs `noderrctl` in a folder, with what is typed; returns what it says.
pub(super) fn ctl(place: &Path, arguments: &str, typed: &str) -> anyhow::Result<String> {
    let mut running = Command::new(binary("noderrctl")?)
        .args(arguments.split(' '))
        .current_dir(place)
        .env("SOFTHSM2_CONF", place.join("softhsm2.conf"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    match running.stdin.take().context("a pipe")?.write_all(typed.as_bytes()) {
        // Refused before it was read.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        typed => typed?,
    }
    let done = running.wait_with_output()?;
    let [said, why] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    ensure!(done.status.success(), "{arguments}: {why}");
    Ok(said + &why)
}

pub(super) fn sign(place: &Path, key: &str) -> anyhow::Result<String> {
    ctl(place, &format!("release sign releases --key {key}"), &format!("yes\n{PASSPHRASE}\n"))
}

/// Why a command is refused.
pub(super) fn refusal(place: &Path, arguments: &str, typed: &str) -> anyhow::Result<String> {
    match ctl(place, arguments, typed) {
        Err(why) => Ok(why.to_string()),
        Ok(said) => anyhow::bail!("{arguments} is done: {said}"),
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status()?;
    ensure!(copied.success(), "cannot copy {}", from.display());
    Ok(())
}

pub(super) const ADD: &str = "release add releases image os/generic/1.0.0 --hardware x86_64";
pub(super) const INIT: &str = "release init releases --root anna.pub --root ben.pub --root cleo.pub --targets anna.pub \
                    --os olga.pub --models mo.pub --online plane.pub --builder bob.pub";

/// Makes the keys of everybody, and an image.
pub(super) fn keys(here: &Path, image: &[u8]) -> anyhow::Result<()> {
    for name in ["anna", "ben", "cleo", "olga", "mo", "plane"] {
        ctl(here, &format!("keys new {name}"), &format!("{PASSPHRASE}\n"))?;
    }
    builds(here, image)
}

/// The builder makes a key, and signs an image, with the stock tool.
pub(super) fn builds(here: &Path, image: &[u8]) -> anyhow::Result<()> {
    minisign(here, "-G -W -p bob.pub -s bob")?;
    fs::write(here.join("image"), image)?;
    minisign(here, "-S -s bob -m image -t os/generic/1.0.0")
}

pub(super) fn minisign(here: &Path, arguments: &str) -> anyhow::Result<()> {
    let done = Command::new("minisign").args(arguments.split(' ')).current_dir(here).output();
    let done = done.context("minisign is missing; `./dev test` installs it")?;
    ensure!(done.status.success(), "minisign {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

#[tokio::test]
async fn what_two_people_sign_on_two_machines_is_believed_by_a_box_without_a_network() -> anyhow::Result<()> {
    let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let image: Vec<u8> = (0..75_000_u32).flat_map(u32::to_le_bytes).collect();
    keys(here.path(), &image)?;
    ctl(here.path(), INIT, "")?;
    let shown = sign(here.path(), "anna")?;
    assert!(shown.contains("root takes 2 of 3 keys") && shown.contains("root waits for one of "), "{shown}");
    // The other one sits elsewhere, and gets the folder on a stick.
    fs::rename(here.path().join("ben"), there.path().join("ben"))?;
    fs::copy(here.path().join("ben.pub"), there.path().join("ben.pub"))?;
    copy(&here.path().join("releases"), there.path())?;
    sign(there.path(), "ben")?;
    fs::remove_dir_all(here.path().join("releases"))?;
    copy(&there.path().join("releases"), here.path())?;
    sign(here.path(), "olga")?;
    sign(here.path(), "mo")?;
    ctl(here.path(), ADD, "")?;
    let shown = sign(here.path(), "olga")?;
    assert!(
        shown.contains("adds os/generic/1.0.0: 300000 bytes, ") && shown.contains("for x86_64"),
        "{shown}"
    );
    assert!(ctl(here.path(), "release list releases", "")?.contains("os/generic/1.0.0"));
    ctl(here.path(), "release verify releases", "")?;

    // The control plane's part, and a box.
    let folder = ReleaseFolder::new(&here.path().join("releases"));
    let plane = FileKey::from_pem(&fs::read_to_string(here.path().join("plane"))?, &PASSPHRASE.into())?;
    refresh_online(&folder, SystemTime::now().try_into()?, &plane, &plane)?;
    let repository = Repository::Folder(StickFolder::new(folder.root().to_owned()));
    let root = fs::read(folder.metadata().join("1.root.json"))?;
    let limits = Limits { target_bytes: 1 << 20 };
    let mut trust = Trust::open(&here.path().join("box"), &root, repository, limits)?;
    trust.refresh(SystemTime::now()).await?;
    let target = trust.target("os/generic/1.0.0", SystemTime::now()).await?;
    let manifest = Manifest::read(&trust.read(&target).await?)?;
    assert_eq!((manifest.content.bytes, manifest.runs_on("aarch64")), (300_000, false));
    // By hand, with the stock tool.
    ctl(here.path(), "release unpack releases os/generic/1.0.0 again", "")?;
    assert_eq!(fs::read(here.path().join("again"))?, image);
    minisign(here.path(), "-V -p bob.pub -m again")?;

    // Withdrawn, and all renewed: a new root by two hands.
    ctl(here.path(), "release withdraw releases os/generic/1.0.0", "")?;
    sign(here.path(), "olga")?;
    ctl(here.path(), "release renew releases --days 700", "")?;
    for key in ["anna", "cleo", "olga", "mo"] {
        sign(here.path(), key)?;
    }
    refresh_online(&folder, SystemTime::now().try_into()?, &plane, &plane)?;
    trust.refresh(SystemTime::now()).await?;
    assert_eq!(trust.root_version(), 2);
    assert!(trust.target("os/generic/1.0.0", SystemTime::now()).await.is_err(), "it is withdrawn");
    Ok(())
}

/// A folder with a root, its roles and one release.
pub(super) fn begun(here: &Path) -> anyhow::Result<()> {
    keys(here, b"bytes")?;
    ctl(here, INIT, "")?;
    ctl(here, ADD, "")?;
    for key in ["anna", "ben", "olga", "mo"] {
        sign(here, key)?;
    }
    Ok(())
}

#[test]
fn mistakes_are_refused_before_anything_is_signed() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    keys(here, b"bytes")?;
    for (arguments, typed, why) in [
        ("keys new anna", "a long passphrase\n", "exists already"),
        ("keys new zoe", "short\n", "at least 12"),
        ("release show releases", "", "holds no releases"),
        (&INIT.replace("--root ben.pub", "--root anna.pub"), "", "named twice"),
        (&format!("{INIT} --threshold 4"), "", "cannot be met"),
        (&INIT.replace("plane.pub", "anna.pub"), "", "must sign nothing else"),
    ] {
        assert!(refusal(here, arguments, typed)?.contains(why), "{arguments}");
    }
    ctl(here, INIT, "")?;
    assert!(refusal(here, INIT, "")?.contains("holds releases already"));
    let ask = "release sign releases --key anna";
    assert!(refusal(here, ask, "no\n")?.contains("nothing was signed"));
    assert!(refusal(here, ask, "yes\nanother passphrase\n")?.contains("passphrase is wrong"));
    assert!(refusal(here, "release sign releases --key plane", "")?.contains("nothing prepared"));
    // A role is not published before the one above it.
    sign(here, "olga")?;
    assert!(ctl(here, "release list releases", "")?.contains("nothing to show"));
    for key in ["anna", "ben", "mo"] {
        sign(here, key)?;
    }
    let add = format!("{ADD} --security-epoch 3");
    ctl(here, &add, "")?;
    sign(here, "olga")?;
    fs::write(here.join("other"), b"other bytes")?;
    fs::copy(here.join("image.minisig"), here.join("other.minisig"))?;
    fs::write(here.join("unsigned"), b"nobody's")?;
    minisign(here, "-G -W -p eve.pub -s eve")?;
    fs::write(here.join("again"), b"mended")?;
    minisign(here, "-S -s bob -m again -t os/generic/1.0.1")?;
    fs::write(here.join("strange"), b"eve's")?;
    minisign(here, "-S -s eve -m strange -t os/generic/1.0.1")?;
    for (arguments, why) in [
        (ADD, "is there already"),
        ("release add releases image bios/generic/1.0.0", "one of os, models"),
        ("release add releases image os/../1.0.0", "small letters"),
        ("release add releases image os/generic/x", "no version"),
        ("release add releases nothing os/generic/1.0.1", "cannot read nothing"),
        ("release add releases other os/generic/1.0.1", "under another name"),
        ("release add releases strange os/generic/1.0.1", "signed by another key"),
        ("release add releases unsigned os/generic/1.0.1", "minisign -Sm unsigned"),
        ("release add releases image os/generic/0.9.0", "--older"),
        ("release add releases again os/generic/1.0.1", "os/generic/1.0.0 has 3"),
        ("release add releases image os/generic/1.0.1 --requires os", "--requires"),
        ("release withdraw releases os/generic/9.0.0", "there is no release"),
    ] {
        assert!(refusal(here, arguments, "")?.contains(why), "{arguments}");
    }
    Ok(())
}

#[test]
fn a_wrong_file_is_named_and_a_slip_is_forgotten() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let here = place.path();
    keys(here, b"bytes")?;
    ctl(here, INIT, "")?;
    for (arguments, why) in [
        ("release sign releases --key anna.pub", "public half of a key: name the key itself, anna"),
        ("release sign releases --key bob", "key of a builder"),
        ("release sign releases --key image", "cannot read the public half"),
        ("keys export bob copy", "key of a builder"),
        ("release add releases . os/generic/1.0.0 --builder bob", "not a file"),
        ("release discard releases root", "has no version before this draft"),
        ("release discard releases os-8", "nothing is prepared"),
        ("keys rotate releases olga.pub plane.pub", "is the control plane's key"),
        ("keys rotate releases plane.pub anna.pub", "is the control plane's key"),
    ] {
        let refused = refusal(here, arguments, "yes\na long passphrase\n")?;
        assert!(refused.contains(why), "{arguments}: {refused}");
    }
    for key in ["anna", "ben", "olga", "mo"] {
        sign(here, key)?;
    }
    ctl(here, ADD, "")?;
    assert!(refusal(here, ADD, "")?.contains("is prepared already"));
    // Who has yet to sign is said by name; a slip is forgotten, and begun anew.
    assert!(ctl(here, "release show releases", "")?.contains("olga"));
    ctl(here, "release discard releases os/generic/1.0.0", "")?;
    assert!(refusal(here, "release sign releases --key olga", "")?.contains("nothing prepared"));
    // A key of the stock tool without a passphrase signs as well.
    ctl(here, "release add releases image os/generic/1.0.0 --builder bob", "")?;
    sign(here, "olga")?;
    ctl(here, "release verify releases", "").map(drop)
}
