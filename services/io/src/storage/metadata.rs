//! What writers say of a file: typed values, whose types are kept (D20).

use std::collections::HashMap;

use prost_types::value::Kind;
use serde_json::{Number, Value};

use crate::error::IoError;

/// The entries, by key.
pub type Metadata = serde_json::Map<String, Value>;

/// The most entries.
const MAX_ENTRIES: usize = 64;
/// The most bytes of all entries, written as JSON.
const MAX_BYTES: usize = 8 << 10;
/// Keys under which other systems keep access lists and media types: taken from a caller they could come to be
/// believed (services.md §2.8).
const RESERVED: [&str; 3] = ["acl", "contenttype", "x-amz-meta-acl"];
const RESERVED_PREFIX: &str = "sre-";

/// Reads what a request says.
pub fn read(field: &'static str, entries: &HashMap<String, prost_types::Value>) -> Result<Metadata, IoError> {
    // By key, so that the same entries are always the same text.
    let mut keys: Vec<&String> = entries.keys().collect();
    keys.sort_unstable();
    let mut metadata = Metadata::new();
    for key in keys {
        check_key(field, key)?;
        let value = entries.get(key).and_then(|value| json(value, 0));
        let wrong = || invalid(field, format!("{key}: is not a JSON value of 16 levels at most"));
        metadata.insert(key.clone(), value.ok_or_else(wrong)?);
    }
    check(field, &metadata)?;
    Ok(metadata)
}

/// Checks sizes.
pub fn check(field: &'static str, metadata: &Metadata) -> Result<(), IoError> {
    if metadata.len() > MAX_ENTRIES {
        return Err(invalid(field, format!("a file has {MAX_ENTRIES} entries at most")));
    }
    if to_text(metadata).len() > MAX_BYTES {
        return Err(invalid(field, format!("the entries of a file have {MAX_BYTES} bytes at most")));
    }
    Ok(())
}

/// As messages carry it.
pub fn message(metadata: &Metadata) -> HashMap<String, prost_types::Value> {
    metadata.iter().map(|(key, value)| (key.clone(), proto(value))).collect()
}

/// As the index keeps it.
pub fn to_text(metadata: &Metadata) -> String {
    serde_json::to_string(metadata).unwrap_or_else(|_| "{}".to_owned())
}

/// From the index.
pub fn from_text(text: &str) -> Metadata {
    serde_json::from_str(text).unwrap_or_default()
}

/// Whether nobody may use this key.
pub fn is_reserved(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    RESERVED.contains(&lower.as_str()) || lower.starts_with(RESERVED_PREFIX)
}

fn check_key(field: &'static str, key: &str) -> Result<(), IoError> {
    if is_reserved(key) {
        return Err(invalid(field, format!("{key}: is reserved: use another key")));
    }
    if key.is_empty() || key.len() > 128 || key.chars().any(char::is_control) {
        return Err(invalid(field, "a key has 1 to 128 bytes and no control character".to_owned()));
    }
    Ok(())
}

fn invalid(field: &'static str, message: String) -> IoError {
    IoError::Invalid { field, message }
}

/// None for what JSON cannot say, and for what is nested too deeply.
fn json(value: &prost_types::Value, depth: usize) -> Option<Value> {
    if depth > 16 {
        return None;
    }
    Some(match value.kind.as_ref() {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::NumberValue(number)) => Value::Number(number_of(*number)?),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.iter().map(|value| json(value, depth + 1)).collect::<Option<_>>()?)
        }
        Some(Kind::StructValue(object)) => Value::Object(
            object
                .fields
                .iter()
                .map(|(key, value)| Some((key.clone(), json(value, depth + 1)?)))
                .collect::<Option<_>>()?,
        ),
    })
}

/// Whole numbers are written without a fraction.
fn number_of(number: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT && !(number == 0.0 && number.is_sign_negative()) {
        #[expect(clippy::cast_possible_truncation, reason = "checked above")]
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}

fn proto(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.iter().map(proto).collect() })
        }
        Value::Object(object) => Kind::StructValue(prost_types::Struct {
            fields: object.iter().map(|(key, value)| (key.clone(), proto(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(value: &Value) -> HashMap<String, prost_types::Value> {
        HashMap::from([("k".to_owned(), proto(value))])
    }

    /// D20: the text "5" comes back as a text, and the number 5 as a number.
    #[test]
    fn d20_types_are_kept() {
        for json in
            [r#""5""#, "5", "5.5", "-0.0", "true", r#""true""#, "null", r#"[1,"1"]"#, r#"{"a":{"b":[]}}"#]
        {
            let json: Value = serde_json::from_str(json).unwrap();
            let read = read("metadata", &value(&json)).unwrap();
            assert_eq!(from_text(&to_text(&read)), read);
            assert_eq!(read["k"], json);
            assert_eq!(message(&read), value(&json));
        }
    }

    /// H7: no key becomes an access list.
    #[test]
    fn h7_reserved_keys_are_refused() {
        for key in
            ["acl", "ACL", "x-amz-meta-acl", "X-Amz-Meta-Acl", "ContentType", "sre-x", "SRE-x", "", "a\nb"]
        {
            let entries = HashMap::from([(key.to_owned(), proto(&Value::Null))]);
            assert!(read("metadata", &entries).is_err(), "{key:?}");
        }
    }

    #[test]
    fn sizes_are_limited() {
        let many: HashMap<_, _> = (0..65).map(|n| (n.to_string(), proto(&Value::Null))).collect();
        assert!(read("metadata", &many).is_err());
        assert!(read("metadata", &value(&Value::String("x".repeat(9 << 10)))).is_err());
        let mut deep = Value::Null;
        for _ in 0..20 {
            deep = Value::Array(vec![deep]);
        }
        assert!(read("metadata", &value(&deep)).is_err());
        assert!(
            read(
                "metadata",
                &HashMap::from([(
                    "k".to_owned(),
                    prost_types::Value { kind: Some(Kind::NumberValue(f64::NAN)) }
                )])
            )
            .is_err()
        );
    }
}
