//! Reading and merging the layers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::explain::{Origin, Origins};
use super::keys::{self, Node, join};
use super::{Config, ConfigError, env, substitute};

/// Prefix of environment variables that set keys: `SRE__LISTEN__EDGE` is `listen.edge`.
const PREFIX: &str = "SRE__";

/// Where the configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    file: Option<PathBuf>,
    optional_file: Option<PathBuf>,
    env: BTreeMap<String, String>,
    flags: Vec<(String, String)>,
}

impl LoadOptions {
    /// Nothing but the defaults.
    pub fn defaults() -> Self {
        Self::default()
    }

    /// `sre.toml` of the working folder where there is one, and the process's environment.
    pub fn from_process() -> Self {
        Self {
            optional_file: Some(PathBuf::from("sre.toml")),
            env: std::env::vars().collect(),
            ..Self::default()
        }
    }

    /// Reads this file, which must be there.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Takes these variables instead of the process's environment.
    pub fn env<K: Into<String>, V: Into<String>>(mut self, env: impl IntoIterator<Item = (K, V)>) -> Self {
        self.env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    /// Sets a key by a flag, written as in the environment: `("listen.edge", "127.0.0.1:7443")`.
    pub fn flag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.flags.push((key.into(), value.into()));
        self
    }
}

pub(super) fn load(options: LoadOptions) -> Result<Config, ConfigError> {
    let schema = keys::schema();
    let root = Node::root(&schema);
    let mut layers = Layers::default();
    layers.read_file(&options)?;
    for (name, text) in &options.env {
        // The gRPC and shell world is full of variables; only the double underscore is ours.
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        layers.set_text(&path, text, root, Origin::Env(name.clone()))?;
    }
    for (key, text) in &options.flags {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        layers.set_text(&path, text, root, Origin::Flag(key.clone()))?;
    }
    if let Some((key, nearest)) = keys::first_unknown(&layers.table, &schema) {
        return Err(ConfigError::UnknownKey { origin: layers.origins.of(&key), key, nearest });
    }
    let Layers { table, origins } = layers;
    typed(table, origins)
}

/// Section by section, so that an error names the key it is about.
fn typed(table: toml::Table, origins: Origins) -> Result<Config, ConfigError> {
    match toml::Value::Table(table.clone()).try_into::<Config>() {
        Ok(config) => Ok(Config { origins, ..config }),
        Err(error) => {
            let key = wrong_key(&table).unwrap_or_default();
            let message = error.message().trim().to_owned();
            Err(ConfigError::Value { origin: origins.of(&key), key, message })
        }
    }
}

/// The deepest key whose value alone makes the configuration unreadable.
fn wrong_key(table: &toml::Table) -> Option<String> {
    fn descend(path: &[String], value: &toml::Value) -> Option<String> {
        let mut alone = value.clone();
        for name in path.iter().rev() {
            alone = toml::Value::Table(toml::Table::from_iter([(name.clone(), alone)]));
        }
        alone.try_into::<Config>().err()?;
        let deeper = value.as_table().and_then(|inner| {
            inner
                .iter()
                .find_map(|(name, value)| descend(&[path, std::slice::from_ref(name)].concat(), value))
        });
        Some(deeper.unwrap_or_else(|| path.join(".")))
    }
    table.iter().find_map(|(name, value)| descend(std::slice::from_ref(name), value))
}

#[derive(Default)]
struct Layers {
    table: toml::Table,
    origins: Origins,
}

impl Layers {
    fn read_file(&mut self, options: &LoadOptions) -> Result<(), ConfigError> {
        let (path, must_exist) = match (&options.file, &options.optional_file) {
            (Some(path), _) => (path, true),
            (None, Some(path)) => (path, false),
            (None, None) => return Ok(()),
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(()),
            Err(source) => return Err(ConfigError::Read { path: path.clone(), source }),
        };
        let table: toml::Table = toml::from_str(&text)
            .map_err(|error| ConfigError::Syntax { path: path.clone(), message: error.to_string() })?;
        let origin = Origin::File(path.clone());
        let lookup = |name: &str| options.env.get(name).cloned().or_else(|| std::env::var(name).ok());
        let table = substituted(table, "", &origin, &lookup)?;
        self.merge(table, &mut Vec::new(), &origin);
        Ok(())
    }

    fn merge(&mut self, table: toml::Table, path: &mut Vec<String>, origin: &Origin) {
        for (name, value) in table {
            path.push(name);
            match value {
                toml::Value::Table(inner) => self.merge(inner, path, origin),
                value => self.set(path, value, origin.clone()),
            }
            path.pop();
        }
    }

    fn set_text(
        &mut self,
        path: &[String],
        text: &str,
        root: Node<'_>,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        let value = env::read(text, env::kind_of(root, path)).map_err(|message| ConfigError::Value {
            key: path.join("."),
            origin: origin.clone(),
            message,
        })?;
        self.set(path, value, origin);
        Ok(())
    }

    fn set(&mut self, path: &[String], value: toml::Value, origin: Origin) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut table = &mut self.table;
        for name in parents {
            let slot = table.entry(name.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if !slot.is_table() {
                *slot = toml::Value::Table(toml::Table::new());
            }
            match slot.as_table_mut() {
                Some(inner) => table = inner,
                None => return,
            }
        }
        table.insert(last.clone(), value);
        self.origins.set(&path.join("."), origin);
    }
}

fn substituted(
    table: toml::Table,
    prefix: &str,
    origin: &Origin,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<toml::Table, ConfigError> {
    table
        .into_iter()
        .map(|(name, value)| {
            let value = substituted_value(value, &join(prefix, &name), origin, lookup)?;
            Ok((name, value))
        })
        .collect()
}

fn substituted_value(
    value: toml::Value,
    key: &str,
    origin: &Origin,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<toml::Value, ConfigError> {
    Ok(match value {
        toml::Value::String(text) => {
            toml::Value::String(substitute::substitute(&text, lookup).map_err(|name| ConfigError::Value {
                key: key.to_owned(),
                origin: origin.clone(),
                message: format!(
                    "the environment variable {name} is not set: set it, or write $env({name}:-fallback)"
                ),
            })?)
        }
        toml::Value::Array(items) => toml::Value::Array(
            items
                .into_iter()
                .map(|item| substituted_value(item, key, origin, lookup))
                .collect::<Result<_, _>>()?,
        ),
        toml::Value::Table(inner) => toml::Value::Table(substituted(inner, key, origin, lookup)?),
        other => other,
    })
}
