//! Where values came from, and how they are shown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::Config;

/// Where a value was set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Nowhere: the default.
    #[default]
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Origins by dotted key.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    pub(super) fn set(&mut self, key: &str, origin: Origin) {
        // A value set as a whole hides what was below it.
        let below = format!("{key}.");
        self.0.retain(|known, _| !known.starts_with(&below));
        self.0.insert(key.to_owned(), origin);
    }

    /// The origin of a key: its own, that of the closest table above that was set as a whole, or that of
    /// something within it.
    pub(super) fn of(&self, key: &str) -> Origin {
        let within = |known: &&String| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        if !self.0.contains_key(key)
            && let Some(inner) = self.0.keys().find(within)
        {
            return self.0[inner].clone();
        }
        let mut key = key;
        loop {
            if let Some(origin) = self.0.get(key) {
                return origin.clone();
            }
            match key.rfind('.') {
                Some(dot) => key = &key[..dot],
                None => return Origin::Default,
            }
        }
    }
}

/// One key of the configuration as it is in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// The key, dotted.
    pub key: String,
    /// Its value as TOML, secrets masked.
    pub value: String,
    /// Where it was set.
    pub origin: Origin,
}

pub(super) fn explain(config: &Config) -> Vec<Explained> {
    let mut rows = Vec::new();
    // Serializing a configuration that was deserialized cannot fail; an empty list would be seen at once.
    if let Ok(toml::Value::Table(table)) = toml::Value::try_from(config) {
        flatten(config, "", &table, &mut rows);
    }
    rows
}

fn flatten(config: &Config, prefix: &str, table: &toml::Table, rows: &mut Vec<Explained>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => flatten(config, &key, inner, rows),
            value => {
                let origin = config.origins.of(&key);
                rows.push(Explained { value: masked(&key, value.clone()).to_string(), key, origin });
            }
        }
    }
}

/// Hides what is or may hold a secret: passwords, keys and tokens by name, credentials in addresses.
fn masked(key: &str, value: toml::Value) -> toml::Value {
    match value {
        toml::Value::String(text) => toml::Value::String(if is_secret_name(key) {
            "<redacted>".to_owned()
        } else {
            without_userinfo(text)
        }),
        toml::Value::Array(items) => {
            toml::Value::Array(items.into_iter().map(|item| masked(key, item)).collect())
        }
        toml::Value::Table(table) => toml::Value::Table(
            table
                .into_iter()
                .map(|(name, item)| (name.clone(), masked(&format!("{key}.{name}"), item)))
                .collect(),
        ),
        other => other,
    }
}

fn is_secret_name(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    // Paths of key files are no secrets; settings of connectors may be anything.
    let words = ["password", "secret", "token", "apikey", "api_key", "credential", "private", "passphrase"];
    let in_connectors = ["key", "connectionstring", "connection_string", "dsn", "sas", "auth"];
    let in_connector = key.starts_with("connectors.") && in_connectors.iter().any(|word| last.contains(word));
    in_connector || words.iter().any(|word| last.contains(word))
}

fn without_userinfo(text: String) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text };
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://<redacted>{}", &rest[at..]),
        None => text,
    }
}
