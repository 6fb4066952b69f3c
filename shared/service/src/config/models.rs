//! `[models]`: model catalogues.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Model catalogues.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Models {
    /// A model file or a folder of them, beside the built-in catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// How `path` and the built-in catalogue meet.
    pub mode: ModelsMode,
    /// Base addresses by provider, in place of the public ones: `OpenAI = "http://127.0.0.1:18080/v1"`.
    pub base_urls: std::collections::BTreeMap<String, String>,
}

/// How own models and the built-in catalogue meet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelsMode {
    /// Own models are added and win.
    #[default]
    Merge,
    /// Only own models.
    Replace,
}
