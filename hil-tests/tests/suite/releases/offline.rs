//! What a box believes of what it holds, while nobody can be asked. The attacker has written to the disk; or a builder is not trusted
//! any more.

use super::{Network, refused, world};
use anyhow::{Context as _, ensure};
use noderr_hil::manager::noise;
use noderr_hil::{BoxOptions, Bringer, Handout, LabOptions, LinkQuality, SOON, until};
use noderr_protocol::release::{ReleaseRefusal, Requirement};
use noderr_releases::{SignedMetadata, Targets, shelf_of};
use noderr_update::Stage;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const RELEASE: &str = "os/generic/1.0.0";

/// A server of another network, and a box that holds a release of the same name, and believes it.
async fn foreign(place: &Path) -> anyhow::Result<(Handout, Bringer)> {
    let handout = Handout::start(&place.join("server")).await?;
    let other = Bringer::new(&place.join("box"), &handout)?;
    handout.release(RELEASE, &noise(200_000, 66))?;
    assert_eq!(other.bring(RELEASE).await?.stage, Stage::Held);
    ensure!(other.holds_alone(RELEASE).await?);
    Ok((handout, other))
}

/// Puts a folder of another box in the place of the same folder of a box.
fn swap(folder: &str, data: &Path, other: &Bringer) -> anyhow::Result<()> {
    let (theirs, ours) = (other.data.root().join(folder), data.join(folder));
    fs::remove_dir_all(&ours)?;
    ensure!(Command::new("cp").arg("-r").args([&theirs, &ours]).status()?.success());
    Ok(())
}

#[tokio::test]
async fn a_box_believes_the_last_word_of_the_keys_and_nothing_that_lies_beside_the_artefact()
-> anyhow::Result<()> {
    let (_place, mut handout, mut this) = world().await?;
    let artefact = noise(300_000, 1);
    handout.release(RELEASE, &artefact)?;
    ensure!(!this.holds_alone(RELEASE).await?, "nothing was ever said");
    assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
    this.restart();
    ensure!(this.holds_alone(RELEASE).await?, "what was signed is not believed after a start");
    ensure!(!this.holds_alone("os/generic/1.0.1").await?);

    let elsewhere = tempfile::tempdir()?;
    let (_server, other) = foreign(elsewhere.path()).await?;
    swap("releases/held", this.data.root(), &other)?;
    this.restart();
    ensure!(!this.holds_alone(RELEASE).await?, "a box believes what no key of its network has signed");
    // With a network, what was signed comes again.
    assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
    assert_eq!(this.held(RELEASE)?, artefact);
    ensure!(this.holds_alone(RELEASE).await?);

    // A refresh that ends halfway takes nothing away: a newer timestamp is here, and what it names is not.
    handout.release("os/generic/1.1.0", &noise(100_000, 2))?;
    handout.lie("metadata/3.snapshot.json", Vec::new());
    ensure!(matches!(this.bring(RELEASE).await?.stage, Stage::Waiting(_)));
    this.restart();
    ensure!(this.holds_alone(RELEASE).await?, "half a refresh has cost what was known");
    handout.be_honest();

    // Who may build no more has built nothing that a box holds.
    handout.manager.replace_builder()?;
    handout.refresh()?;
    assert_eq!(refused(&this.bring(RELEASE).await?)?, ReleaseRefusal::NotBuilt);
    this.restart();
    ensure!(!this.holds_alone(RELEASE).await?, "a builder who is not trusted any more is believed offline");
    Ok(())
}

#[tokio::test]
async fn a_server_that_withholds_a_part_brings_nobody_back_who_was_taken_away() -> anyhow::Result<()> {
    let (_place, mut handout, mut this) = world().await?;
    // On different shelves.
    let others = ["os/a/1.0.0", "os/b/1.0.0", "os/c/1.0.0", "os/d/1.0.0"];
    let shelf = |name: &str| anyhow::Ok(shelf_of(&name.parse()?));
    let here = shelf(RELEASE)?;
    let other =
        *others.iter().find(|name| shelf(name).is_ok_and(|other| other != here)).context("a shelf")?;
    for (release, seed) in [(RELEASE, 1), (other, 2)] {
        handout.release(release, &noise(100_000, seed))?;
    }
    let wanted = [RELEASE, other];
    for release in wanted {
        assert_eq!(this.bring_of(release, &wanted).await?.stage, Stage::Held);
    }
    this.restart();
    ensure!(this.holds_alone(RELEASE).await?);
    handout.manager.replace_builder()?;
    handout.refresh()?;
    let version = handout.manager.folder.newest_version(&shelf(other)?)?.context("a version")?;
    handout.lie(&format!("metadata/{version}.{}.json", shelf(other)?), Vec::new());
    assert_eq!(refused(&this.bring_of(RELEASE, &wanted).await?)?, ReleaseRefusal::NotBuilt);
    this.restart();
    ensure!(!this.holds_alone(RELEASE).await?, "a builder who was taken away is believed offline");
    // Nor is anybody lost for it who may build: with the part that was withheld, the word is whole again.
    handout.be_honest();
    handout.release("os/generic/1.0.1", &noise(100_000, 3))?;
    assert_eq!(this.bring("os/generic/1.0.1").await?.stage, Stage::Held);
    this.restart();
    ensure!(this.holds_alone("os/generic/1.0.1").await?);
    Ok(())
}

