//! What a backend is opened with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::settings;
use crate::config::Config;
use crate::host::Host;

/// What a backend is opened with.
#[derive(Clone)]
pub struct Opening {
    /// The instance's id, unique in its service.
    pub id: String,
    /// Its settings as the configuration states them, `$env()` replaced.
    pub settings: Map<String, Value>,
    /// The data folder.
    pub data_dir: PathBuf,
    pub(super) config: Arc<Config>,
    pub(super) host: Option<Host>,
}

/// Something that only a service that runs can open, such as its own store.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it lives in its service: start the suite, and it is opened and checked there")]
pub struct NeedsService;

impl Opening {
    /// Outside a service, for tests of backends: these settings, a JSON object, and this data folder.
    pub fn standalone(id: &str, settings: Value, data_dir: &Path) -> Self {
        let settings = match settings {
            Value::Object(settings) => settings,
            _ => Map::new(),
        };
        let config = Config::in_dir(data_dir).shared();
        Self { id: id.to_owned(), settings, data_dir: data_dir.to_owned(), config, host: None }
    }

    /// The same within a service, for tests of backends that need one.
    #[must_use]
    pub(crate) fn within(mut self, host: &Host) -> Self {
        self.host = Some(host.clone());
        self
    }

    /// The settings, typed. An unknown one is an error that names the nearest; `accessKeyId`,
    /// `access_key_id` and `AccessKeyID` are the same setting. No error shows a value.
    pub fn settings<T: DeserializeOwned + JsonSchema>(&self) -> anyhow::Result<T> {
        settings::read(&self.settings)
    }

    /// Whether the settings are a `T`: the `check` of kinds that need no more.
    pub fn check<T: DeserializeOwned + JsonSchema>(&self) -> anyhow::Result<()> {
        self.settings::<T>().map(drop)
    }

    /// A path of the settings: relative ones are under the data folder.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.data_dir.join(path)
    }

    /// The whole configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The service that the instance belongs to: its store, links and tasks. An error where it is opened
    /// outside of one, by `sre connectors check`.
    pub fn host(&self) -> Result<&Host, NeedsService> {
        self.host.as_ref().ok_or(NeedsService)
    }
}

/// Shows no settings: they may hold secrets.
impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.settings.keys().collect();
        f.debug_struct("Opening").field("id", &self.id).field("settings", &names).finish_non_exhaustive()
    }
}
