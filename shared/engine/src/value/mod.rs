//! The value every component reads and writes: JSON, plus bytes that are not stored yet.
//!
//! A clone costs one reference count, so a value fans out to any number of components without being
//! copied. "Absent" is a missing key or `None`, and differs from [`Value::Null`].

pub(crate) mod codec;
mod convert;
mod number;
mod path;
mod serde_impl;
mod size;
mod text;
pub(crate) mod wire;

use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;

pub use convert::map_from_json;
pub use number::{integral, number_from_f64, number_text};
pub use path::path_in_map;
pub use text::escape_json;

/// An object: keys in insertion order.
pub type Map = IndexMap<Arc<str>, Value>;

/// A JSON value or an in-memory binary.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// JSON `null`; not the same as absent.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; integral floats are kept as integers, as JavaScript prints them.
    Number(serde_json::Number),
    /// Text.
    String(Arc<str>),
    /// A list.
    Array(Arc<Vec<Value>>),
    /// An object.
    Object(Arc<Map>),
    /// Bytes that no service stores yet; once stored it is an object `{mimetype, size, url, name}`.
    Binary(Arc<Binary>),
}

/// Bytes in memory, on their way to storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// File name with its extension.
    pub name: Arc<str>,
    /// Media type.
    pub mimetype: Arc<str>,
    /// The bytes.
    pub data: Bytes,
}

impl Value {
    /// Text.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// A list.
    pub fn array(items: Vec<Value>) -> Self {
        Self::Array(Arc::new(items))
    }

    /// An object.
    pub fn object(map: Map) -> Self {
        Self::Object(Arc::new(map))
    }

    /// The kind of this value in words, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
            Self::Binary(_) => "binary",
        }
    }

    /// Truthiness as JavaScript has it: `null`, `false`, `0` and `""` are falsy, all else is truthy.
    pub fn truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(flag) => *flag,
            Self::Number(number) => number.as_f64().is_none_or(|n| n != 0.0 && !n.is_nan()),
            Self::String(text) => !text.is_empty(),
            Self::Array(_) | Self::Object(_) | Self::Binary(_) => true,
        }
    }

    /// True for [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object()?.get(key)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The flag of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A number as a float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    /// A number as an integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members of an object.
    pub fn as_object(&self) -> Option<&Map> {
        match self {
            Self::Object(map) => Some(map),
            _ => None,
        }
    }

    /// The binary, if it is one that is not stored yet.
    pub fn as_binary(&self) -> Option<&Arc<Binary>> {
        match self {
            Self::Binary(binary) => Some(binary),
            _ => None,
        }
    }

    /// A setting as a number: numeric settings are very often stored as text.
    pub fn to_f64_lenient(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            Self::String(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            _ => None,
        }
    }

    /// A setting as a flag: `true`, `"true"`, `false`, `"false"`.
    pub fn to_bool_lenient(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            Self::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }
}

impl Binary {
    /// The members of the JSON form, with an empty url as long as the bytes are not stored.
    pub fn members(&self) -> Map {
        let mut map = Map::with_capacity(4);
        map.insert("mimetype".into(), Value::String(self.mimetype.clone()));
        map.insert("size".into(), Value::from(self.data.len() as u64));
        map.insert("url".into(), Value::from(""));
        map.insert("name".into(), Value::String(self.name.clone()));
        map
    }
}

/// Numbers are equal by value, objects whatever the order of their keys.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => {
                a == b || (a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64()))
            }
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            (Self::Binary(a), Self::Binary(b)) => a == b,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truthiness_is_javascripts() {
        let json = |text: &str| Value::from(serde_json::from_str::<serde_json::Value>(text).unwrap());
        for falsy in ["null", "false", "0", "0.0", "-0.0", "\"\""] {
            assert!(!json(falsy).truthy(), "{falsy}");
        }
        for truthy in ["true", "1", "-1", "0.5", "\"0\"", "\"false\"", "[]", "{}"] {
            assert!(json(truthy).truthy(), "{truthy}");
        }
    }

    #[test]
    fn a_clone_shares_its_content() {
        let list = Value::array(vec![Value::from(1), Value::from("a")]);
        let copy = list.clone();
        let (Value::Array(a), Value::Array(b)) = (&list, &copy) else { panic!("lists") };
        assert!(Arc::ptr_eq(a, b));
    }
}