/// Signs a shelf so that it ends in an hour, as if its holder were to forget to renew it.
fn ends_soon(handout: &Handout, shelf: &str) -> anyhow::Result<()> {
    let folder = &handout.manager.folder;
    let mut says = folder.newest::<Targets>(shelf)?.context("a shelf")?.says().clone();
    let ends = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 3600)?;
    (says.version, says.expires) = (says.version + 1, ends);
    folder.put_draft(shelf, &SignedMetadata::new(says))?;
    handout.manager.sign()?;
    handout.refresh()?;
    Ok(())
}

#[tokio::test]
async fn a_shelf_that_nobody_renews_keeps_nothing_of_the_others_from_the_last_word() -> anyhow::Result<()> {
    let (_place, handout, mut this) = world().await?;
    let (model, newer) = ("models/btc/1.0.0", "os/generic/1.1.0");
    let shelf = shelf_of(&model.parse()?);
    for (release, seed) in [(model, 1), (RELEASE, 2)] {
        handout.release(release, &noise(100_000, seed))?;
    }
    ends_soon(&handout, &shelf)?;
    for release in [model, RELEASE] {
        assert_eq!(this.bring_of(release, &[model, RELEASE]).await?.stage, Stage::Held);
    }
    this.ahead = Duration::from_secs(7200);
    handout.release(newer, &noise(100_000, 3))?;
    assert_eq!(this.bring_of(newer, &[model, newer]).await?.stage, Stage::Held);
    this.restart();
    ensure!(this.holds_alone(newer).await?, "what is new is not believed for the sake of another shelf");
    ensure!(this.holds_alone(model).await?, "what has ended has taken away what was released");
    // What was withdrawn meanwhile is heard too.
    handout.manager.withdraw(newer)?;
    handout.refresh()?;
    ensure!(matches!(this.bring_of(newer, &[model, newer]).await?.stage, Stage::Refused(_)));
    this.restart();
    ensure!(!this.holds_alone(newer).await?, "a withdrawal that was heard is forgotten");
    ensure!(this.holds_alone(model).await?);
    // A newer version that has ended as well is no reason to forget the one that was good.
    ends_soon(&handout, &shelf)?;
    assert_eq!(this.bring_of(RELEASE, &[model, RELEASE]).await?.stage, Stage::Held);
    this.restart();
    ensure!(this.holds_alone(model).await?, "what has ended has taken away what was released");
    Ok(())
}

