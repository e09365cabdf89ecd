//! Platform configuration registers as the database keeps them: a JSON object from index to hex value.

use noderr_attestation::PcrSet;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Makes the JSON object of registers.
pub(crate) fn to_json(pcrs: &PcrSet) -> Value {
    Value::Object(
        pcrs.iter()
            .map(|(index, value)| (index.to_string(), hex::encode(value).into()))
            .collect::<Map<_, _>>(),
    )
}

/// The indices of registers whose values differ, or that only one side has.
pub(crate) fn changed(baseline: Option<&Value>, now: &Value) -> Vec<String> {
    let empty = Map::new();
    let before = baseline.and_then(Value::as_object).unwrap_or(&empty);
    let now = now.as_object().unwrap_or(&empty);
    let indices: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    indices.into_iter().filter(|index| before.get(*index) != now.get(*index)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_register_that_changed_appeared_or_vanished_is_named() {
        let baseline = json!({ "0": "aa", "1": "bb", "2": "cc" });
        let now = json!({ "0": "aa", "1": "xx", "3": "dd" });
        assert_eq!(changed(Some(&baseline), &now), ["1", "2", "3"]);
        assert!(changed(Some(&baseline), &baseline).is_empty());
        assert_eq!(changed(None, &json!({ "0": "aa" })), ["0"]);
    }
}
