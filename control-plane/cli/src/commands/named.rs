//! Finding what a person names: by its whole id, by the beginning of the id, or by a name of its own.

use anyhow::bail;
use noderr_cli::{ApiError, Client};
use serde_json::Value;

/// The beginning of an id that is long enough to mean one thing and not a name.
const SHORTEST: usize = 4;

/// A kind of thing that can be named.
pub(super) struct Kind {
    what: &'static str,
    /// The field that holds the id.
    id: &'static str,
    /// Fields that hold names.
    names: &'static [&'static str],
    /// A field that is set where a thing counts no more; such a thing is meant only if no other fits.
    ended: &'static str,
    /// The command that lists them.
    list: &'static str,
}

pub(super) const NODE: Kind =
    Kind { what: "node", id: "id", names: &["label"], ended: "revoked_at", list: "nodes list" };
pub(super) const OPERATOR: Kind =
    Kind { what: "operator", id: "id", names: &["email", "name"], ended: "", list: "operators list" };
pub(super) const API_TOKEN: Kind =
    Kind { what: "token", id: "id", names: &["name"], ended: "revoked_at", list: "tokens list" };
pub(super) const INSTALL_TOKEN: Kind =
    Kind { what: "install token", id: "id", names: &[], ended: "withdrawn_at", list: "nodes install-tokens" };
pub(super) const CHALLENGE: Kind =
    Kind { what: "attestation", id: "challenge", names: &[], ended: "", list: "nodes attestations" };
pub(super) const TPM: Kind = Kind { what: "barred TPM", id: "tpm", names: &[], ended: "", list: "tpms list" };
pub(super) const REGISTER_VALUE: Kind =
    Kind { what: "expected value", id: "value", names: &[], ended: "", list: "registers list" };
pub(super) const PIECE: Kind =
    Kind { what: "piece of work", id: "id", names: &[], ended: "", list: "work list" };

/// The id of what is named among a list of the API's. A whole id is taken as it is.
pub(super) async fn resolve(client: &Client, kind: &Kind, list: &str, named: &str) -> anyhow::Result<String> {
    if is_whole(named) {
        return Ok(named.to_lowercase());
    }
    kind.find(&client.list(list, 100_000).await?, named)
}

/// The same among a list that comes whole.
pub(super) async fn resolve_in(
    kind: &Kind,
    named: &str,
    list: impl AsyncFnOnce() -> Result<Value, ApiError>,
) -> anyhow::Result<String> {
    if is_whole(named) {
        return Ok(named.to_lowercase());
    }
    kind.find(list().await?.as_array().map_or(&[], Vec::as_slice), named)
}

/// Whether this is a UUID, or a digest in hexadecimal.
pub(super) fn is_whole(named: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_hexdigit();
    match named.len() {
        36 => named.bytes().all(|byte| hex(byte) || byte == b'-'),
        64 => named.bytes().all(hex),
        _ => false,
    }
}

impl Kind {
    /// The id of the one thing that is named.
    pub(super) fn find(&self, all: &[Value], named: &str) -> anyhow::Result<String> {
        let is_called = |thing: &&Value, as_written: bool| {
            let mut names = self.names.iter().map(|name| field(thing, name));
            names.any(|name| name == named || (!as_written && name.eq_ignore_ascii_case(named)))
        };
        let as_written = all.iter().any(|thing| is_called(&thing, true));
        let fits = |thing: &&Value| {
            let begins = named.len() >= SHORTEST && field(thing, self.id).starts_with(&named.to_lowercase());
            is_called(thing, as_written) || begins
        };
        let counts = |thing: &&Value| thing.get(self.ended).is_none_or(Value::is_null);
        let (counting, ended): (Vec<_>, Vec<_>) = all.iter().filter(fits).partition(counts);
        let fitting = if counting.is_empty() { ended } else { counting };
        let Self { what, list, .. } = self;
        match &fitting[..] {
            [one] => Ok(field(one, self.id).to_owned()),
            [] if named.len() < SHORTEST => {
                bail!(
                    "no {what} is called `{named}`, and the beginning of an id has {SHORTEST} characters at least; see `noderrctl {list}`"
                )
            }
            [] => bail!("no {what} is called `{named}`; see `noderrctl {list}`"),
            several => bail!(
                "`{named}` fits {} of them; give more of the id, as `noderrctl {list}` shows it",
                several.len()
            ),
        }
    }
}

fn field<'a>(thing: &'a Value, name: &str) -> &'a str {
    thing.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_named_is_found_by_name_or_by_the_beginning_of_its_id() {
        let all = [
            json!({ "id": "41c7aa", "label": "Den", "revoked_at": null }),
            json!({ "id": "41c7bb", "label": "attic", "revoked_at": null }),
            json!({ "id": "990000", "label": "attic", "revoked_at": "2026-01-01" }),
        ];
        let found = |named| NODE.find(&all, named).map_err(|error| error.to_string());
        assert_eq!(found("den").as_deref(), Ok("41c7aa"));
        assert_eq!(found("41C7B").as_deref(), Ok("41c7bb"));
        let twins = [json!({ "id": "1", "label": "Den" }), json!({ "id": "2", "label": "den" })];
        assert_eq!(NODE.find(&twins, "den").ok().as_deref(), Some("2"), "as it is written goes first");
        assert_eq!(found("attic").as_deref(), Ok("41c7bb"), "the other is revoked");
        assert_eq!(found("9900").as_deref(), Ok("990000"), "nothing else fits");
        for (named, why) in [("41c7", "2 of them"), ("990", "4 characters"), ("cellar", "no node is called")]
        {
            assert!(found(named).is_err_and(|said| said.contains(why)), "{named}");
        }
    }
}
