//! The commands about work that was given up.

use super::Printer;
use super::named::{self, PIECE};
use super::proof::proven;
use crate::arguments::Work;
use noderr_cli::Client;
use serde_json::json;

pub(crate) async fn run(client: &Client, printer: &Printer, command: Work) -> anyhow::Result<()> {
    match command {
        Work::List { limit } => printer.list(client, "/work", (limit, 50), &COLUMNS).await?,
        Work::Retry { id } => {
            let id = named::resolve(client, &PIECE, "/work", &id).await?;
            let answer = client.post(&format!("/work/{id}/retry"), &json!({})).await?;
            printer.done(&answer, "the work will be tried again")?;
        }
        Work::Forget { id } => {
            let id = named::resolve(client, &PIECE, "/work", &id).await?;
            let path = format!("/work/{id}");
            let answer = proven(client, async || client.delete(&path).await).await?;
            printer.done(&answer, "forgotten")?;
        }
    }
    Ok(())
}

const COLUMNS: [(&str, &str); 5] = [
    ("work", "id"),
    ("queue", "queue"),
    ("given up", "dead_at"),
    ("attempts", "attempts"),
    ("why", "last_error"),
];
