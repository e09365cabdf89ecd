//! Power cuts and disks that fail, at every request that a box makes of its disk while a release comes: from a server, from a stick,
//! in the place of another, and with more bytes than are synced at once.

use anyhow::{Context as _, ensure};
use noderr_hil::forgetful::{Fault, ForgetfulDisk};
use noderr_hil::manager::noise;
use noderr_hil::{Bringer, Handout, scratch};
use noderr_update::{Stage, StickFolder, StoreLimits, store_in};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// A box on a disk that forgets, to which releases come one after the other; the last one while the disk fails.
struct Trial {
    handout: Handout,
    disk_mib: usize,
    releases: Vec<(String, Vec<u8>)>,
    stick: Option<PathBuf>,
    versions: usize,
    _place: tempfile::TempDir,
}

impl Trial {
    async fn new(artefacts: &[Vec<u8>]) -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        let handout = Handout::start(place.path()).await?;
        let mut releases = Vec::new();
        for (number, artefact) in artefacts.iter().enumerate() {
            let release = format!("os/generic/1.{number}.0");
            handout.release(&release, artefact)?;
            releases.push((release, artefact.clone()));
        }
        Ok(Self { handout, disk_mib: 32, releases, stick: None, versions: 3, _place: place })
    }

    fn bringer(&self, disk: &Path) -> anyhow::Result<Bringer> {
        let mut this = Bringer::new(&disk.join("data"), &self.handout)?;
        this.settings.store = StoreLimits { bytes: 8 << 30, versions: self.versions };
        this.settings.stick = self.stick.clone().map(StickFolder::new);
        Ok(this)
    }

    /// Brings the last release onto a disk that may fail for good from some request on, and then loses what was not synced. Returns
    /// how many requests that took.
    async fn bring_and_lose_power(&self, fault: Option<Fault>, seed: u64) -> anyhow::Result<u64> {
        let place = scratch()?;
        let disk = ForgetfulDisk::mount(place.path(), self.disk_mib)?;
        let (last, before) = self.releases.split_last().context("no release")?;
        let this = self.bringer(place.path())?;
        for (release, _) in before {
            ensure!(
                this.bring(release).await?.stage == Stage::Held,
                "it does not come to a disk that is whole"
            );
        }
        let begun = disk.requests();
        disk.plan(fault);
        let stage = this.bring(&last.0).await?.stage;
        let requests = disk.requests() - begun;
        disk.cut(seed);
        disk.plan(None);
        drop(this);

        let this = self.bringer(place.path())?;
        if fault.is_none() {
            ensure!(
                this.holds_alone(&last.0).await?,
                "what was held is not believed while nobody can be asked"
            );
        }
        let mut whole = 0;
        for (release, artefact) in &self.releases {
            // Whatever is there is whole, or is not opened.
            let is_there = store_in(&this.data, this.settings.store).stored_as(&release.parse()?).is_some();
            if let (true, Ok(bytes)) = (is_there, this.held(release)) {
                ensure!(bytes == *artefact, "something else was opened as {release}");
                whole += 1;
            } else if *release == last.0 {
                ensure!(fault.is_some() || stage != Stage::Held, "what was held is gone");
            } else {
                ensure!(self.versions < self.releases.len(), "{release} is gone without need");
            }
        }
        ensure!(whole > 0 || before.is_empty(), "the one is gone, and the other has not come");
        ensure!(this.bring(&last.0).await?.stage == Stage::Held, "it is stuck");
        ensure!(this.held(&last.0)? == last.1, "something else is held");
        Ok(requests)
    }

    /// Power cuts after all was well, and disks that fail from every `step`th request on.
    async fn run(&self, cuts: u64, step: usize) -> anyhow::Result<()> {
        let mut requests = 0;
        for seed in 0..cuts {
            let brought = self.bring_and_lose_power(None, seed).await;
            requests = brought.with_context(|| format!("seed {seed}"))?;
        }
        let errors = [Errno::IO, Errno::NOSPC, Errno::ROFS];
        for (number, after) in (0..requests).step_by(step).enumerate() {
            let error = errors[number % errors.len()];
            let fault = Fault { after, error, for_good: true };
            let brought = self.bring_and_lose_power(Some(fault), after).await;
            brought.with_context(|| format!("{error} from request {after} of {requests} on"))?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_release_comes_from_a_server() -> anyhow::Result<()> {
    Trial::new(&[noise(600_000, 1)]).await?.run(8, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_release_comes_from_a_stick() -> anyhow::Result<()> {
    let mut trial = Trial::new(&[noise(600_000, 1)]).await?;
    trial.stick = Some(trial.handout.manager.folder.root().to_owned());
    trial.run(4, 5).await?;
    ensure!(trial.handout.sent() == 0, "it came from the server");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_release_takes_the_place_of_another() -> anyhow::Result<()> {
    let mut trial = Trial::new(&[noise(600_000, 1), noise(600_000, 2)]).await?;
    trial.versions = 1;
    trial.run(4, 5).await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_release_comes_of_which_not_all_is_synced_at_once() -> anyhow::Result<()> {
    let mut trial = Trial::new(&[noise(20 << 20, 1)]).await?;
    trial.disk_mib = 64;
    trial.run(2, 160).await
}
