//! What an attacker tries on the way of an artefact. The attacker holds the control plane and every mirror, and, where a test
//! says so, the keys of a kind.

use super::{refused, world};
use anyhow::ensure;
use noderr_hil::manager::noise;
use noderr_hil::{Bringer, Handout};
use noderr_protocol::release::{ReleaseRefusal, Requirement};
use noderr_update::{Reach, Stage, store_in};
use std::time::Duration;
use tokio::net::TcpListener;

const RELEASE: &str = "os/generic/1.0.0";

/// Nothing that a consumer could open is there, and no transfer has left anything beside what is coming.
fn nothing_is_held(this: &Bringer) {
    assert!(store_in(&this.data, this.settings.store).stored().is_empty());
    let names = |folder: &str| {
        let entries = std::fs::read_dir(this.data.root().join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("releases/held"), [""; 0]);
    let known = ["coming", "held", "trust"];
    let strange: Vec<_> =
        names("releases").into_iter().filter(|name| !known.contains(&name.as_str())).collect();
    assert_eq!(strange, [""; 0]);
}

#[tokio::test]
async fn arbitrary_bytes_of_a_mirror_are_not_held_and_an_honest_place_makes_up_for_it() -> anyhow::Result<()>
{
    let (_place, handout, this) = world().await?;
    let artefact = noise(500_000, 1);
    let manifest = handout.release(RELEASE, &artefact)?;
    let object = format!("objects/{}", hex::encode(manifest.archive.sha256.0));
    let honest = std::fs::read(handout.manager.folder.object(&manifest.archive.sha256))?;
    let index = usize::try_from(manifest.archive.index_bytes)?;
    // The index, the first chunk, a later one, and all of it.
    for at in [index / 2, index, honest.len() - 1] {
        let mut wrong = honest.clone();
        wrong[at] ^= 1;
        handout.lie(&object, wrong);
        let brought = this.bring(RELEASE).await?;
        assert_eq!(refused(&brought)?, ReleaseRefusal::Mismatched, "at {at}");
        nothing_is_held(&this);
    }
    handout.lie(&object, noise(honest.len(), 2));
    assert_eq!(refused(&this.bring(RELEASE).await?)?, ReleaseRefusal::Mismatched);
    nothing_is_held(&this);
    // An honest mirror beside it.
    let other = tempfile::tempdir()?;
    let mirror = Handout::start(other.path()).await?;
    mirror.lie(&object, honest);
    let places = [handout.place_of(&manifest.archive.sha256), mirror.place_of(&manifest.archive.sha256)];
    handout.say_places(&manifest.archive.sha256, &places)?;
    assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
    assert_eq!(this.held(RELEASE)?, artefact);
    Ok(())
}

#[tokio::test]
async fn a_part_of_an_artefact_is_no_artefact() -> anyhow::Result<()> {
    let (_place, handout, this) = world().await?;
    let manifest = handout.release(RELEASE, &noise(500_000, 1))?;
    let object = format!("objects/{}", hex::encode(manifest.archive.sha256.0));
    let honest = std::fs::read(handout.manager.folder.object(&manifest.archive.sha256))?;
    for length in [honest.len() - 1, honest.len() / 2, usize::try_from(manifest.archive.index_bytes)?, 10] {
        handout.lie(&object, honest[..length].to_vec());
        let brought = this.bring(RELEASE).await?;
        ensure!(
            matches!(brought.stage, Stage::Waiting(_) | Stage::Refused(_)),
            "{length}: {:?}",
            brought.stage
        );
        nothing_is_held(&this);
    }
    Ok(())
}

#[tokio::test]
async fn whoever_has_the_keys_of_a_kind_and_no_builders_makes_no_box_hold_anything() -> anyhow::Result<()> {
    let (_place, handout, this) = world().await?;
    let other = tempfile::tempdir()?;
    let strange = Handout::start(other.path()).await?;
    let artefact = noise(100_000, 1);
    let theirs = strange.release(RELEASE, &artefact)?.minisig;
    handout.release_with(RELEASE, &artefact, move |manifest| manifest.minisig = theirs)?;
    assert_eq!(refused(&this.bring(RELEASE).await?)?, ReleaseRefusal::NotBuilt);
    // A right signature, of other bytes.
    let right = handout.release("os/generic/1.0.1", &noise(100_000, 2))?.minisig;
    handout.release_with("os/generic/1.0.2", &artefact, move |manifest| manifest.minisig = right)?;
    assert_eq!(refused(&this.bring("os/generic/1.0.2").await?)?, ReleaseRefusal::NotBuilt);
    handout.release_with("os/generic/1.0.3", &artefact, |manifest| manifest.minisig = "none".to_owned())?;
    assert_eq!(refused(&this.bring("os/generic/1.0.3").await?)?, ReleaseRefusal::NotBuilt);
    nothing_is_held(&this);
    Ok(())
}

#[tokio::test]
async fn what_a_builder_has_signed_and_nobody_has_released_is_not_taken() -> anyhow::Result<()> {
    let (_place, handout, this) = world().await?;
    // Signed by the builder, named by a role that nobody has signed.
    let artefact = handout.manager.folder.objects().join("artefact");
    std::fs::create_dir_all(handout.manager.folder.objects())?;
    std::fs::write(&artefact, noise(100_000, 1))?;
    handout.manager.add(RELEASE, &artefact, |_| {})?;
    handout.refresh()?;
    assert_eq!(refused(&this.bring(RELEASE).await?)?, ReleaseRefusal::NotNamed);
    assert!(handout.asked().is_empty(), "it was asked for all the same");
    Ok(())
}

#[tokio::test]
async fn a_release_that_requires_what_there_is_not_is_left_alone() -> anyhow::Result<()> {
    let (_place, handout, this) = world().await?;
    let requires = |at_least: &str| Requirement {
        series: "models/extra".parse().expect("a series"),
        at_least: at_least.parse().expect("a version"),
    };
    let (never, later) = (requires("9.0.0"), requires("1.0.0"));
    handout.release_with(RELEASE, &noise(100_000, 1), move |manifest| manifest.requires = vec![never])?;
    assert_eq!(refused(&this.bring(RELEASE).await?)?, ReleaseRefusal::Requires);
    handout.release_with("os/generic/1.0.1", &noise(100_000, 2), move |manifest| {
        manifest.requires = vec![later]
    })?;
    assert_eq!(refused(&this.bring("os/generic/1.0.1").await?)?, ReleaseRefusal::Requires);
    assert!(handout.asked().is_empty(), "something was fetched for it");
    handout.release("models/extra/1.2.0", &noise(50_000, 3))?;
    // What another network has released under the name is not what is required, although it lies in the store.
    let place = tempfile::tempdir()?;
    let foreign = Handout::start(&place.path().join("server")).await?;
    let other = Bringer::new(&place.path().join("box"), &foreign)?;
    foreign.release("models/extra/1.2.0", &noise(50_000, 66))?;
    assert_eq!(other.bring("models/extra/1.2.0").await?.stage, Stage::Held);
    let held = this.data.root().join("releases");
    std::fs::create_dir_all(&held)?;
    let foreign = other.data.root().join("releases/held");
    let copied = std::process::Command::new("cp").arg("-r").args([&foreign, &held]).status()?;
    ensure!(copied.success());
    assert_eq!(refused(&this.bring("os/generic/1.0.1").await?)?, ReleaseRefusal::Requires);
    assert_eq!(this.bring("models/extra/1.2.0").await?.stage, Stage::Held);
    assert_eq!(this.bring("os/generic/1.0.1").await?.stage, Stage::Held);
    Ok(())
}

#[tokio::test]
async fn a_wish_that_was_meant_for_other_hardware_or_another_tier_fetches_nothing() -> anyhow::Result<()> {
    let (_place, handout, this) = world().await?;
    let only = |word: &str| vec![word.parse().expect("a word")];
    let (board, tier) = (only("aarch64"), only("guardian"));
    handout.release_with(RELEASE, &noise(100_000, 1), move |manifest| manifest.hardware = board)?;
    handout.release_with("models/btc/1.0.0", &noise(100_000, 2), move |manifest| manifest.tiers = tier)?;
    assert_eq!(refused(&this.bring(RELEASE).await?)?, ReleaseRefusal::Hardware);
    assert_eq!(refused(&this.bring("models/btc/1.0.0").await?)?, ReleaseRefusal::Tier);
    assert!(handout.asked().is_empty(), "it was fetched all the same");
    Ok(())
}

#[tokio::test]
async fn a_control_plane_that_lies_about_names_sizes_hashes_and_versions_is_found_out() -> anyhow::Result<()>
{
    let (_place, handout, this) = world().await?;
    let manifest = handout.release(RELEASE, &noise(100_000, 1))?;
    for never in ["os/generic/6.6.6", "models/generic/1.0.0", "os/other/1.0.0"] {
        assert_eq!(refused(&this.bring(never).await?)?, ReleaseRefusal::NotNamed, "{never}");
    }
    // The manifest, as whoever hands it out would like it.
    let target = handout.manager.folder.releases()?.remove(0).1;
    let hash = target.hashes["sha256"].clone();
    let path = format!("targets/os/generic/{hash}.1.0.0");
    type Lie = fn(&mut noderr_protocol::release::Manifest);
    let lies: [Lie; 5] = [
        |manifest| manifest.release = "os/generic/2.0.0".parse().expect("a name"),
        |manifest| manifest.content.bytes += 1,
        |manifest| manifest.archive.bytes = u64::MAX,
        |manifest| manifest.content.sha256.0[0] ^= 1,
        |manifest| manifest.security_epoch = 7,
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut forged = manifest.clone();
        lie(&mut forged);
        handout.lie(&path, forged.to_bytes()?);
        let stage = this.bring(RELEASE).await?.stage;
        // What is longer than was signed is not even read.
        ensure!(matches!(stage, Stage::Refused(_) | Stage::Waiting(_)), "lie {number}: {stage:?}");
        nothing_is_held(&this);
    }
    assert!(handout.asked().is_empty(), "bytes were asked for on the word of a liar");
    Ok(())
}

#[tokio::test]
async fn nobody_leads_a_box_to_a_file_or_into_the_house_it_stands_in() -> anyhow::Result<()> {
    let (_place, handout, mut this) = world().await?;
    let artefact = noise(100_000, 1);
    let archive = handout.release(RELEASE, &artefact)?.archive.sha256;
    let inner = TcpListener::bind("127.0.0.1:0").await?;
    let router = inner.local_addr()?;
    // The box knows its control plane by a name of its own.
    this.settings.control_plane = handout.address.replace("127.0.0.1", "localhost");
    this.settings.reach = Reach::Internet { named: this.settings.control_plane.clone() };
    let leads = [
        "file:///etc/passwd".to_owned(),
        "ftp://mirror.example.org/x".to_owned(),
        "//127.0.0.1/x".to_owned(),
        format!("http://admin:admin@{router}/reboot"),
        format!("http://{router}/reboot"),
        // The machine of the control plane has other doors.
        format!("http://localhost:{}/reboot", router.port()),
        format!("http://[::ffff:127.0.0.1]:{}/reboot", router.port()),
        format!("http://2130706433:{}/reboot", router.port()),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "x".repeat(5000),
        String::new(),
    ];
    handout.say_places(&archive, &leads)?;
    assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held, "the control plane has it too");
    let came = tokio::time::timeout(Duration::from_millis(200), inner.accept()).await;
    assert!(came.is_err(), "the box went where it was sent");
    // What cannot be read at all is as good as nothing.
    for said in [&b"[]"[..], b"{\"places\":7}", &[0xff; 70_000]] {
        let other = tempfile::tempdir()?;
        let this = Bringer::new(other.path(), &handout)?;
        handout.lie(&format!("places/{}", hex::encode(archive.0)), said.to_vec());
        assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
    }
    Ok(())
}

