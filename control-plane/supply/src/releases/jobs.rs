//! The jobs of releases: the online roles are renewed long before they end, and archives that nobody needs are removed.

use super::db;
use super::publish::renew;
use super::unneeded;
use crate::state::Supply;
use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use noderr_kernel::Job;
use noderr_releases::{Draft, Metadata as _, Timestamp};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
        let newest: Draft<Timestamp> = serde_json::from_slice(&newest).context("the timestamp is damaged")?;
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
        let mut tx = supply.kernel.database.begin().await?;
        // Nobody publishes or activates what is being removed.
        db::hold_supply(&mut tx).await?;
        let archives = unneeded::archives(&mut tx, supply.settings.keep).await?;
        for archive in &archives {
            // Removed before it is marked: what a crash leaves is removed again.
            supply.objects.remove(&hex::encode(archive)).await?;
            unneeded::mark_removed(&mut tx, archive).await?;
        }
        // Uploaded, and never published.
        let before = SystemTime::now().checked_sub(UNNAMED).unwrap_or(SystemTime::UNIX_EPOCH);
        let stored = supply.objects.stored_before(before).await?;
        let stored: Vec<_> = stored.iter().filter_map(|name| hex::decode(name).ok()).collect();
        let nobodys = unneeded::never_published(&mut tx, &stored).await?;
        for archive in &nobodys {
            supply.objects.remove(&hex::encode(archive)).await?;
        }
        let old = unneeded::forget_online(&mut tx).await?;
        tx.commit().await?;
        let uploads = supply.uploads.clone();
        let uploads = tokio::task::spawn_blocking(move || uploads.forget(SystemTime::now())).await??;
        let gone = archives.len() + nobodys.len();
        Ok(format!("{gone} archives, {uploads} uploads and {old} old signatures are gone"))
    }
}
