//! Nodes.

use super::{Printer, query};
use crate::arguments::Nodes;
use anyhow::bail;
use noderr_cli::Client;
use serde_json::{Value, json};

pub(crate) async fn run(client: &Client, printer: &Printer, command: Nodes) -> anyhow::Result<()> {
    match command {
        Nodes::List { online, operator, identity, revoked, limit } => {
            let text = |flag: Option<bool>| flag.map(|flag| flag.to_string());
            let wanted = [
                ("online", text(online)),
                ("operator", operator),
                ("identity", identity),
                ("revoked", text(revoked)),
            ];
            let path = format!("/nodes{}", query(&wanted));
            printer.rows(client.list(&path, limit).await?, &LIST);
        }
        Nodes::Add { operator, label } => {
            printer.fields(&client.post("/nodes", &json!({ "operator": operator, "label": label })).await?);
        }
        Nodes::Show { node } => {
            let id = resolve(client, &node).await?;
            printer.fields(&client.get(&format!("/nodes/{id}")).await?);
        }
        Nodes::InstallToken { node } => {
            let id = resolve(client, &node).await?;
            printer.fields(&client.post(&format!("/nodes/{id}/install-tokens"), &json!({})).await?);
        }
        Nodes::Pause { node } => desire(client, printer, &node, &json!({ "paused": true })).await?,
        Nodes::Resume { node } => desire(client, printer, &node, &json!({ "paused": false })).await?,
        Nodes::SampleEvery { node, seconds } => {
            desire(client, printer, &node, &json!({ "sample_every_s": seconds })).await?;
        }
        Nodes::Revoke { node, reason } => {
            let id = resolve(client, &node).await?;
            let shown = client.post(&format!("/nodes/{id}/revoke"), &json!({ "reason": reason })).await?;
            printer.done(&shown, &format!("revoked {id}"));
        }
        Nodes::Unbind { node } => {
            let id = resolve(client, &node).await?;
            let answer = client.post(&format!("/nodes/{id}/unbind"), &json!({})).await?;
            printer.done(&answer, &format!("unbound {id}; issue an install token for its new box"));
        }
        Nodes::Telemetry { node, limit } => {
            let id = resolve(client, &node).await?;
            printer.rows(client.list(&format!("/nodes/{id}/telemetry"), limit).await?, &TELEMETRY);
        }
        Nodes::Alerts { node, limit } => {
            let id = resolve(client, &node).await?;
            let columns = [("raised", "raised_at"), ("code", "code"), ("detail", "detail")];
            printer.rows(client.list(&format!("/nodes/{id}/alerts"), limit).await?, &columns);
        }
        Nodes::Lanes { node } => {
            let id = resolve(client, &node).await?;
            let lanes = client.get(&format!("/nodes/{id}/lanes")).await?;
            let columns =
                [("lane", "lane"), ("boot epoch", "epoch"), ("committed", "seq"), ("missing", "missing")];
            printer.rows(lanes.as_array().cloned().unwrap_or_default(), &columns);
        }
        Nodes::Attest { node } => {
            let id = resolve(client, &node).await?;
            let asked = client.post(&format!("/nodes/{id}/attestations"), &json!({})).await?;
            printer.done(&asked, &format!("asked; see `noderrctl nodes attestations {node}`"));
        }
        Nodes::Attestations { node, limit } => {
            let id = resolve(client, &node).await?;
            let columns = [
                ("requested", "requested_at"),
                ("by", "requested_by"),
                ("answered", "answered_at"),
                ("verdict", "verdict"),
                ("detail", "detail"),
                ("challenge", "challenge"),
            ];
            printer.rows(client.list(&format!("/nodes/{id}/attestations"), limit).await?, &columns);
        }
        Nodes::AcceptBaseline { node, challenge } => {
            let id = resolve(client, &node).await?;
            let accepted = json!({ "challenge": challenge });
            let answer = client.post(&format!("/nodes/{id}/baseline"), &accepted).await?;
            printer.done(&answer, "accepted");
        }
    }
    Ok(())
}

const LIST: [(&str, &str); 9] = [
    ("id", "id"),
    ("label", "label"),
    ("identity", "identity"),
    ("certified", "tpm_certified"),
    ("online", "online"),
    ("last seen", "last_seen_at"),
    ("attestation", "attestation"),
    ("failing", "failing"),
    ("revoked", "revoked_at"),
];

const TELEMETRY: [(&str, &str); 8] = [
    ("sampled", "sampled_at"),
    ("seq", "seq"),
    ("cpu ‰", "cpu_permille"),
    ("memory KiB", "memory_used_kib"),
    ("disk KiB", "disk_used_kib"),
    ("clock ms", "clock_offset_ms"),
    ("waiting", "spool_records"),
    ("lost", "spool_lost"),
];

async fn desire(client: &Client, printer: &Printer, node: &str, change: &Value) -> anyhow::Result<()> {
    let id = resolve(client, node).await?;
    let answer = client.patch(&format!("/nodes/{id}/desired"), change).await?;
    printer.fields(&answer);
    Ok(())
}

/// A full id is taken as it is; a beginning or a label must fit exactly one node.
async fn resolve(client: &Client, named: &str) -> anyhow::Result<String> {
    if named.len() == 64 && named.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(named.to_lowercase());
    }
    let nodes = client.list("/nodes", 100_000).await?;
    let field =
        |node: &Value, name: &str| node.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let fitting: Vec<_> = nodes
        .iter()
        .filter(|node| {
            field(node, "label") == named || (named.len() >= 4 && field(node, "id").starts_with(named))
        })
        .map(|node| field(node, "id"))
        .collect();
    match &fitting[..] {
        [id] => Ok(id.clone()),
        [] => bail!("no node is called `{named}`; see `noderrctl nodes list`"),
        several => bail!("`{named}` fits {} nodes; give more of the id", several.len()),
    }
}