#[tokio::test]
async fn a_mirror_that_redirects_never_ends_or_answers_something_else_is_given_up() -> anyhow::Result<()> {
    let (_place, handout, this) = world().await?;
    let artefact = noise(300_000, 1);
    let archive = handout.release(RELEASE, &artefact)?.archive.sha256;
    let mut places = Vec::new();
    let mut servers = Vec::new();
    for head in [
        "HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 7-9/10\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\n\r\n",
        "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
        "nothing that is HTTP\r\n\r\n",
    ] {
        let (address, server) = crate::trust::server(head, &[b' '; 4096], Duration::ZERO).await?;
        places.push(format!("{address}/{}", hex::encode(archive.0)));
        servers.push(server);
    }
    handout.say_places(&archive, &places)?;
    assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
    assert_eq!(this.held(RELEASE)?, artefact);
    Ok(())
}

#[tokio::test]
async fn a_mirror_that_only_asks_for_patience_costs_little_and_is_given_up() -> anyhow::Result<()> {
    let (_place, handout, this) = world().await?;
    let manifest = handout.release(RELEASE, &noise(300_000, 1))?;
    let patience = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(200);
    let (address, _server) = crate::trust::server("", patience.leak(), Duration::ZERO).await?;
    handout.say_places(&manifest.archive.sha256, &[format!("{address}/x")])?;
    let brought = this.bring(RELEASE).await?;
    assert_eq!(brought.stage, Stage::Held);
    ensure!(brought.spent < manifest.archive.bytes + 2_000_000, "{} bytes were spent", brought.spent);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_hardly_says_anything_is_given_up() -> anyhow::Result<()> {
    let (_place, handout, this) = world().await?;
    let manifest = handout.release(RELEASE, &noise(300_000, 1))?;
    let index = manifest.archive.index_bytes;
    let head =
        format!("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-{}/{index}\r\n\r\n", index - 1);
    let mut servers = Vec::new();
    let mut places = Vec::new();
    for (head, part, pause) in
        [(head.leak() as &str, &b" "[..], Duration::from_secs(1)), ("", b"", Duration::ZERO)]
    {
        let (address, server) = crate::trust::server(head, part, pause).await?;
        places.push(format!("{address}/x"));
        servers.push(server);
    }
    handout.say_places(&manifest.archive.sha256, &places)?;
    assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
    Ok(())
}

#[tokio::test]
async fn a_release_that_is_withdrawn_stops_its_transfer_in_the_middle() -> anyhow::Result<()> {
    let (_place, handout, mut this) = world().await?;
    this.settings.look_again = Duration::ZERO;
    let manifest = handout.release(RELEASE, &noise(4_000_000, 1))?;
    handout.dawdle(Some(Duration::from_millis(1)));
    let bringing = this.bring(RELEASE);
    let withdrawing = async {
        noderr_hil::until("the transfer to begin", noderr_hil::SOON, || async {
            Ok((handout.sent() > 500_000).then_some(()))
        })
        .await?;
        handout.manager.withdraw(RELEASE)?;
        handout.refresh()
    };
    let (brought, withdrawn) = tokio::join!(bringing, withdrawing);
    withdrawn?;
    assert_eq!(refused(&brought?)?, ReleaseRefusal::NotNamed);
    ensure!(handout.sent() < manifest.archive.bytes / 2, "{} bytes were sent", handout.sent());
    nothing_is_held(&this);
    Ok(())
}
