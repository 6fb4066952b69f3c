//! Secrets among settings: given by reference, never shown.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A secret of a backend's settings: a text, most often `$env(NAME)`, or `{ file = "/run/secrets/name" }`, which
/// is read whenever it is needed, so that a mounted secret may change. It is shown nowhere.
#[derive(Clone)]
pub struct SecretSetting(Source);

#[derive(Clone)]
enum Source {
    Text(SecretString),
    File(PathBuf),
}

impl SecretSetting {
    /// The secret itself; from a file without the line end after it.
    pub async fn reveal(&self) -> anyhow::Result<SecretString> {
        match &self.0 {
            Source::Text(text) => Ok(text.clone()),
            Source::File(path) => {
                let read = tokio::fs::read_to_string(path).await;
                let text = read.with_context(|| format!("secret file {} cannot be read", path.display()))?;
                Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
            }
        }
    }
}

impl From<&str> for SecretSetting {
    fn from(text: &str) -> Self {
        Self(Source::Text(SecretString::from(text)))
    }
}

impl fmt::Debug for SecretSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Text(_) => f.write_str("<redacted>"),
            Source::File(path) => write!(f, "<secret of {}>", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// Its errors repeat no value: whoever puts a secret into the wrong place reads it in no log.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = SecretSetting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a table with `file`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SecretSetting, E> {
        Ok(SecretSetting::from(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSetting, A::Error> {
        let wrong = || A::Error::custom("a secret is a text, or a table with `file` alone");
        match map.next_entry::<String, PathBuf>()? {
            Some((name, path)) if name == "file" && map.next_key::<String>()?.is_none() => {
                Ok(SecretSetting(Source::File(path)))
            }
            _ => Err(wrong()),
        }
    }
}

impl JsonSchema for SecretSetting {
    fn schema_name() -> Cow<'static, str> {
        "SecretSetting".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"file": {"type": "string"}}, "additionalProperties": false},
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_secret_is_a_text_or_a_file_that_is_read_again() {
        let text: SecretSetting = serde_json::from_value(json!("s3cret")).unwrap();
        assert_eq!(text.reveal().await.unwrap().expose_secret(), "s3cret");
        assert!(!format!("{text:?}").contains("s3cret"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let file: SecretSetting = serde_json::from_value(json!({"file": path})).unwrap();
        assert!(format!("{:#}", file.reveal().await.unwrap_err()).contains("cannot be read"));
        for value in ["one", "two"] {
            std::fs::write(&path, format!("{value}\n")).unwrap();
            assert_eq!(file.reveal().await.unwrap().expose_secret(), value);
        }
    }

    #[test]
    fn a_mistake_does_not_show_it() {
        for wrong in [json!({"vault": "s3cret"}), json!({"file": "a", "env": "s3cret"}), json!(["s3cret"])] {
            let error = serde_json::from_value::<SecretSetting>(wrong).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
