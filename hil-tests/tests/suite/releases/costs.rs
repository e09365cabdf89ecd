//! What a release costs: announced before it comes, no more than the box may spend, and nothing twice.

use super::{refused, world};
use anyhow::{Context as _, ensure};
use noderr_archive::Index;
use noderr_hil::manager::noise;
use noderr_hil::{Bringer, Brought, SOON, until};
use noderr_protocol::release::{Manifest, ReleaseRefusal, Transfer};
use noderr_releases::check_index;
use noderr_update::Stage;
use std::fs;
use std::time::{Duration, Instant};

/// What was announced.
fn announced(brought: &Brought) -> anyhow::Result<Transfer> {
    let first = brought.stages.iter().find_map(|stage| match stage {
        Stage::Fetching(transfer) => Some(*transfer),
        _ => None,
    });
    first.context("nothing was fetched")
}

#[tokio::test]
async fn of_200_mb_of_which_one_percent_changes_less_than_five_percent_travels() -> anyhow::Result<()> {
    let (_place, handout, mut this) = world().await?;
    // Some of it can be compressed.
    let mut artefact = noise(180_000_000, 1);
    artefact.extend_from_within(..20_000_000);
    artefact[180_000_000..].iter_mut().for_each(|byte| *byte &= 0x0f);
    let first = handout.release("os/generic/1.0.0", &artefact)?;
    this.folder = Some(handout.manager.folder.objects().parent().context("a folder")?.to_owned());
    assert_eq!(this.bring("os/generic/1.0.0").await?.stage, Stage::Held, "from a stick");
    assert_eq!(handout.sent(), 0);
    this.folder = None;
    // Forty places of 50 kB, of which some grow.
    for place in 0..40_usize {
        let (at, changed) = (place * 5_000_000 + 123, noise(50_000, 1000 + place as u64));
        let until = at + if place % 4 == 0 { 49_000 } else { 50_000 };
        artefact.splice(at..until, changed);
    }
    let manifest = handout.release("os/generic/1.1.0", &artefact)?;
    let before = this.bring("os/generic/1.0.0").await?.spent;
    let brought = this.bring("os/generic/1.1.0").await?;
    assert_eq!(brought.stage, Stage::Held);
    assert_eq!(this.held("os/generic/1.1.0")?, artefact);
    let (cost, spent) = (announced(&brought)?.cost_bytes, brought.spent - before);
    println!(
        "{} bytes in the archive, {cost} announced, {spent} on the wire, {} of them chunks and index",
        manifest.archive.bytes,
        handout.sent()
    );
    let index = |manifest: &Manifest| -> anyhow::Result<Index> {
        let archive = fs::read(handout.manager.folder.object(&manifest.archive.sha256))?;
        let length = usize::try_from(manifest.archive.index_bytes)?;
        check_index(manifest, &archive[..length]).map_err(anyhow::Error::msg)
    };
    let new = index(&manifest)?.beyond(&index(&first)?).context("both are cut alike")?;
    let said = manifest.archive.index_bytes + new;
    ensure!(said.abs_diff(spent) * 50 <= spent, "the release manager is told {said}, and {spent} travelled");
    ensure!(spent * 20 <= manifest.archive.bytes, "more than 5 % travelled");
    ensure!(cost.abs_diff(spent) * 50 <= spent, "the announcement is off by more than 2 %");
    ensure!(spent >= handout.sent(), "less was counted than was sent");
    Ok(())
}

#[tokio::test]
async fn a_box_spends_no_more_than_it_may() -> anyhow::Result<()> {
    let (_place, handout, mut this) = world().await?;
    let manifest = handout.release("os/generic/1.0.0", &noise(2_000_000, 1))?;
    this.settings.allowance.month_bytes = Some(1_000_000);
    let brought = this.bring("os/generic/1.0.0").await?;
    assert_eq!(refused(&brought)?, ReleaseRefusal::Budget);
    assert_eq!(handout.sent(), manifest.archive.index_bytes, "only the index came");
    this.settings.allowance.month_bytes = Some(3_000_000);
    assert_eq!(this.bring("os/generic/1.0.0").await?.stage, Stage::Held);
    handout.release("os/generic/1.1.0", &noise(2_000_000, 2))?;
    assert_eq!(
        refused(&this.bring("os/generic/1.1.0").await?)?,
        ReleaseRefusal::Budget,
        "what was spent counts"
    );
    // A box that fetches nothing whole.
    this.settings.allowance.month_bytes = None;
    this.settings.allowance.never_whole = true;
    assert_eq!(refused(&this.bring("os/generic/1.1.0").await?)?, ReleaseRefusal::Budget);
    let mut changed = noise(2_000_000, 1);
    changed.splice(1_000_000..1_000_000, noise(1000, 3));
    handout.release("os/generic/1.2.0", &changed)?;
    assert_eq!(this.bring("os/generic/1.2.0").await?.stage, Stage::Held, "a small part may come");
    Ok(())
}

