//! The commands about releases that the control plane hands out, and the channels that say who gets which.

use super::proof::proven;
use super::{Printer, query};
use crate::arguments::{Channel, Channels, Published};
use crate::table::harmless;
use noderr_cli::Client;
use noderr_protocol::release::{ReleaseName, Series};
use serde_json::{Value, json};

pub(crate) async fn published(client: &Client, printer: &Printer, command: Published) -> anyhow::Result<()> {
    match command {
        Published::List { kind, name, limit } => {
            let path = format!("/releases{}", query(&[("kind", kind), ("name", name)]));
            printer.list(client, &path, (limit, 100), &RELEASES).await
        }
        Published::Show { release } => {
            let release: ReleaseName = release.parse()?;
            printer.fields(&client.get(&format!("/releases/{release}")).await?)
        }
    }
}

pub(crate) async fn channels(client: &Client, printer: &Printer, command: Channels) -> anyhow::Result<()> {
    match command {
        Channels::List { limit } => printer.list(client, "/channels", (limit, 100), &CHANNELS).await,
        Channels::History { limit } => printer.list(client, "/deployments", (limit, 50), &DEPLOYMENTS).await,
        Channels::Activate { release, channel } => {
            let release: ReleaseName = release.parse()?;
            let mut body = named(&release.series, &channel);
            body["version"] = release.version.to_string().into();
            let answer = proven(client, async || client.post("/channels/activate", &body).await).await?;
            body["cautions"] = answer["cautions"].clone();
            for caution in answer["cautions"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                eprintln!("take care: {}", harmless(caution));
            }
            printer.done(&body, &format!("{release} is what {} should hold", everybody(&channel)))
        }
        Channels::Deactivate { series, channel } => {
            if let Ok(release) = series.parse::<ReleaseName>() {
                anyhow::bail!("name what is released without its version: {}", release.series);
            }
            let series: Series = series.parse()?;
            let body = named(&series, &channel);
            proven(client, async || client.post("/channels/deactivate", &body).await).await?;
            let whose = everybody(&channel);
            let said = format!(
                "the channel of {whose} has no {series} any more; these get what another channel has that fits them, or need hold none"
            );
            printer.done(&body, &said)
        }
    }
}

fn named(series: &Series, channel: &Channel) -> Value {
    json!({
        "kind": series.kind.name(),
        "name": series.name.as_str(),
        "tier": channel.tier,
        "hardware": channel.hardware,
    })
}

fn everybody(Channel { tier, hardware }: &Channel) -> String {
    let tier = if tier == "all" { String::new() } else { format!(" of the tier {tier}") };
    let hardware = if hardware == "any" { String::new() } else { format!(" on {hardware}") };
    format!("nodes{tier}{hardware}")
}

const RELEASES: [(&str, &str); 9] = [
    ("kind", "kind"),
    ("name", "name"),
    ("version", "version"),
    ("bytes", "bytes"),
    ("on the way", "archive_bytes"),
    ("as an update", "update_bytes"),
    ("published", "published_at"),
    ("by", "published_by"),
    ("withdrawn", "withdrawn_at"),
];

const CHANNELS: [(&str, &str); 6] = [
    ("kind", "kind"),
    ("name", "name"),
    ("tier", "tier"),
    ("hardware", "hardware"),
    ("version", "version"),
    ("since", "changed_at"),
];

const DEPLOYMENTS: [(&str, &str); 8] = [
    ("kind", "kind"),
    ("name", "name"),
    ("tier", "tier"),
    ("hardware", "hardware"),
    ("version", "version"),
    ("activated", "activated_at"),
    ("by", "activated_by"),
    ("ended", "ended_at"),
];
