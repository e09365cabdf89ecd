//! Holds event logs against registers: of each register that changed, what was measured that was not measured before. Pure.

use crate::registers;
use crate::values::text;
use noderr_attestation::{Event, EventLog};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Why one register is not what it was.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Change {
    /// The register.
    register: u8,
    /// The value of the baseline, and the value that the TPM has quoted.
    baseline: String,
    quoted: String,
    /// Whether the event logs lead to both values. If not, `why_not` says what is missing, and nothing is listed.
    explained: bool,
    why_not: Option<String>,
    /// What was measured for the baseline, and no longer.
    gone: Vec<Measured>,
    /// What was measured now, and not for the baseline.
    new: Vec<Measured>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Measured {
    /// The kind, by the TCG's name.
    kind: String,
    /// What it was, as far as the firmware says: a file that was started, a variable, a text.
    what: Option<String>,
    /// Whether the TPM vouches for `what`: the digest is that of the firmware's own words. Otherwise, as for every file that was
    /// started, the name is a claim of the box, and only the digest is sure: hold the digest against what the vendor publishes.
    vouched: bool,
    /// The digest that the register was extended with.
    digest: String,
}

impl Measured {
    fn of(event: &Event<'_>) -> Self {
        let what = event.about().map(|about| text(&about));
        Self {
            kind: event.kind_name(),
            what,
            vouched: event.is_measured(),
            digest: hex::encode(event.digest),
        }
    }
}

/// Explains every register that differs from the baseline. `logs` are all logs that the node has shown, and `shown_now` whether
/// one of them came with this attestation.
pub(super) fn explain(
    baseline: Option<&Value>,
    quoted: &Value,
    logs: &[EventLog<'_>],
    nothing_shown: Option<&str>,
) -> Vec<Change> {
    let changed = registers::changed(baseline, quoted, &registers::Expected::new());
    let value =
        |of: Option<&Value>, index: &str| of.and_then(|of| of[index].as_str()).unwrap_or_default().to_owned();
    let change = |index: &String| {
        let register = index.parse().ok()?;
        let (before, now) = (value(baseline, index), value(Some(quoted), index));
        let leading_to = |value: &str| logs.iter().find(|log| hex::encode(log.replay(register)) == value);
        let (why_not, gone, new) = match (leading_to(&before), leading_to(&now)) {
            (_, None) => (Some(nothing_shown.unwrap_or(NOT_NOW).to_owned()), Vec::new(), Vec::new()),
            (None, Some(_)) => (Some(NOT_BEFORE.to_owned()), Vec::new(), Vec::new()),
            (Some(before), Some(now)) => {
                let (gone, new) = (missing(before, now, register), missing(now, before, register));
                let moved = gone.is_empty() && new.is_empty();
                (moved.then(|| MOVED.to_owned()), gone, new)
            }
        };
        Some(Change {
            register,
            baseline: before,
            quoted: now,
            explained: why_not.is_none(),
            why_not,
            gone,
            new,
        })
    };
    changed.iter().filter_map(change).collect()
}

const NOT_NOW: &str = "no event log of this node leads to the value that its TPM has quoted: something was measured that the \
                       log does not name, or the box was started again since";
const NOT_BEFORE: &str = "no event log on record leads to the baseline's value";
const MOVED: &str = "the same was measured in another order";

/// What one log has measured into a register, and the other has not, as often as it has.
fn missing(here: &EventLog<'_>, there: &EventLog<'_>, register: u8) -> Vec<Measured> {
    let mut known = BTreeMap::<_, usize>::new();
    for event in there.of(register) {
        *known.entry((event.kind, *event.digest)).or_default() += 1;
    }
    let is_missing = |event: &&Event<'_>| match known.get_mut(&(event.kind, *event.digest)) {
        Some(left @ 1..) => {
            *left -= 1;
            false
        }
        _ => true,
    };
    here.of(register).filter(is_missing).map(Measured::of).collect()
}

/// Whether a log leads to every value of a baseline.
pub(super) fn leads_to(log: &[u8], baseline: Option<&Value>) -> bool {
    let (Ok(log), Some(Value::Object(baseline))) = (EventLog::parse(log), baseline) else { return false };
    let leads = |(index, value): (&String, &Value)| {
        index.parse().is_ok_and(|register| value.as_str() == Some(&hex::encode(log.replay(register))))
    };
    baseline.iter().all(leads)
}
