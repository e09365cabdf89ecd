//! What whoever gives a channel a release should know: a box decides for itself, and refuses what the control plane may well offer.

use super::db::{Candidate, Channel};
use super::offered;
use noderr_kernel::Problem;
use noderr_protocol::release::{Manifest, Requirement};
use semver::Version;
use sqlx::PgConnection;

/// Why boxes may refuse a release in a channel, or not be told of it, a sentence each.
pub(super) async fn cautions(
    connection: &mut PgConnection,
    channel: &Channel,
    release: &Candidate,
) -> Result<Vec<String>, Problem> {
    let (epoch, mut said) = (release.security_epoch, Vec::new());
    if let Some(before) =
        offered::greatest_epoch(connection, channel).await?.filter(|before| before.epoch > epoch)
    {
        said.push(format!(
            "its security epoch is {epoch}, and that of version {}, which a channel has had, is {}: boxes that have held that \
             version refuse this one",
            before.version, before.epoch
        ));
    }
    for offered::Nearer { tier, hardware, version } in
        offered::nearer(connection, channel, release.id).await?
    {
        said.push(format!(
            "nodes of the channel {tier} {hardware} do not get it: that channel is more their own, and has version {version}"
        ));
    }
    let manifest = offered::manifest(connection, release.id).await?.unwrap_or_default();
    let manifest = Manifest::read(&manifest).map_err(|error| Problem::from(anyhow::Error::from(error)))?;
    for Requirement { series, at_least } in manifest.requires {
        let kind = series.kind.name();
        let versions = offered::versions_in_channels(connection, &kind, series.name.as_str()).await?;
        let is_enough =
            |version: &String| version.parse::<Version>().is_ok_and(|version| version >= at_least);
        if !versions.iter().any(is_enough) {
            said.push(format!(
                "it requires {series} in version {at_least} or later, and no channel has it: boxes refuse the one without the other"
            ));
        }
    }
    Ok(said)
}
