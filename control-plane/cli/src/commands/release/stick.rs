//! Laying on a stick what boxes without a network need.

use super::super::Printer;
use super::recover::metadata;
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use noderr_cli::Client;
use noderr_protocol::release::Beacon;
use noderr_releases::{OnlineFiles, ReleaseFolder};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

pub(super) async fn lay(
    client: &Client,
    printer: &Printer,
    releases: &ReleaseFolder,
    stick: &Path,
) -> anyhow::Result<()> {
    let there = fs::metadata(stick).ok().filter(Metadata::is_dir);
    let there =
        there.with_context(|| format!("there is no folder {}: is the stick mounted?", stick.display()))?;
    let above = fs::metadata(stick.join(".."))?;
    if above.dev() == there.dev() {
        eprintln!(
            "take care: nothing is mounted at {} itself, and boxes find releases at the top of a stick alone",
            stick.display()
        );
    }
    let timestamp = client.handed_out(&metadata("timestamp", 0)).await?;
    let snapshot = OnlineFiles::snapshot_version(&timestamp)?;
    let online = OnlineFiles {
        snapshot: client.handed_out(&metadata("snapshot", snapshot)).await?,
        beacon: client.handed_out("/releases/beacon.json").await?,
        timestamp,
    };
    let beacon = Beacon::read(&online.beacon).context("the beacon cannot be read")?;
    ensure!(
        !beacon.channels.is_empty(),
        "no channel has a release: see `noderrctl channels activate`, for a stick holds what boxes should hold"
    );
    let names = beacon.channels.iter().map(|active| active.release.parse());
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let place = ReleaseFolder::new(stick);
    let until = releases.lay_on_stick(&place, &online, &names, Timestamp::now())?;
    let released: BTreeSet<_> = names.iter().map(ToString::to_string).collect();
    let listed = Vec::from_iter(released.clone()).join(", ");
    let said = format!("{} holds {listed}; boxes take it until {until}", stick.display());
    printer.done(&json!({ "releases": released, "until": until.to_string() }), &said)
}
