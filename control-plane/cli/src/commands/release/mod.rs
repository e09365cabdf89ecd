//! The commands about a folder of releases: most work in the folder and without a network; publishing, the stick and the online key ask
//! the control plane.

mod compare;
mod ends;
mod look;
mod prepare;
mod publish;
mod recover;
mod seen;
mod sign;
mod stick;
mod waiting;

use super::Printer;
use super::folder::open;
use super::key_files::write_public;
use super::proof::proven;
use crate::arguments::{AtControlPlane, InFolder};
use noderr_cli::Client;
use serde_json::json;

pub(super) use prepare::prepare;
pub(super) use seen::copy_seen;

/// Runs what needs no network.
pub(crate) fn run(printer: &Printer, command: InFolder) -> anyhow::Result<()> {
    match command {
        InFolder::Init(init) => prepare::init(printer, &init),
        InFolder::Add(add) => prepare::add(printer, &open(&add.folder)?, &add),
        InFolder::Withdraw { folder, release } => prepare::withdraw(printer, &open(&folder)?, &release),
        InFolder::Builders { folder, add, remove } if add.is_empty() && remove.is_empty() => {
            look::builders(printer, &open(&folder)?)
        }
        InFolder::Builders { folder, add, remove } => {
            prepare::builders(printer, &open(&folder)?, &add, &remove)
        }
        InFolder::Renew { folder, days } => prepare::renew(printer, &open(&folder)?, days),
        InFolder::Sign { folder, key, yes } => sign::sign(printer, &open(&folder)?, &key, yes),
        InFolder::Discard { folder, what } => prepare::discard(printer, &open(&folder)?, &what),
        InFolder::Show { folder } => look::show(printer, &open(&folder)?),
        InFolder::List { folder } => look::list(printer, &open(&folder)?),
        InFolder::Verify { folder } => look::verify(printer, &open(&folder)?),
        InFolder::Unpack { folder, release, file } => look::unpack(printer, &open(&folder)?, &release, &file),
    }
}

/// Runs what asks the control plane.
pub(crate) async fn ask(client: &Client, printer: &Printer, command: AtControlPlane) -> anyhow::Result<()> {
    match command {
        AtControlPlane::Publish { folder, archives } => {
            publish::publish(client, printer, &open(&folder)?, archives).await
        }
        AtControlPlane::Recover { folder } => recover::recover(client, printer, &folder).await,
        AtControlPlane::Compare { folder } => compare::compare(client, printer, &open(&folder)?).await,
        AtControlPlane::Stick { folder, stick } => stick::lay(client, printer, &open(&folder)?, &stick).await,
        AtControlPlane::OnlineKey { file, next } => {
            let key = if next {
                proven(client, async || client.post("/release-online-key", &json!({})).await).await?
            } else {
                client.get("/release-online-key").await?
            };
            write_public(&file, &serde_json::to_vec_pretty(&key["key"])?)?;
            let id = key["id"].as_str().unwrap_or_default();
            let which = if next { "next key" } else { "key" };
            printer.done(&key, &format!("{} is the control plane's {which}, {id}", file.display()))
        }
    }
}
