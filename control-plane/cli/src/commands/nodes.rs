//! The commands about nodes.

use super::named::{self, CHALLENGE, INSTALL_TOKEN, NODE};
use super::proof::proven;
use super::{Printer, query};
use crate::arguments::Nodes;
use crate::table::Column;
use anyhow::Context as _;
use noderr_cli::Client;
use noderr_protocol::Metric;
use serde_json::{Value, json};

pub(crate) async fn run(client: &Client, printer: &Printer, command: Nodes) -> anyhow::Result<()> {
    match command {
        Nodes::List { online, operator, identity, revoked, limit } => {
            let text = |flag: Option<bool>| flag.map(|flag| flag.to_string());
            let operator = super::operators::resolve_any(client, operator).await?;
            let wanted = [text(online), operator, identity, text(revoked)];
            let path = format!("/nodes{}", query(&FILTERS.into_iter().zip(wanted).collect::<Vec<_>>()));
            printer.list(client, &path, (limit, 100), &LIST).await?;
        }
        Nodes::Add { operator, label } => {
            let operator = super::operators::resolve(client, &operator).await?;
            printer
                .fields(&client.post("/nodes", &json!({ "operator": operator, "label": label })).await?)?;
        }
        Nodes::Show { node } => printer.fields(&client.get(&path(client, &node, "").await?).await?)?,
        Nodes::InstallToken { node } => {
            printer.fields(&lasting(client, &node, "/install-tokens", &json!({})).await?)?;
        }
        Nodes::InstallTokens { node } => {
            rows(client, printer, &node, "/install-tokens", &INSTALL_TOKENS).await?;
        }
        Nodes::WithdrawToken { node, token } => {
            withdraw_token(client, printer, &node, &token).await?;
        }
        Nodes::Pause { node } => desire(client, printer, &node, &json!({ "paused": true })).await?,
        Nodes::Resume { node } => desire(client, printer, &node, &json!({ "paused": false })).await?,
        Nodes::SampleEvery { node, seconds } => {
            desire(client, printer, &node, &json!({ "sample_every_s": seconds })).await?;
        }
        Nodes::Tier { node, tier } => desire(client, printer, &node, &json!({ "tier": tier })).await?,
        Nodes::Releases { node } => rows(client, printer, &node, "/releases", &RELEASES).await?,
        Nodes::Revoke { node, reason, bar_tpm } => revoke(client, printer, &node, &reason, bar_tpm).await?,
        Nodes::Unbind { node } => {
            let answer = lasting(client, &node, "/unbind", &json!({})).await?;
            printer.done(&answer, &format!("unbound {node}; issue an install token for its new box"))?;
        }
        Nodes::Telemetry { node, metrics, limit } => {
            let path = path(client, &node, "/telemetry").await?;
            printer.list(client, &path, (limit, 20), &telemetry_columns(&metrics)).await?;
        }
        Nodes::Alerts { node, limit } => {
            let path = path(client, &node, "/alerts").await?;
            printer.list(client, &path, (limit, 20), &ALERTS).await?;
        }
        Nodes::Lanes { node } => rows(client, printer, &node, "/lanes", &LANES).await?,
        Nodes::Attest { node } => {
            let asked = client.post(&path(client, &node, "/attestations").await?, &json!({})).await?;
            printer.done(&asked, &format!("asked; see `noderrctl nodes attestations {node}`"))?;
        }
        Nodes::Attestations { node, limit } => {
            let path = path(client, &node, "/attestations").await?;
            printer.list(client, &path, (limit, 20), &ATTESTATIONS).await?;
        }
        Nodes::Explain { node, challenge } => explain(client, printer, &node, challenge).await?,
        Nodes::AcceptBaseline { node, challenge } => {
            accept_baseline(client, printer, &node, &challenge).await?;
        }
    }
    Ok(())
}

const FILTERS: [&str; 4] = ["online", "operator", "identity", "revoked"];

const LIST: [(&str, &str); 11] = [
    ("id", "id"),
    ("label", "label"),
    ("identity", "identity"),
    ("certified", "tpm_certified"),
    ("online", "online"),
    ("last seen", "last_seen_at"),
    ("attestation", "attestation"),
    ("quarantine", "quarantine"),
    ("failing", "failing"),
    ("refused today", "refused_today"),
    ("revoked", "revoked_at"),
];

/// The columns of telemetry: time, number, and the metrics that were asked for, or else those that a table
/// has room for.
fn telemetry_columns(asked: &[Metric]) -> Vec<Column> {
    let shown = |metric: &&Metric| if asked.is_empty() { metric.is_listed() } else { asked.contains(metric) };
    let metrics = Metric::ALL.iter().filter(shown).map(|metric| (metric.name(), metric.name()));
    [("sampled", "sampled_at"), ("seq", "seq")].into_iter().chain(metrics).collect()
}

const ALERTS: [(&str, &str); 3] = [("raised", "raised_at"), ("code", "code"), ("detail", "detail")];

const RELEASES: [(&str, &str); 9] = [
    ("kind", "kind"),
    ("name", "name"),
    ("version", "version"),
    ("state", "state"),
    ("why", "why"),
    ("detail", "detail"),
    ("fetched", "fetched_bytes"),
    ("of", "cost_bytes"),
    ("reported", "reported_at"),
];

const LANES: [(&str, &str); 7] = [
    ("lane", "lane"),
    ("boot epoch", "epoch"),
    ("committed", "seq"),
    ("missing", "missing"),
    ("rows today", "rows_today"),
    ("bytes today", "bytes_today"),
    ("refused today", "refused_today"),
];

