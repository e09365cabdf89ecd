//! Activating and deactivating releases.

use super::cautions::cautions;
use super::db::{self, Candidate, Channel};
use super::terms::{ARCHIVE_REMOVED, NO_CHANNEL, NOT_FOR_CHANNEL, WITHDRAWN};
use crate::releases::{WRITE_RELEASES, hold_supply, tell, vouch_for_channels};
use crate::state::Supply;
use noderr_fleet::nodes::renew_documents;
use noderr_kernel::{Act, Problem};
use noderr_protocol::release::{ALL_TIERS, ANY_HARDWARE, ReleaseKind, Tier, Word};
use serde_json::json;
use sqlx::PgConnection;
use std::sync::Arc;

/// Gives a channel a release; the boxes that it is for learn of it within seconds. Returns why boxes may refuse it, a sentence each.
pub(super) async fn activate(
    supply: &Arc<Supply>,
    act: &mut Act,
    channel: &Channel,
    version: &str,
) -> Result<Vec<String>, Problem> {
    act.require(&WRITE_RELEASES)?;
    act.require_fresh_proof()?;
    check(channel)?;
    // Nobody withdraws or removes meanwhile what is activated.
    hold_supply(act).await?;
    let found = db::candidate(act, &channel.kind, &channel.name, version).await?;
    let release = found.ok_or_else(|| Problem::not_found("release"))?;
    fits(channel, &release)?;
    let cautions = cautions(act, channel, &release).await?;
    change(supply, act, channel, Some(&release)).await?;
    act.record("channel.activate", subject(channel), &json!({ "version": version })).await?;
    Ok(cautions)
}

/// Takes a channel's release away: its boxes need not hold it any more.
pub(super) async fn deactivate(
    supply: &Arc<Supply>,
    act: &mut Act,
    channel: &Channel,
) -> Result<(), Problem> {
    act.require(&WRITE_RELEASES)?;
    act.require_fresh_proof()?;
    check(channel)?;
    hold_supply(act).await?;
    if !change(supply, act, channel, None).await? {
        return Err(Problem::not_found("release in exactly this channel"));
    }
    act.record("channel.deactivate", subject(channel), &json!({})).await?;
    Ok(())
}

/// Whether anything has changed.
async fn change(
    supply: &Arc<Supply>,
    act: &mut Act,
    channel: &Channel,
    release: Option<&Candidate>,
) -> Result<bool, Problem> {
    let by = act.who().actor();
    let changed = set(act, channel, release.map(|release| release.id), &by).await?;
    if changed {
        vouch_for_channels(supply, act).await?;
    }
    tell(act).await?;
    Ok(changed)
}

async fn set(
    connection: &mut PgConnection,
    channel: &Channel,
    release: Option<uuid::Uuid>,
    by: &str,
) -> sqlx::Result<bool> {
    let (id, changed) = db::set(connection, channel, release).await?;
    if changed {
        db::note(connection, id, release, by).await?;
        let nodes = db::nodes(connection, channel).await?;
        renew_documents(connection, &nodes).await?;
    }
    Ok(changed)
}

/// Ends what channels have of releases that were withdrawn; returns those channels.
pub(crate) async fn end_withdrawn(connection: &mut PgConnection, by: &str) -> sqlx::Result<Vec<String>> {
    let withdrawn = db::withdrawn(connection).await?;
    for channel in &withdrawn {
        set(connection, channel, None, by).await?;
    }
    Ok(withdrawn.iter().map(subject).collect())
}

fn subject(channel: &Channel) -> String {
    format!("{}/{} {} {}", channel.kind, channel.name, channel.tier, channel.hardware)
}

/// Whether there can be such a channel.
fn check(channel: &Channel) -> Result<(), Problem> {
    let wrong = |why: String| Err(NO_CHANNEL.because(why));
    if let Err(error) = ReleaseKind::named(&channel.kind) {
        return wrong(error.to_string());
    }
    for word in [&channel.name, &channel.hardware] {
        if let Err(error) = word.parse::<Word>() {
            return wrong(error.to_string());
        }
    }
    match Tier::named(&channel.tier) {
        Err(error) if channel.tier != ALL_TIERS => wrong(format!("{error}; or {ALL_TIERS}")),
        _ => Ok(()),
    }
}

/// Whether a release is meant for everybody that a channel is for.
fn fits(channel: &Channel, release: &Candidate) -> Result<(), Problem> {
    if release.withdrawn {
        return Err(WITHDRAWN.into());
    }
    if release.removed {
        return Err(ARCHIVE_REMOVED.because(
            "the archive was removed, because nobody used it: `noderrctl release publish --archives FOLDER` brings it back",
        ));
    }
    for (is_everybody, theirs, only, what) in [
        (channel.tier == ALL_TIERS, &channel.tier, &release.tiers, "--tier"),
        (channel.hardware == ANY_HARDWARE, &channel.hardware, &release.hardware, "--hardware"),
    ] {
        if !only.is_empty() && (is_everybody || !only.contains(theirs)) {
            return Err(
                NOT_FOR_CHANNEL.because(format!("it is for {} alone; name one with {what}", only.join(", ")))
            );
        }
    }
    Ok(())
}