#[tokio::test]
async fn a_transfer_keeps_to_its_pace() -> anyhow::Result<()> {
    let (_place, handout, mut this) = world().await?;
    handout.release("os/generic/1.0.0", &noise(600_000, 1))?;
    this.settings.bytes_per_s = Some(200_000);
    let begun = Instant::now();
    assert_eq!(this.bring("os/generic/1.0.0").await?.stage, Stage::Held);
    let took = begun.elapsed();
    ensure!(took > Duration::from_millis(2700), "{took:?}");
    Ok(())
}

#[tokio::test]
async fn a_transfer_that_is_broken_off_goes_on_where_it_was_also_the_second_time() -> anyhow::Result<()> {
    let (_place, handout, this) = world().await?;
    let artefact = noise(3_000_000, 1);
    let manifest = handout.release("os/generic/1.0.0", &artefact)?;
    for after in [700_000, 1_600_000] {
        handout.break_off(after);
        let brought = this.bring("os/generic/1.0.0").await?;
        ensure!(
            matches!(brought.stage, Stage::Waiting(_) | Stage::Held),
            "after {after} bytes: {:?}",
            brought.stage
        );
    }
    assert_eq!(this.bring("os/generic/1.0.0").await?.stage, Stage::Held);
    assert_eq!(this.held("os/generic/1.0.0")?, artefact);
    // A chunk has 128 KiB at most, and what broke off was on its way.
    let most = manifest.archive.bytes + 2 * (128 + 64) * 1024;
    ensure!(handout.sent() <= most, "{} bytes were sent of {}", handout.sent(), manifest.archive.bytes);
    Ok(())
}

#[tokio::test]
async fn of_two_releases_that_are_wanted_neither_loses_what_has_come_to_the_other() -> anyhow::Result<()> {
    let (_place, handout, this) = world().await?;
    let wanted = ["os/generic/1.0.0", "os/other/1.0.0"];
    let mut bytes = 0;
    for (seed, name) in wanted.iter().enumerate() {
        bytes += handout.release(name, &noise(3_000_000, seed as u64))?.archive.bytes;
    }
    handout.dawdle(Some(Duration::from_millis(1)));
    for name in wanted {
        let before = handout.sent();
        // The box is switched off in the middle.
        let middle = until("the middle of it", SOON, || async {
            Ok((handout.sent() - before > 1_500_000).then_some(()))
        });
        tokio::select! {
            brought = this.bring_of(name, &wanted) => anyhow::bail!("it has ended before: {:?}", brought?.stage),
            middle = middle => middle?,
        }
    }
    handout.dawdle(None);
    for name in wanted {
        assert_eq!(this.bring_of(name, &wanted).await?.stage, Stage::Held);
    }
    // A range of 1 MiB at most was on its way at each end, and may all have been sent.
    let most = bytes + 2 * (1024 + 128) * 1024;
    ensure!(handout.sent() <= most, "{} bytes were sent of {bytes}", handout.sent());
    Ok(())
}

#[tokio::test]
async fn the_metadata_of_a_thousand_releases_costs_a_box_little() -> anyhow::Result<()> {
    let (place, handout, this) = world().await?;
    handout.release("models/series-0/1.0.0", &noise(10_000, 1))?;
    handout.manager.name_again(1000)?;
    let wanted = "models/series-1/1.0.0";
    handout.release(wanted, &noise(10_000, 1))?;
    assert_eq!(this.bring(wanted).await?.stage, Stage::Held);
    // Another box: beside the artefact it spends what metadata costs, and once it holds the artefact nothing else.
    let other = Bringer::new(&place.path().join("other"), &handout)?;
    let first = other.bring(wanted).await?;
    let metadata = first.spent - announced(&first)?.cost_bytes.min(first.spent);
    let begun = Instant::now();
    let again = other.bring(wanted).await?;
    let took = begun.elapsed();
    println!(
        "first: about {metadata} bytes beside the artefact; again: {} bytes, {took:?}",
        again.spent - first.spent
    );
    ensure!(metadata < 100_000, "{metadata} bytes of metadata");
    ensure!(
        again.spent - first.spent < 20_000,
        "{} bytes to hear that nothing is new",
        again.spent - first.spent
    );
    Ok(())
}
