//! A folder beside what the control plane has published.

use super::super::Printer;
use super::publish::{same_network, same_way};
use noderr_cli::Client;
use noderr_releases::{ReleaseFolder, sha256};
use serde_json::{Value, json};

/// What a folder is, beside what is published.
pub(super) async fn compare(
    client: &Client,
    printer: &Printer,
    releases: &ReleaseFolder,
) -> anyhow::Result<()> {
    let there = client.get("/release-metadata").await?;
    same_network(client, releases, &there).await?;
    let rows = releases.offline_roles()?.into_iter().map(|role| row(releases, &role, &there));
    let rows = rows.collect::<anyhow::Result<_>>()?;
    printer.rows(
        rows,
        &[
            ("role", "role"),
            ("in the folder", "folder"),
            ("published", "published"),
            ("the folder is", "folder_is"),
        ],
    )?;
    same_way(releases, &there)
}

fn row(releases: &ReleaseFolder, role: &str, there: &Value) -> anyhow::Result<Value> {
    let (here, published) = (releases.newest_version(role)?, there["versions"][role].as_u64());
    let common = published.map(|published| releases.bytes(role, published)).transpose()?.flatten();
    let folder_is = match common {
        Some(common) if there["sha256"][role] != sha256(&common) => "another",
        _ if here < published => "older",
        _ if here > published => "newer",
        _ => "the same",
    };
    Ok(json!({ "role": role, "folder": here, "published": published, "folder_is": folder_is }))
}
