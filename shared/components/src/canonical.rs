//! Canonical JSON (RFC 8785): one text for one value, so that it can be hashed.

use sre_engine::value::{Map, Value};

/// The canonical text of a value: members sorted by their UTF-16 names, no blanks.
pub fn text(value: &Value) -> String {
    sorted(value).to_json_text()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::array(items.iter().map(sorted).collect()),
        Value::Object(map) => Value::object(sorted_map(map)),
        other => other.clone(),
    }
}

fn sorted_map(map: &Map) -> Map {
    let mut members: Map = map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
    members.sort_by(|a, _, b, _| a.encode_utf16().cmp(b.encode_utf16()));
    members
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_sorted_at_every_depth() {
        let value = Value::from(json!({"b": [{"z": 1.0, "a": null}], "a": "é\n", "\u{20ac}": 1, "\r": 2}));
        assert_eq!(text(&value), r#"{"\r":2,"a":"é\n","b":[{"a":null,"z":1}],"€":1}"#);
    }

    #[test]
    fn order_of_arrival_does_not_matter() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b":{"d":3,"c":2},"a":1}"#).unwrap();
        assert_eq!(text(&one), text(&other));
    }
}
