//! The commands about operators.

use super::proof::proven;
use super::{Printer, query};
use crate::arguments::Operators;
use anyhow::bail;
use noderr_cli::Client;
use serde_json::{Value, json};

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
            printer.fields(&client.post("/operators", &json!({ "name": name, "email": email })).await?);
        }
        Operators::Show { operator } => {
            let id = resolve(client, &operator).await?;
            printer.fields(&client.get(&format!("/operators/{id}")).await?);
        }
        Operators::Approve { operator } => {
            let id = resolve(client, &operator).await?;
            let path = format!("/operators/{id}/approve");
            printer.fields(&proven(client, async || client.post(&path, &json!({})).await).await?);
        }
        Operators::Suspend { operator } => {
            let id = resolve(client, &operator).await?;
            let path = format!("/operators/{id}/suspend");
            printer.fields(&proven(client, async || client.post(&path, &json!({})).await).await?);
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

/// Finds the id of an operator. A full id is taken as it is; the beginning of an id, an e-mail address or a
/// name must fit exactly one operator.
pub(super) async fn resolve(client: &Client, named: &str) -> anyhow::Result<String> {
    if named.len() == 36 && named.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return Ok(named.to_owned());
    }
    let operators = client.list("/operators", 100_000).await?;
    let fits = |operator: &Value| {
        let field = |name: &str| operator.get(name).and_then(Value::as_str).unwrap_or_default();
        field("email").eq_ignore_ascii_case(named)
            || field("name") == named
            || (named.len() >= 4 && field("id").starts_with(named))
    };
    let fitting: Vec<_> = operators.iter().filter(|operator| fits(operator)).collect();
    match &fitting[..] {
        [operator] => Ok(operator.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()),
        [] => bail!("no operator is called `{named}`; see `noderrctl operators list`"),
        several => bail!("`{named}` fits {} operators; give more of the id", several.len()),
    }
}
