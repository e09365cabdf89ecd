//! Disks that are full, take nothing, or give back something else.

use super::{refused, world};
use anyhow::{Context as _, ensure};
use noderr_hil::manager::noise;
use noderr_hil::{Bringer, Handout, SmallDisk, scratch};
use noderr_protocol::release::{Manifest, ReleaseRefusal};
use noderr_update::{Stage, StoreLimits, store_in};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const RELEASE: &str = "os/generic/1.0.0";

/// Where the bytes of a held release lie.
fn artefact_of(this: &Bringer) -> anyhow::Result<PathBuf> {
    artefact_of_release(this, RELEASE)
}

fn artefact_of_release(this: &Bringer, release: &str) -> anyhow::Result<PathBuf> {
    let held =
        store_in(&this.data, this.settings.store).stored_as(&release.parse()?).context("it is not held")?;
    Ok(held.path())
}

#[tokio::test]
async fn one_flipped_bit_is_noticed_and_mended_by_fetching_what_is_damaged_and_no_more() -> anyhow::Result<()>
{
    let (_place, handout, mut this) = world().await?;
    let artefact = noise(2_000_000, 1);
    handout.release(RELEASE, &artefact)?;
    assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
    let file = fs::File::options().read(true).write(true).open(artefact_of(&this)?)?;
    for at in [0, 1_234_567, 1_999_999] {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[byte[0] ^ 0x10], at)?;
        handout.asked();
        let before = handout.sent();
        ensure!(this.held(RELEASE).is_err(), "damaged bytes were opened");
        this.restart();
        assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
        assert_eq!(this.held(RELEASE)?, artefact);
        let asked = handout.asked();
        ensure!(asked.len() == 1, "at {at}: {asked:?}");
        ensure!(handout.sent() - before <= 128 * 1024, "{} bytes for one bit", handout.sent() - before);
    }
    // The index, the manifest.
    let folder = artefact_of(&this)?.parent().context("a folder")?.to_owned();
    for name in ["index", "manifest.json"] {
        let place =
            fs::read_dir(folder.parent().context("held")?)?.next().context("a release")??.path().join(name);
        let mut bytes = fs::read(&place)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(&place, bytes)?;
        this.restart();
        let before = handout.sent();
        assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held, "{name}");
        ensure!(
            handout.sent() - before <= 64 * 1024,
            "{} bytes for one bit of {name}",
            handout.sent() - before
        );
        assert_eq!(this.held(RELEASE)?, artefact, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn on_a_disk_that_is_too_small_nothing_is_held_and_what_was_held_stays() -> anyhow::Result<()> {
    let place = scratch()?;
    let handout = Handout::start(&place.path().join("server")).await?;
    let data = place.path().join("data");
    fs::create_dir_all(&data)?;
    let _disk = SmallDisk::mount(&data, 8)?;
    let mut this = Bringer::new(&data, &handout)?;
    let small = noise(1_000_000, 1);
    handout.release(RELEASE, &small)?;
    assert_eq!(this.bring(RELEASE).await?.stage, Stage::Held);
    handout.release("os/generic/2.0.0", &noise(12_000_000, 2))?;
    let before = handout.sent();
    let brought = this.bring("os/generic/2.0.0").await?;
    ensure!(
        matches!(&brought.stage, Stage::Waiting(why) if why.contains("disk is full")),
        "{:?}",
        brought.stage
    );
    ensure!(handout.sent() - before < 200_000, "it was fetched onto a disk that cannot hold it");
    assert_eq!(this.held(RELEASE)?, small);
    // Nor does what is held go for what cannot be had.
    this.settings.store = StoreLimits { bytes: 12_500_000, versions: 3 };
    ensure!(matches!(this.bring("os/generic/2.0.0").await?.stage, Stage::Waiting(_)));
    assert_eq!(this.held(RELEASE)?, small);
    // And where the box's own bound says so.
    this.settings.store = StoreLimits { bytes: 2_000_000, versions: 3 };
    assert_eq!(refused(&this.bring("os/generic/2.0.0").await?)?, ReleaseRefusal::Room);
    // What was begun and is of no use gives its room back.
    this.settings.store = StoreLimits { bytes: 8_000_000, versions: 3 };
    handout.release("os/generic/1.1.0", &noise(3_000_000, 3))?;
    assert_eq!(this.bring("os/generic/1.1.0").await?.stage, Stage::Held);
    Ok(())
}

#[tokio::test]
async fn the_oldest_versions_go_and_never_what_is_wanted() -> anyhow::Result<()> {
    let (_place, handout, mut this) = world().await?;
    this.settings.store = StoreLimits { bytes: 1_000_000, versions: 2 };
    for (number, name) in ["1.0.0", "1.1.0", "1.2.0"].iter().enumerate() {
        let release = format!("os/generic/{name}");
        handout.release(&release, &noise(100_000, number as u64))?;
        assert_eq!(this.bring(&release).await?.stage, Stage::Held);
        // They came a day apart.
        let held = store_in(&this.data, this.settings.store)
            .stored_as(&release.parse()?)
            .context("it is not held")?;
        let manifest = held.path().with_file_name("manifest.json");
        let came = SystemTime::now() - Duration::from_secs(86_400 * (9 - number as u64));
        fs::File::options().write(true).open(manifest)?.set_modified(came)?;
    }
    let held = || -> Vec<String> {
        let mut held: Vec<_> = store_in(&this.data, this.settings.store)
            .stored()
            .iter()
            .map(|held| held.says.manifest.release.to_string())
            .collect();
        held.sort();
        held
    };
    assert_eq!(held(), ["os/generic/1.1.0", "os/generic/1.2.0"]);
    handout.release("models/btc/1.0.0", &noise(850_000, 9))?;
    assert_eq!(this.bring("models/btc/1.0.0").await?.stage, Stage::Held);
    assert_eq!(held(), ["models/btc/1.0.0", "os/generic/1.2.0"]);
    Ok(())
}

#[tokio::test]
async fn what_must_never_run_again_is_not_taken_whatever_is_lost() -> anyhow::Result<()> {
    let (_place, handout, mut this) = world().await?;
    this.settings.store = StoreLimits { bytes: 8 << 30, versions: 1 };
    let epoch = |number| move |manifest: &mut Manifest| manifest.security_epoch = number;
    handout.release_with("os/generic/1.0.0", &noise(100_000, 1), epoch(1))?;
    handout.release_with("os/generic/1.1.0", &noise(100_000, 2), epoch(2))?;
    handout.release_with("os/generic/1.2.0", &noise(100_000, 3), epoch(2))?;
    assert_eq!(this.bring("os/generic/1.1.0").await?.stage, Stage::Held);
    assert_eq!(refused(&this.bring("os/generic/1.0.0").await?)?, ReleaseRefusal::Epoch);
    // What nobody names was put there by somebody else, and says nothing.
    let held = artefact_of_release(&this, "os/generic/1.1.0")?;
    let manifest = fs::read_to_string(held.with_file_name("manifest.json"))?;
    let forged = manifest.replace("\"security_epoch\":2", "\"security_epoch\":4000000000");
    ensure!(forged != manifest, "{manifest}");
    let planted = this.data.root().join("releases/held").join(hex::encode(Sha256::digest(&forged)));
    fs::create_dir(&planted)?;
    fs::write(planted.join("manifest.json"), forged)?;
    assert_eq!(this.bring("os/generic/1.1.0").await?.stage, Stage::Held);
    // What is held says so, where the document is lost, or was not written before the power went.
    let forget = || {
        for name in ["releases-epochs.json", "releases-epochs.before.json"] {
            if let Err(error) = fs::remove_file(this.data.root().join(name)) {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            }
        }
    };
    forget();
    assert_eq!(refused(&this.bring("os/generic/1.0.0").await?)?, ReleaseRefusal::Epoch);
    // The document says so, where nothing is held any more.
    fs::remove_dir_all(this.data.root().join("releases/held"))?;
    this.restart();
    assert_eq!(refused(&this.bring("os/generic/1.0.0").await?)?, ReleaseRefusal::Epoch);
    assert_eq!(this.bring("os/generic/1.2.0").await?.stage, Stage::Held);
    Ok(())
}
