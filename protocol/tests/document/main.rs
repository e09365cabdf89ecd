//! docs/wire.md against the code: its tables, layouts, examples and test vectors are made here, and the test fails where
//! the document has others. `NODERR_WRITE_DOCUMENT=1 cargo test -p noderr-protocol --test document` writes them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a failure is a failure"
)]

mod examples;
mod source;
mod trace;

use examples::{example, vectors};
use noderr_protocol::release::{MAX_INDEX, MAX_MANIFEST, ReleaseKind, ReleaseRefusal, Tier};
use noderr_protocol::{
    AlertCode, BatchOutcome, DownKind, EVENT_LOG_PART, GapReason, Lane, MAX_ENVELOPE, MAX_EVENT_LOG_PARTS,
    MAX_RECORD, MAX_SECTION, Metric, Phase, UpKind, WIRE_VERSION, payload,
};
use source::{Member, Type, types};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

#[test]
fn the_document_says_what_the_code_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md");
    let document = fs::read_to_string(path).unwrap();
    let made = filled(&document);
    assert_complete(&made);
    if std::env::var_os("NODERR_WRITE_DOCUMENT").is_some() {
        fs::write(path, &made).unwrap();
    }
    let document = fs::read_to_string(path).unwrap();
    for (line, (is, should)) in document.lines().zip(made.lines()).enumerate() {
        assert_eq!(is, should, "docs/wire.md, line {}", line + 1);
    }
    assert_eq!(document.len(), made.len());
}

/// The document with everything between `<!-- made: name -->` and `<!-- end -->` made anew.
fn filled(document: &str) -> String {
    let (types, mut parts) = (types(), document.split("<!-- made: "));
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").expect("a mark ends");
        let (_, after) = rest.split_once("<!-- end -->").expect("what is made ends");
        write!(made, "<!-- made: {name} -->\n{}\n<!-- end -->{after}", section(name, &types).trim_end())
            .unwrap();
    }
    made
}

/// Every kind of message, every golden file, every type of the wire and every list has its place in the document.
fn assert_complete(document: &str) {
    let has = |what: &str| document.contains(&format!("<!-- made: {what} -->"));
    for golden in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).unwrap() {
        let path = golden.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("json-") || has(&format!("example {name}")), "no example of {name}");
    }
    for list in
        "limits up-kinds down-kinds payload-kinds lanes reasons outcomes phases alert-codes release-kinds tiers refusals metrics vectors"
            .split(' ')
    {
        assert!(has(list), "{list} is missing");
    }
    let shown = |name: &str| document.contains(&format!("**{name}**: "));
    let inside = [
        "Lane",
        "LaneTag",
        "IdentityKind",
        "NodeId",
        "Topics",
        "Metric",
        "Payload",
        "KnownSection",
        "ReleaseName",
        "Series",
    ];
    for (name, found) in types() {
        let on_the_wire = found.members.iter().all(|member| !member.about.is_empty());
        assert!(
            shown(&name) || inside.contains(&name.as_str()) || !on_the_wire || is_local(&name),
            "{name} is missing"
        );
    }
}

/// Types that never travel.
fn is_local(name: &str) -> bool {
    name.starts_with('$') || name.ends_with("Error") || ["TooLong", "Family", "HostPort"].contains(&name)
}

fn section(name: &str, types: &BTreeMap<String, Type>) -> String {
    match name.split_once(' ') {
        None => match name {
            "limits" => limits(),
            "up-kinds" => {
                kinds(UpKind::ALL.iter().map(|kind| (kind.byte(), kind.as_str(), format!("{kind:?}"))))
            }
            "down-kinds" => {
                kinds(DownKind::ALL.iter().map(|kind| (kind.byte(), kind.as_str(), format!("{kind:?}"))))
            }
            "payload-kinds" => kinds([
                (payload::TELEMETRY, "-", "TelemetrySample".into()),
                (payload::ALERT, "-", "Alert".into()),
            ]),
            "lanes" => bytes(Lane::ALL.iter().map(|lane| (lane.tag().byte(), lane.as_str().to_owned()))),
            "reasons" => bytes(GapReason::KNOWN.iter().map(|it| (it.byte(), it.name().into_owned()))),
            "outcomes" => bytes(BatchOutcome::KNOWN.iter().map(|it| (it.byte(), it.name().into_owned()))),
            "phases" => bytes(Phase::KNOWN.iter().map(|it| (it.byte(), it.name().into_owned()))),
            "release-kinds" => bytes(ReleaseKind::KNOWN.iter().map(|it| (it.byte(), it.name().into_owned()))),
            "tiers" => bytes(Tier::KNOWN.iter().map(|it| (it.byte(), it.name().into_owned()))),
            "refusals" => bytes(ReleaseRefusal::KNOWN.iter().map(|it| (it.byte(), it.name().into_owned()))),
            "alert-codes" => bytes(AlertCode::KNOWN.iter().map(|it| (it.byte(), it.name().into_owned()))),
            "metrics" => metrics(),
            "vectors" => vectors(),
            other => panic!("nothing is called {other}"),
        },
        Some(("layout", names)) => names.split(' ').map(|name| layout(name, types, wire_kind)).collect(),
        Some(("json", names)) => names.split(' ').map(|name| layout(name, types, json_kind)).collect(),
        Some(("example", file)) => example(file),
        Some((what, _)) => panic!("nothing is called {what}"),
    }
}

