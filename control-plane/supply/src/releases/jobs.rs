//! The jobs of releases: the online roles are renewed long before they end, and archives that nobody needs are removed.

use super::db;
use super::publish::renew;
use super::unneeded;
use crate::state::Supply;
use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use noderr_kernel::Job;
use noderr_releases::{Metadata as _, SignedMetadata, Timestamp};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// A timestamp with less than this left is renewed: of seven days, one has gone.
const LEFT: Duration = Duration::from_secs(6 * 86_400);

pub(super) struct RenewOnline;

#[async_trait]
impl Job<Arc<Supply>> for RenewOnline {
    fn name(&self) -> &'static str {
        "renew-online-roles"
    }

    fn every_s(&self) -> i32 {
        600
    }

    async fn run(&self, supply: &Arc<Supply>) -> anyhow::Result<String> {
        let mut tx = supply.kernel.database.begin().await?;
        let Some(newest) = db::timestamp(&mut tx).await? else {
            return Ok("nothing is published".to_owned());
        };
        let newest: SignedMetadata<Timestamp> =
            serde_json::from_slice(&newest).context("the timestamp is damaged")?;
        let ends = newest.says().expires();
        if ends > jiff::Timestamp::now() + LEFT {
            return Ok(format!("good until {ends}"));
        }
        let renewed = renew(supply, &mut tx).await;
        renewed.map_err(|problem| anyhow!("the online roles cannot be renewed: {problem}"))?;
        tx.commit().await?;
        Ok("renewed".to_owned())
    }
}

/// How long the removal of one archive may take: less than the database lets a transaction wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an archive may lie here that no publication names.
const UNNAMED: Duration = Duration::from_secs(86_400);

pub(super) struct ForgetArchives;

#[async_trait]
impl Job<Arc<Supply>> for ForgetArchives {
    fn name(&self) -> &'static str {
        "forget-archives"
    }

    fn every_s(&self) -> i32 {
        3600
    }

    async fn run(&self, supply: &Arc<Supply>) -> anyhow::Result<String> {
        // First what no store of archives can hold up.
        let old = unneeded::forget_online(&mut *supply.kernel.database.system().acquire().await?).await?;
        let uploads = supply.uploads.clone();
        let uploads = tokio::task::spawn_blocking(move || uploads.forget(SystemTime::now())).await??;
        // One that cannot be removed keeps none of the others.
        let (mut gone, mut stay) = (0, None);
        let mut count = |removed: anyhow::Result<bool>| match removed {
            Ok(removed) => gone += usize::from(removed),
            Err(error) => stay = Some(error),
        };
        for archive in needless(supply).await? {
            count(remove_needless(supply, &archive).await);
        }
        // Uploaded, and never published.
        let before = SystemTime::now().checked_sub(UNNAMED).unwrap_or(SystemTime::UNIX_EPOCH);
        let stored = supply.objects.stored_before(before).await?;
        for archive in stored.iter().filter_map(|name| hex::decode(name).ok()) {
            count(remove_nobodys(supply, &archive).await);
        }
        if let Some(error) = stay {
            return Err(error.context("an archive that nobody needs cannot be removed"));
        }
        Ok(format!("{gone} archives, {uploads} uploads and {old} old signatures are gone"))
    }
}

async fn needless(supply: &Supply) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut tx = supply.kernel.database.begin().await?;
    Ok(unneeded::archives(&mut tx, supply.settings.keep).await?)
}

/// Removes an archive that nobody needs, unless somebody needs the archive by now. One archive at a time holds what publications and
/// channels wait for, and for a while only.
async fn remove_needless(supply: &Supply, archive: &[u8]) -> anyhow::Result<bool> {
    let mut tx = supply.kernel.database.begin().await?;
    db::hold_supply(&mut tx).await?;
    if !unneeded::archives(&mut tx, supply.settings.keep).await?.iter().any(|needless| needless == archive) {
        return Ok(false);
    }
    // Removed before it is marked: what a crash leaves is removed again.
    remove(supply, archive).await?;
    unneeded::mark_removed(&mut tx, archive).await?;
    tx.commit().await?;
    Ok(true)
}

/// Removes an archive that no publication has ever named.
async fn remove_nobodys(supply: &Supply, archive: &[u8]) -> anyhow::Result<bool> {
    let mut tx = supply.kernel.database.begin().await?;
    if unneeded::is_published(&mut tx, archive).await? {
        return Ok(false);
    }
    db::hold_supply(&mut tx).await?;
    if unneeded::is_published(&mut tx, archive).await? {
        return Ok(false);
    }
    remove(supply, archive).await?;
    tx.commit().await?;
    Ok(true)
}

async fn remove(supply: &Supply, archive: &[u8]) -> anyhow::Result<()> {
    let removed = timeout(PATIENCE, supply.objects.remove(&hex::encode(archive))).await;
    Ok(removed.context("the store of archives does not answer")??)
}
