//! Operators.

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
            printer.rows(client.list(&path, limit).await?, &columns);
        }
        Operators::Add { name, email } => {
            printer.fields(&client.post("/operators", &json!({ "name": name, "email": email })).await?);
        }
        Operators::Show { id } => printer.fields(&client.get(&format!("/operators/{id}")).await?),
        Operators::Approve { id } => {
            printer.fields(&client.post(&format!("/operators/{id}/approve"), &json!({})).await?);
        }
        Operators::Suspend { id } => {
            printer.fields(&client.post(&format!("/operators/{id}/suspend"), &json!({})).await?);
        }
    }
    Ok(())
}
