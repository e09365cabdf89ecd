//! Releases, from the release manager's folder to the boxes.

mod attacks;
mod bucket;
mod cautions;
mod costs;
mod damage;
mod junk;
mod kills;
mod offline;
mod online_keys;
mod path;
mod plane;
mod planted;
mod power;
mod recover;
mod retention;
mod stick;
mod uploads;
mod worn;

use crate::lab;
use anyhow::bail;
use noderr_hil::{Bringer, Brought, Handout, Lab, LabOptions, Publisher, ReleaseManager};
use noderr_protocol::release::ReleaseRefusal;
use noderr_update::Stage;
use tempfile::TempDir;

/// A server and a box.
async fn world() -> anyhow::Result<(TempDir, Handout, Bringer)> {
    let place = tempfile::tempdir()?;
    let handout = Handout::start(&place.path().join("server")).await?;
    let this = Bringer::new(&place.path().join("box"), &handout)?;
    Ok((place, handout, this))
}

/// Why the box does not take it.
fn refused(brought: &Brought) -> anyhow::Result<ReleaseRefusal> {
    match &brought.stage {
        Stage::Refused(refused) => Ok(refused.why),
        other => bail!("it is not refused: {other:?}"),
    }
}

/// A lab whose control plane has a root of releases.
struct Network {
    manager: ReleaseManager,
    publisher: Publisher,
    // Dropped last.
    lab: Lab,
    _folder: TempDir,
}

impl Network {
    async fn start(options: LabOptions) -> anyhow::Result<Self> {
        let (folder, lab) = lab(options).await?;
        let place = folder.path().join("manager");
        std::fs::create_dir_all(&place)?;
        let manager = ReleaseManager::for_plane(&place, &lab.admin).await?;
        let publisher = Publisher::new(lab.control.api_url(), lab.control.root_file(), &lab.admin).await?;
        manager.publish(&publisher).await?;
        Ok(Self { manager, publisher, lab, _folder: folder })
    }
}
