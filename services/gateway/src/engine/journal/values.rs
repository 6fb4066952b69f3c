//! Values in records: JSON text, with bytes that no service stores yet kept beside it. JSON alone would lose
//! them, and a run that is taken over would go on with empty files.

use std::sync::Arc;

use bytes::Bytes;
use sre_engine::{Binary, Map, Value};

/// A value as records hold it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StoredValue {
    /// The value as JSON text; a place that held bytes has their JSON form.
    #[prost(bytes = "bytes", tag = "1")]
    pub json: Bytes,
    /// The bytes, each with its place.
    #[prost(message, repeated, tag = "2")]
    pub binaries: Vec<StoredBinary>,
}

/// Bytes inside a value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StoredBinary {
    /// Where they are: member names, and positions as digits.
    #[prost(string, repeated, tag = "1")]
    pub place: Vec<String>,
    /// File name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Media type.
    #[prost(string, tag = "3")]
    pub mimetype: String,
    /// The bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
}

/// A stored value that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// The text is not JSON.
    #[error("a stored value is not json: {0}")]
    Json(#[from] serde_json::Error),
    /// Bytes have a place that the value does not have.
    #[error("a stored value has bytes at {0:?}, where it has no member")]
    Place(Vec<String>),
}

impl StoredValue {
    /// Stores a value.
    pub fn of(value: &Value) -> Result<Self, ValueError> {
        let mut binaries = Vec::new();
        collect(value, &mut Vec::new(), &mut binaries);
        Ok(Self { json: serde_json::to_vec(value)?.into(), binaries })
    }

    /// Reads it back.
    pub fn value(&self) -> Result<Value, ValueError> {
        let mut value: Value = serde_json::from_slice(&self.json)?;
        for stored in &self.binaries {
            value = placed(&value, &stored.place, stored)
                .ok_or_else(|| ValueError::Place(stored.place.clone()))?;
        }
        Ok(value)
    }
}

fn collect(value: &Value, place: &mut Vec<String>, found: &mut Vec<StoredBinary>) {
    match value {
        Value::Binary(binary) => found.push(StoredBinary {
            place: place.clone(),
            name: binary.name.to_string(),
            mimetype: binary.mimetype.to_string(),
            data: binary.data.clone(),
        }),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                place.push(index.to_string());
                collect(item, place, found);
                place.pop();
            }
        }
        Value::Object(map) => {
            for (key, item) in map.iter() {
                place.push(key.to_string());
                collect(item, place, found);
                place.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `value` with the bytes at `place`; none where it has no such place.
fn placed(value: &Value, place: &[String], stored: &StoredBinary) -> Option<Value> {
    let Some((first, rest)) = place.split_first() else {
        return Some(Value::Binary(Arc::new(Binary {
            name: stored.name.as_str().into(),
            mimetype: stored.mimetype.as_str().into(),
            data: stored.data.clone(),
        })));
    };
    match value {
        Value::Array(items) => {
            let index: usize = first.parse().ok()?;
            let mut items: Vec<Value> = items.to_vec();
            let slot = items.get_mut(index)?;
            *slot = placed(slot, rest, stored)?;
            Some(Value::array(items))
        }
        Value::Object(map) => {
            let mut map: Map = (**map).clone();
            let slot = map.get_mut(first.as_str())?;
            *slot = placed(slot, rest, stored)?;
            Some(Value::object(map))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn json_comes_back_as_it_was() {
        for text in [r#"{"z":1,"a":[1.5,null,"é"]}"#, "[]", "null", "12345678901234567890"] {
            let value = json(text);
            let stored = StoredValue::of(&value).unwrap();
            assert!(stored.binaries.is_empty());
            assert_eq!(stored.value().unwrap(), value, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_stored_yet_survive() {
        let file = Value::Binary(Arc::new(Binary {
            name: "a.bin".into(),
            mimetype: "application/octet-stream".into(),
            data: Bytes::from_static(&[0, 159, 146, 150]),
        }));
        let mut inner = Map::new();
        inner.insert("file".into(), file.clone());
        let value = Value::array(vec![json("1"), Value::object(inner), file]);
        let stored = StoredValue::of(&value).unwrap();
        assert_eq!(stored.binaries.len(), 2);
        assert_eq!(stored.value().unwrap(), value);
    }

    #[test]
    fn a_place_that_is_not_there_is_an_error() {
        let stored = StoredValue {
            json: Bytes::from_static(b"{}"),
            binaries: vec![StoredBinary { place: vec!["gone".into()], ..Default::default() }],
        };
        assert!(matches!(stored.value(), Err(ValueError::Place(_))));
    }
}
