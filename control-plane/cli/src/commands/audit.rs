//! The commands about the audit log.

use super::{Printer, query};
use crate::arguments::Audit;
use anyhow::bail;
use noderr_cli::Client;

pub(crate) async fn run(client: &Client, printer: &Printer, command: Audit) -> anyhow::Result<()> {
    match command {
        Audit::List { subject, limit } => {
            let columns = [
                ("seq", "seq"),
                ("at", "at"),
                ("actor", "actor"),
                ("called", "actor_name"),
                ("action", "action"),
                ("subject", "subject"),
                ("detail", "detail"),
            ];
            let subject = match subject {
                Some(named) => Some(subject_of(client, named).await?),
                None => None,
            };
            let path = format!("/audit{}", query(&[("subject", subject)]));
            printer.list(client, &path, (limit, 50), &columns).await?;
        }
        Audit::Check => {
            let check = client.get("/audit/check").await?;
            printer.fields(&check)?;
            if check.get("intact").and_then(serde_json::Value::as_bool) != Some(true) {
                bail!("the audit log is not intact: an entry was changed or removed");
            }
        }
    }
    Ok(())
}

/// The subject of entries: whole ids are taken as they are, everything else names a node.
async fn subject_of(client: &Client, named: String) -> anyhow::Result<String> {
    let is_id = named.len() >= 36 || named.contains('@');
    if is_id { Ok(named) } else { super::nodes::resolve(client, &named).await }
}
