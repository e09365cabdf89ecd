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

/// Values that a person has accepted for the whole fleet: index and hex value.
pub(crate) type Expected = BTreeSet<(String, String)>;

/// The indices of registers whose values differ from the baseline and are not expected either. Registers that only one side
/// has say nothing: which registers are asked for may change.
pub(crate) fn changed(baseline: Option<&Value>, now: &Value, expected: &Expected) -> Vec<String> {
    let empty = Map::new();
    let before = baseline.and_then(Value::as_object).unwrap_or(&empty);
    let now = now.as_object().unwrap_or(&empty);
    let as_expected = |index: &String, value: &Value| {
        value.as_str().is_some_and(|value| expected.contains(&(index.clone(), value.to_owned())))
    };
    now.iter()
        .filter(|(index, value)| before.get(*index).is_some_and(|before| before != *value))
        .filter(|(index, value)| !as_expected(index, value))
        .map(|(index, _)| index.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_register_that_changed_is_named_unless_its_value_is_expected() {
        let baseline = json!({ "0": "aa", "1": "bb", "2": "cc" });
        let now = json!({ "0": "aa", "1": "xx", "2": "yy", "3": "dd" });
        let none = Expected::new();
        assert_eq!(changed(Some(&baseline), &now, &none), ["1", "2"]);
        assert!(changed(Some(&baseline), &baseline, &none).is_empty());
        let expected = Expected::from([("1".to_owned(), "xx".to_owned()), ("2".to_owned(), "xx".to_owned())]);
        assert_eq!(
            changed(Some(&baseline), &now, &expected),
            ["2"],
            "a value is expected of its own register"
        );
    }
}
