//! From and to plain Rust and `serde_json` values.

use std::sync::Arc;

use super::{Binary, Map, Value, integral, number_from_f64};

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Bool(flag),
            serde_json::Value::Number(number) => Self::Number(integral(number)),
            serde_json::Value::String(text) => Self::String(text.into()),
            serde_json::Value::Array(items) => Self::array(items.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(map) => Self::object(map_from_json(map)),
        }
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        json.clone().into()
    }
}

/// The members of a JSON object as a [`Map`].
pub fn map_from_json(map: serde_json::Map<String, serde_json::Value>) -> Map {
    map.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::String(text.to_string()),
            Value::Array(items) => Self::Array(items.iter().map(Self::from).collect()),
            Value::Object(map) => members_to_json(map),
            Value::Binary(binary) => members_to_json(&binary.members()),
        }
    }
}

impl From<Value> for serde_json::Value {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

fn members_to_json(map: &Map) -> serde_json::Value {
    map.iter().map(|(key, value)| (key.to_string(), serde_json::Value::from(value))).collect()
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

/// Infinities and NaN become `null`, as in `JSON.stringify`.
impl From<f64> for Value {
    fn from(number: f64) -> Self {
        number_from_f64(number).map_or(Self::Null, Self::Number)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::array(items)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::object(map)
    }
}

impl From<Binary> for Value {
    fn from(binary: Binary) -> Self {
        Self::Binary(Arc::new(binary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_in_and_out_unchanged() {
        let json = serde_json::json!({"b": 1, "a": [null, true, "x", 1.5], "big": 18446744073709551615u64});
        let back = serde_json::Value::from(Value::from(json.clone()));
        assert_eq!(back.to_string(), json.to_string());
    }

    #[test]
    fn a_binary_that_is_not_stored_has_an_empty_url() {
        let binary = Binary { name: "a.txt".into(), mimetype: "text/plain".into(), data: "hello".into() };
        assert_eq!(
            Value::from(binary).to_json_text(),
            r#"{"mimetype":"text/plain","size":5,"url":"","name":"a.txt"}"#
        );
    }
}