const INSTALL_TOKENS: [(&str, &str); 6] = [
    ("token", "id"),
    ("by", "created_by"),
    ("created", "created_at"),
    ("expires", "expires_at"),
    ("used", "used_at"),
    ("withdrawn", "withdrawn_at"),
];

const ATTESTATIONS: [(&str, &str); 6] = [
    ("requested", "requested_at"),
    ("by", "requested_by"),
    ("answered", "answered_at"),
    ("verdict", "verdict"),
    ("detail", "detail"),
    ("challenge", "challenge"),
];

async fn withdraw_token(client: &Client, printer: &Printer, node: &str, token: &str) -> anyhow::Result<()> {
    let tokens = path(client, node, "/install-tokens").await?;
    let id = named::resolve_in(&INSTALL_TOKEN, token, async || client.get(&tokens).await).await?;
    let answer = client.post(&format!("{tokens}/{id}/withdraw"), &json!({})).await?;
    printer.done(&answer, "withdrawn")
}

async fn accept_baseline(
    client: &Client,
    printer: &Printer,
    node: &str,
    challenge: &str,
) -> anyhow::Result<()> {
    let attestations = path(client, node, "/attestations").await?;
    let challenge = named::resolve(client, &CHALLENGE, &attestations, challenge).await?;
    let answer = lasting(client, node, "/baseline", &json!({ "challenge": challenge })).await?;
    printer.done(&answer, "accepted")
}

/// Shows which components made registers differ; a register that cannot be explained has a line that says why.
async fn explain(
    client: &Client,
    printer: &Printer,
    node: &str,
    challenge: Option<String>,
) -> anyhow::Result<()> {
    let attestations = path(client, node, "/attestations").await?;
    let challenge = match challenge {
        Some(named) => named::resolve(client, &CHALLENGE, &attestations, &named).await?,
        None => newest_change(client, &attestations).await?,
    };
    let changes = client.get(&format!("{attestations}/{}/explanation", challenge)).await?;
    let lines = |change: &Value| {
        let of = |which: &str| change[which].as_array().cloned().unwrap_or_default();
        let line = |what: &str, measured: &Value| {
            json!({ "register": change["register"], "measured": what, "kind": measured["kind"], "what": measured["what"],
                    "vouched": measured["vouched"], "digest": measured["digest"] })
        };
        let gone = of("gone").into_iter().map(|measured| line("before", &measured));
        let new = of("new").into_iter().map(|measured| line("now", &measured));
        let why_not = change["why_not"].as_str();
        let why_not =
            why_not.map(|why| line("unknown", &json!({ "kind": null, "what": why, "digest": null })));
        gone.chain(new).chain(why_not).collect::<Vec<_>>()
    };
    if printer.json {
        printer.fields(&changes)?;
    } else {
        let rows = changes.as_array().into_iter().flatten().flat_map(lines).collect();
        printer.rows(rows, &EXPLANATION)?;
    }
    Ok(())
}

/// The newest attestation that found changed registers.
async fn newest_change(client: &Client, attestations: &str) -> anyhow::Result<String> {
    let shown = client.list(attestations, 100).await?;
    let changed = shown.iter().find(|attestation| attestation["verdict"] == "changed");
    let challenge = changed.and_then(|attestation| attestation["challenge"].as_str());
    challenge.map(str::to_owned).context("none of the newest 100 attestations of this node found a change")
}

const EXPLANATION: [(&str, &str); 6] = [
    ("register", "register"),
    ("measured", "measured"),
    ("kind", "kind"),
    ("what", "what"),
    ("vouched", "vouched"),
    ("digest", "digest"),
];

/// Does to a node what lasts, with a fresh proof of the person where one is asked for.
async fn lasting(client: &Client, node: &str, below: &str, body: &Value) -> anyhow::Result<Value> {
    let path = path(client, node, below).await?;
    proven(client, async || client.post(&path, body).await).await
}

async fn revoke(
    client: &Client,
    printer: &Printer,
    node: &str,
    reason: &str,
    bar_tpm: bool,
) -> anyhow::Result<()> {
    let wanted = json!({ "reason": reason, "bar_tpm": bar_tpm });
    let shown = lasting(client, node, "/revoke", &wanted).await?;
    let kept = shown.get("revoked_reason").and_then(Value::as_str).unwrap_or_default();
    let said = if kept == reason {
        format!("revoked {node}")
    } else {
        format!("{node} was revoked before, and keeps its reason: {kept}")
    };
    printer.done(&shown, &said)
}

/// Shows a list that is never long.
async fn rows(
    client: &Client,
    printer: &Printer,
    node: &str,
    below: &str,
    columns: &[Column],
) -> anyhow::Result<()> {
    let rows = client.get(&path(client, node, below).await?).await?;
    printer.rows(rows.as_array().cloned().unwrap_or_default(), columns)
}

async fn desire(client: &Client, printer: &Printer, node: &str, change: &Value) -> anyhow::Result<()> {
    let answer = client.patch(&path(client, node, "/desired").await?, change).await?;
    printer.fields(&answer)
}

/// The path of something that belongs to a node.
async fn path(client: &Client, node: &str, below: &str) -> anyhow::Result<String> {
    Ok(format!("/nodes/{}{below}", resolve(client, node).await?))
}

/// Finds the id of a node.
pub(super) async fn resolve(client: &Client, named: &str) -> anyhow::Result<String> {
    named::resolve(client, &NODE, "/nodes", named).await
}