#[tokio::test]
async fn the_last_word_itself_is_checked_from_the_root_that_the_box_was_given() -> anyhow::Result<()> {
    let (_place, handout, mut this) = world().await?;
    handout.release(RELEASE, &noise(300_000, 1))?;
    assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
    // All that another network says, and what it released, in the place of everything that was believed.
    let elsewhere = tempfile::tempdir()?;
    let (_server, other) = foreign(elsewhere.path()).await?;
    swap("releases", this.data.root(), &other)?;
    this.restart();
    ensure!(!this.holds_alone(RELEASE).await?, "a box believes another network");
    // Nor is a word that somebody has changed, although it names the release as before.
    for role in ["timestamp.json", "snapshot.json", "targets.json", "os-"] {
        let (_place, handout, mut this) = world().await?;
        handout.release(RELEASE, &noise(300_000, 1))?;
        assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
        this.restart();
        ensure!(this.holds_alone(RELEASE).await?);
        let word = this.data.root().join("releases/trust/last-word.json");
        let mut words: Value = serde_json::from_slice(&fs::read(&word)?)?;
        let files = words["files"].as_object_mut().context("the files")?;
        let (_, text) = files.iter_mut().find(|(name, _)| name.starts_with(role)).context("the role")?;
        let says = text.as_str().context("a text")?;
        // It would end ten years later.
        let year = says.split("\"expires\":\"").nth(1).and_then(|rest| rest.get(..4)).context("a year")?;
        let later = format!("\"expires\":\"{}", year.parse::<u32>()? + 10);
        *text = says.replace(&format!("\"expires\":\"{year}"), &later).into();
        fs::write(&word, serde_json::to_vec(&words)?)?;
        this.restart();
        ensure!(!this.holds_alone(RELEASE).await?, "a word of {role} is believed that no key has signed");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_starts_without_a_network_shows_what_was_signed_as_held_and_nothing_else()
-> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (_, mut rig) = network.lab.online_box("alone", &BoxOptions::PLAIN).await?;
    network.manager.release(RELEASE, &noise(300_000, 1))?;
    network.manager.publish(&network.publisher).await?;
    network.publisher.ctl(&["channels", "activate", RELEASE]).await?;
    rig.release_is(RELEASE, "held", SOON).await?;
    rig.shut_down().await?;
    rig.network(LinkQuality::Down);
    rig.power_on()?;
    let held = rig.release_is(RELEASE, "held", SOON).await?;
    ensure!(held["path"].is_string(), "{held}");
    rig.shut_down().await?;
    let elsewhere = tempfile::tempdir()?;
    let (_server, other) = foreign(elsewhere.path()).await?;
    swap("releases/held", &rig.data(), &other)?;
    rig.power_on()?;
    let shown = rig.release_is(RELEASE, "waiting", SOON).await?;
    ensure!(shown["path"].is_null(), "{shown}");
    rig.network(LinkQuality::Up);
    let held = rig.release_is(RELEASE, "held", SOON).await?;
    let path = held["path"].as_str().context("a path")?;
    ensure!(fs::read(path)? == noise(300_000, 1), "it holds something else");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_to_the_disk_of_a_box_with_a_tpm_gives_it_no_other_network() -> anyhow::Result<()> {
    let network = Network::start(LabOptions::default()).await?;
    let (_, mut rig) = network.lab.online_box("planted", &BoxOptions::PLAIN).await?;
    // Kept at once, while nobody wishes for anything: whoever comes later gives the box no other.
    let kept = rig.data().join("releases/root.json");
    until("the given root", SOON, || async { Ok(kept.is_file().then_some(())) }).await?;
    let artefact = noise(300_000, 1);
    network.manager.release(RELEASE, &artefact)?;
    network.manager.publish(&network.publisher).await?;
    network.publisher.ctl(&["channels", "activate", RELEASE]).await?;
    rig.release_is(RELEASE, "held", SOON).await?;
    let sealed = fs::read(rig.data().join("releases/root.json"))?;
    rig.network(LinkQuality::Down);
    // What the disk has spoilt stands there twice.
    rig.shut_down().await?;
    fs::write(rig.data().join("releases/root.json"), &sealed[..sealed.len() / 2])?;
    rig.power_on()?;
    rig.release_is(RELEASE, "held", SOON).await?;
    ensure!(fs::read(&kept)? == sealed, "what the disk has spoilt does not stand there twice again");
    let elsewhere = tempfile::tempdir()?;
    let (server, other) = foreign(elsewhere.path()).await?;
    let root = String::from_utf8(server.root()?)?;
    let mut planted: Value = serde_json::from_slice(&sealed)?;
    planted["document"]["root"] = root.clone().into();
    for root_file in [root.as_bytes(), &serde_json::to_vec(&planted)?, b""] {
        rig.shut_down().await?;
        swap("releases", &rig.data(), &other)?;
        if !root_file.is_empty() {
            fs::write(rig.data().join("releases/root.json"), root_file)?;
        }
        // The papers had a root with them, when they came.
        for papers in ["enrolment.json", "enrolment.before.json"] {
            let papers = rig.data().join(papers);
            let Ok(bytes) = fs::read(&papers) else { continue };
            let mut planted: Value = serde_json::from_slice(&bytes)?;
            planted["document"]["release_root"] = root.clone().into();
            fs::write(&papers, serde_json::to_vec(&planted)?)?;
        }
        rig.power_on()?;
        let shown = rig.release_is(RELEASE, "waiting", SOON).await?;
        ensure!(shown["path"].is_null(), "{shown}");
    }
    rig.network(LinkQuality::Up);
    let held = rig.release_is(RELEASE, "held", SOON).await?;
    ensure!(fs::read(held["path"].as_str().context("a path")?)? == artefact, "it holds something else");
    Ok(())
}

#[tokio::test]
async fn what_requires_something_is_believed_with_what_is_here_whatever_else_lies_there() -> anyhow::Result<()>
{
    let (_place, handout, this) = world().await?;
    let model = "models/btc/1.0.0";
    let requires = vec![Requirement { series: "os/generic".parse()?, at_least: "1.0.0".parse()? }];
    handout.release_with(model, &noise(100_000, 1), |manifest| manifest.requires = requires)?;
    // Of several versions that would do, only the newest is wished for: the last word names no other.
    let versions = ["os/generic/1.0.0", "os/generic/1.0.1", "os/generic/1.0.2", "os/generic/1.0.3"];
    for (seed, version) in versions.iter().enumerate() {
        handout.release(version, &noise(100_000, 10 + seed as u64))?;
        assert_eq!(this.bring(version).await?.stage, Stage::Held);
    }
    let newest = versions[versions.len() - 1];
    assert_eq!(this.bring_of(model, &[model, newest]).await?.stage, Stage::Held);
    ensure!(this.holds_alone(model).await?, "a model is not believed beside the OS that it requires");
    // And where nobody wishes for what is required any more.
    assert_eq!(this.bring(model).await?.stage, Stage::Held);
    ensure!(this.holds_alone(model).await?, "what is required counts only while it is wished for");
    Ok(())
}