fn limits() -> String {
    let rows = [
        ("wire version that this release writes", usize::from(WIRE_VERSION)),
        ("largest message, with its two bytes of header", MAX_ENVELOPE),
        ("largest body of a record", MAX_RECORD),
        ("largest body of a section", MAX_SECTION),
        ("largest manifest", MAX_MANIFEST),
        ("largest index of an archive", usize::try_from(MAX_INDEX).unwrap()),
        ("each part of an event log but the last", EVENT_LOG_PART),
        ("parts of an event log", usize::from(MAX_EVENT_LOG_PARTS)),
    ];
    rows.iter().fold("| what | limit |\n|---|---|\n".to_owned(), |table, (what, limit)| {
        format!("{table}| {what} | {limit} |\n")
    })
}

fn kinds(rows: impl IntoIterator<Item = (u8, &'static str, String)>) -> String {
    rows.into_iter()
        .fold("| kind | topic level | body |\n|---|---|---|\n".to_owned(), |table, (byte, level, body)| {
            format!("{table}| `0x{byte:02x}` | `{level}` | {body} |\n")
        })
}

fn bytes(rows: impl IntoIterator<Item = (u8, String)>) -> String {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_unstable();
    rows.iter().fold("| byte | name |\n|---|---|\n".to_owned(), |table, (byte, name)| {
        format!("{table}| {byte} | `{name}` |\n")
    })
}

fn metrics() -> String {
    Metric::ALL.iter().fold(
        "| number | name | unit | what |\n|---|---|---|---|\n".to_owned(),
        |table, metric| {
            format!(
                "{table}| {} | `{}` | {} | {} |\n",
                metric.id(),
                metric.name(),
                metric.unit(),
                metric.about()
            )
        },
    )
}

/// A type: what it is, and a line for every field in the order of the wire.
fn layout(name: &str, types: &BTreeMap<String, Type>, kind: fn(&Member) -> String) -> String {
    let found = types.get(name).unwrap_or_else(|| panic!("the sources have no {name}"));
    let mut text = format!(
        "**{name}**: {}\n\n",
        found.about.replace("[`", "`").replace("`]", "`").replace("crate::", "")
    );
    text += if found.is_enum {
        "| variant | body | meaning |\n|---|---|---|\n"
    } else {
        "| field | type | meaning |\n|---|---|---|\n"
    };
    for (index, member) in found.members.iter().enumerate() {
        let name = if found.is_enum { format!("{index} {}", member.name) } else { member.name.clone() };
        let about = member.about.replace("[`", "`").replace("`]", "`").replace("crate::", "");
        writeln!(text, "| `{name}` | {} | {about} |", kind(member)).unwrap();
    }
    text + "\n"
}

fn wire_kind(member: &Member) -> String {
    on_wire(&member.kind)
}

fn on_wire(kind: &str) -> String {
    let generic =
        |name: &str| kind.strip_prefix(name)?.strip_prefix('<')?.strip_suffix('>').map(str::to_owned);
    if let Some(inner) = generic("Option") {
        return format!("optional {}", on_wire(&inner));
    }
    if let Some((of, most)) = generic("List").as_deref().and_then(|inner| inner.rsplit_once(", ")) {
        return format!("list of {}, at most {most}", on_wire(of));
    }
    if let Some(most) = generic("Text") {
        return format!("text, at most {most} bytes");
    }
    if let Some(most) = generic("Blob") {
        let most = most
            .replace("MAX_SECTION", &MAX_SECTION.to_string())
            .replace("MAX_RECORD", &MAX_RECORD.to_string());
        return format!("bytes, at most {most}");
    }
    if let Some((_, count)) = kind.strip_prefix("[u8; ").and_then(|rest| Some(("", rest.strip_suffix(']')?)))
    {
        return format!("{count} bytes, no count");
    }
    match kind {
        "" => "nothing".to_owned(),
        "UnixMillis" => "i64".to_owned(),
        "LaneTag" | "BatchOutcome" | "Phase" | "GapReason" | "AlertCode" => format!("u8, {kind}"),
        "IdentityKind" => "variant: 0 tpm, 1 software".to_owned(),
        other => other.to_owned(),
    }
}

fn json_kind(member: &Member) -> String {
    let (kind, optional) = match member.kind.strip_prefix("Option<") {
        Some(inner) => (inner.strip_suffix('>').unwrap_or(inner), ", may be absent"),
        None => (member.kind.as_str(), ""),
    };
    let kind = match kind {
        "Base64" => "base64",
        "Vec<Register>" => "list of Register",
        "Vec<Requirement>" => "list of Requirement, at most 64",
        "Vec<Word>" => "list of words (small letters, digits, `-`, `_`), at most 64",
        "Vec<String>" => "list of texts",
        "Version" | "Series" | "ReleaseName" => "text",
        "HexDigest" => "64 hex digits",
        "RegisterIndex" => "integer, 0 to 23",
        "String" => "text",
        "NodeId" => "64 lowercase hex digits",
        "IdentityKind" => "`\"tpm\"` or `\"software\"`",
        "u8" | "u32" | "u64" | "i64" => "integer",
        other => other,
    };
    format!("{kind}{optional}")
}
