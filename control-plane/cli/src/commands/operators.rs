//! The commands about operators.

use super::named::{self, OPERATOR};
use super::proof::proven;
use super::{Printer, query};
use crate::arguments::Operators;
use noderr_cli::Client;
use serde_json::json;

pub(crate) async fn run(client: &Client, printer: &Printer, command: Operators) -> anyhow::Result<()> {
    match command {
        Operators::List { state, limit } => {
            let columns = [
                ("id", "id"),
                ("name", "name"),
                ("email", "email"),
                ("state", "state"),
                ("created", "created_at"),
            ];
            let path = format!("/operators{}", query(&[("state", state)]));
            printer.list(client, &path, (limit, 100), &columns).await?;
        }
        Operators::Add { name, email } => {
            printer.fields(&client.post("/operators", &json!({ "name": name, "email": email })).await?)?;
        }
        Operators::Show { operator } => {
            let id = resolve(client, &operator).await?;
            printer.fields(&client.get(&format!("/operators/{id}")).await?)?;
        }
        Operators::Approve { operator } => {
            let id = resolve(client, &operator).await?;
            let path = format!("/operators/{id}/approve");
            printer.fields(&proven(client, async || client.post(&path, &json!({})).await).await?)?;
        }
        Operators::Suspend { operator } => {
            let id = resolve(client, &operator).await?;
            let path = format!("/operators/{id}/suspend");
            printer.fields(&proven(client, async || client.post(&path, &json!({})).await).await?)?;
        }
    }
    Ok(())
}

/// Finds the id of an operator, where naming one is optional.
pub(super) async fn resolve_any(client: &Client, named: Option<String>) -> anyhow::Result<Option<String>> {
    match named {
        Some(named) => resolve(client, &named).await.map(Some),
        None => Ok(None),
    }
}

/// Finds the id of an operator.
pub(super) async fn resolve(client: &Client, named: &str) -> anyhow::Result<String> {
    named::resolve(client, &OPERATOR, "/operators", named).await
}
