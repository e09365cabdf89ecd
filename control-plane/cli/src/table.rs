//! Prints JSON as tables: the columns that a person looks for; `--json` prints the rest.

use crate::out::say;
use comfy_table::{ContentArrangement, Table, presets};
use noderr_protocol::steers_terminal;
use serde_json::Value;

/// A column: its heading and where its value lies.
pub(crate) type Column = (&'static str, &'static str);

/// Prints rows as a table.
pub(crate) fn print_rows(rows: &[Value], columns: &[Column]) -> anyhow::Result<()> {
    if rows.is_empty() {
        return say("nothing to show");
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(heading, _)| heading.to_uppercase()));
    for row in rows {
        table.add_row(columns.iter().map(|(_, field)| cell(row.get(field).unwrap_or(&Value::Null), field)));
    }
    say(&format!("{table}"))
}

/// Prints one thing, a line for each field.
pub(crate) fn print_fields(value: &Value) -> anyhow::Result<()> {
    let Some(fields) = value.as_object() else { return Ok(()) };
    let width = fields.keys().map(String::len).max().unwrap_or_default();
    for (name, value) in fields {
        say(&format!("{name:width$}  {}", text(value)))?;
    }
    Ok(())
}

fn cell(value: &Value, field: &str) -> String {
    let text = text(value);
    // Twelve digits are enough to tell two apart, and to name a node.
    if matches!(field, "id" | "sha256") && text.len() == 64 { text[..12].to_owned() } else { text }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(value) => if *value { "yes" } else { "no" }.to_owned(),
        Value::String(text) => harmless(&seconds(text).unwrap_or_else(|| text.clone())),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(self::text).collect::<Vec<_>>().join(", "),
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| format!("{} {}", harmless(name), self::text(value));
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
        Value::Number(number) => number.to_string(),
    }
}

/// Replaces characters that would steer the terminal, because nodes send any text they like.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|char| if steers_terminal(char) { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// Escapes in JSON what would steer the terminal and what JSON itself lets pass: the meaning stays.
pub(crate) fn harmless_json(json: &str) -> String {
    let escape = |char: char| {
        let mut units = [0; 2];
        char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
    };
    json.chars()
        .map(|char| if char != '\n' && steers_terminal(char) { escape(char) } else { char.to_string() })
        .collect()
}

/// A time of RFC 3339 without its fractions of a second: "2026-01-02T03:04:05Z".
fn seconds(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_time = bytes.len() > 19 && bytes[4] == b'-' && bytes[10] == b'T' && text.ends_with('Z');
    is_time.then(|| format!("{}Z", &text[..19]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_read_like_words() {
        assert_eq!(text(&json!(null)), "-");
        assert_eq!(text(&json!(true)), "yes");
        assert_eq!(text(&json!("2026-01-02T03:04:05.678901Z")), "2026-01-02T03:04:05Z");
        assert_eq!(text(&json!(["a", "b"])), "a, b");
        assert_eq!(text(&json!("a\u{1b}[2Jb\nc")), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!(cell(&json!("ab".repeat(32)), "id"), "abababababab");
        assert_eq!(text(&json!({ "label": "c1\u{9b}2J" })), "label c1\u{fffd}2J");
    }

    #[test]
    fn json_steers_no_terminal_and_means_the_same() {
        let value = json!({ "detail": "a\u{9b}2J\u{202e}b\n" });
        let shown = harmless_json(&format!("{value:#}"));
        assert!(!shown.contains(['\u{9b}', '\u{202e}']), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }
}
