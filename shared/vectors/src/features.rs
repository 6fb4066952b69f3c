//! What conditions see of metadata, in a form that every backend can index: a set of tags and a few numbers.
//!
//! A tag is a digest of key, type and value, so one index over strings answers equality, membership and
//! existence in every backend alike; and no text that a caller wrote ever stands in a backend's expression
//! (services.md H32).

use serde_json::{Map, Value};

/// A digest of a key with a value, or of a key alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag([u8; 16]);

/// A digest of a key with a number under it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumberKey([u8; 8]);

/// What conditions see of a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// In order, each once.
    pub tags: Vec<Tag>,
    /// Numbers by key, in order.
    pub numbers: Vec<(NumberKey, f64)>,
}

/// Why metadata is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// It is no JSON object.
    #[error("is no JSON object: {0}")]
    NotAnObject(String),
    /// It has too many.
    #[error("has more than {MAX_TAGS} values that conditions can see: keep long lists one level deeper")]
    TooMany,
}

/// The most tags of a row.
const MAX_TAGS: usize = 1024;

/// Texts that set digests of one kind apart from others.
const TEXT: &[u8] = b"text";
const NUMBER: &[u8] = b"number";
const BOOLEAN: &[u8] = b"boolean";
const EXISTS: &[u8] = b"exists";
const DATASOURCE: &[u8] = b"datasource";

impl Features {
    /// The features of metadata, and of the datasource that the row is of.
    pub fn of(metadata: &Map<String, Value>, datasource: &str) -> Result<Self, FeatureError> {
        let mut features = Self::default();
        for (key, value) in metadata {
            features.add(key, value);
        }
        if !datasource.is_empty() {
            features.tags.push(Tag::datasource(datasource));
        }
        if features.tags.len() > MAX_TAGS {
            return Err(FeatureError::TooMany);
        }
        features.tags.sort_unstable();
        features.tags.dedup();
        features.numbers.sort_unstable_by_key(|(key, _)| *key);
        Ok(features)
    }

    fn add(&mut self, key: &str, value: &Value) {
        if value.is_null() {
            return;
        }
        self.tags.push(Tag::exists(key));
        match value {
            Value::String(text) => self.tags.push(Tag::text(key, text)),
            Value::Bool(value) => self.tags.push(Tag::boolean(key, *value)),
            Value::Number(number) => {
                // Numbers beyond doubles are not there for conditions.
                if let Some(number) = number.as_f64().filter(|number| number.is_finite()) {
                    self.tags.push(Tag::number(key, number));
                    self.numbers.push((NumberKey::of(key), number));
                }
            }
            Value::Array(items) if items.iter().all(Value::is_string) => {
                self.tags.extend(items.iter().filter_map(Value::as_str).map(|text| Tag::text(key, text)));
            }
            Value::Array(_) | Value::Object(_) | Value::Null => {}
        }
    }

    /// Whether it has a tag.
    pub fn has(&self, tag: Tag) -> bool {
        self.tags.binary_search(&tag).is_ok()
    }

    /// The number under a key.
    pub fn number(&self, key: NumberKey) -> Option<f64> {
        let place = self.numbers.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.numbers.get(place).map(|(_, number)| *number)
    }
}

impl Tag {
    /// A string under a key, alone or in a list.
    pub fn text(key: &str, text: &str) -> Self {
        Self::digest(&[TEXT, key.as_bytes(), text.as_bytes()])
    }

    /// A number under a key. Both zeros are one.
    pub fn number(key: &str, number: f64) -> Self {
        let number = if number == 0.0 { 0.0f64 } else { number };
        Self::digest(&[NUMBER, key.as_bytes(), &number.to_bits().to_be_bytes()])
    }

    /// A boolean under a key.
    pub fn boolean(key: &str, value: bool) -> Self {
        Self::digest(&[BOOLEAN, key.as_bytes(), &[u8::from(value)]])
    }

    /// A key with a value that is not null.
    pub fn exists(key: &str) -> Self {
        Self::digest(&[EXISTS, key.as_bytes()])
    }

    /// The datasource of a row.
    pub fn datasource(id: &str) -> Self {
        Self::digest(&[DATASOURCE, id.as_bytes()])
    }

    /// Each part with its length before it, so that no two lists of parts give one digest.
    fn digest(parts: &[&[u8]]) -> Self {
        Self(digest(parts))
    }

    /// As backends keep it: 32 hex digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The bytes.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// From [`Self::bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl NumberKey {
    /// The key's digest.
    pub fn of(key: &str) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = digest(&[b"number key", key.as_bytes()]);
        Self([a, b, c, d, e, f, g, h])
    }

    /// As backends keep it: 16 hex digits behind an `n`.
    pub fn name(&self) -> String {
        format!("n{}", hex::encode(self.0))
    }

    /// The bytes.
    pub fn bytes(&self) -> [u8; 8] {
        self.0
    }

    /// From [`Self::bytes`].
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
    }
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    digest
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hex())
    }
}

impl std::fmt::Debug for NumberKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}
