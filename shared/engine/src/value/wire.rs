//! Values inside serialised states: JSON where JSON says it all, else `{"$packed": <base64>}` with the bytes
//! of [`codec`]. For `#[serde(with = ..)]` there are [`one`], [`some`], [`list`] and [`map`].

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Map, Value, codec};

const PACKED: &str = "$packed";
/// Deepest nesting that is written as JSON; readers of JSON have limits of their own.
const MAX_DEPTH: usize = 32;

/// True if JSON text keeps all of a value and any reader can read it.
fn is_plain(value: &Value, depth: usize) -> bool {
    match value {
        Value::Binary(_) => false,
        Value::Array(items) => depth > 0 && items.iter().all(|item| is_plain(item, depth - 1)),
        Value::Object(map) => {
            depth > 0 && !map.contains_key(PACKED) && map.values().all(|item| is_plain(item, depth - 1))
        }
        _ => true,
    }
}

/// A value on the wire.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wire(pub Value);

impl Serialize for Wire {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if is_plain(&self.0, MAX_DEPTH) {
            return self.0.serialize(serializer);
        }
        let mut bytes = Vec::new();
        codec::write(&self.0, &mut bytes);
        serializer.collect_map([(PACKED, STANDARD.encode(bytes))])
    }
}

impl<'de> Deserialize<'de> for Wire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let Some(packed) = value.get(PACKED) else { return Ok(Self(value)) };
        let bytes = packed.as_str().and_then(|text| STANDARD.decode(text).ok());
        let read = bytes.and_then(|bytes| codec::read(&mut bytes.as_slice()).ok());
        read.map(Self).ok_or_else(|| serde::de::Error::custom("a packed value cannot be read"))
    }
}

/// A single value.
pub mod one {
    use super::{Deserialize as _, Deserializer, Serialize as _, Serializer, Value, Wire};

    /// Writes it.
    pub fn serialize<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        Wire(value.clone()).serialize(serializer)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        Ok(Wire::deserialize(deserializer)?.0)
    }
}

/// A value that may be absent.
pub mod some {
    use super::{Deserialize as _, Deserializer, Serialize as _, Serializer, Value, Wire};

    /// Writes it.
    pub fn serialize<S: Serializer>(value: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
        // A list of none or one: `null` is a value.
        value.iter().cloned().map(Wire).collect::<Vec<_>>().serialize(serializer)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
        Ok(Vec::<Wire>::deserialize(deserializer)?.pop().map(|wire| wire.0))
    }
}

/// A list of values.
pub mod list {
    use super::{Deserialize as _, Deserializer, Serialize as _, Serializer, Value, Wire};

    /// Writes it.
    pub fn serialize<S: Serializer>(values: &[Value], serializer: S) -> Result<S::Ok, S::Error> {
        values.iter().cloned().map(Wire).collect::<Vec<_>>().serialize(serializer)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
        Ok(Vec::<Wire>::deserialize(deserializer)?.into_iter().map(|wire| wire.0).collect())
    }
}

/// Values by name.
pub mod map {
    use super::{Arc, Deserialize as _, Deserializer, Map, Serialize as _, Serializer, Wire};

    type Wires = indexmap::IndexMap<Arc<str>, Wire>;

    /// Writes them.
    pub fn serialize<S: Serializer>(values: &Map, serializer: S) -> Result<S::Ok, S::Error> {
        let wires: Wires = values.iter().map(|(key, value)| (key.clone(), Wire(value.clone()))).collect();
        wires.serialize(serializer)
    }

    /// Reads them.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map, D::Error> {
        Ok(Wires::deserialize(deserializer)?.into_iter().map(|(key, wire)| (key, wire.0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::value::Binary;

    #[test]
    fn all_values_survive() {
        let binary = Value::Binary(Arc::new(Binary {
            name: "f.txt".into(),
            mimetype: "text/plain".into(),
            data: "bytes".into(),
        }));
        let deep = (0..500).fold(Value::Null, |inner, _| Value::array(vec![inner]));
        for value in [
            json!({"a": [1, {"b": 1}], "c": null}).into(),
            json!({"$packed": {"$packed": ""}}).into(),
            binary.clone(),
            Value::array(vec![Value::Null, Value::object([("f".into(), binary)].into())]),
            deep,
        ] {
            let text = serde_json::to_string(&Wire(value.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Wire>(&text).unwrap().0, value, "{text}");
        }
        assert!(serde_json::from_str::<Wire>(r#"{"$packed": 5}"#).is_err());
    }
}
