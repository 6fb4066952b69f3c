//! One entry of a model file.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::prices::PriceTable;
use super::resolved::{Interface, ReasoningStyle, Routing};

/// An entry as files write it. Unknown fields are ignored: files of the reference hold many.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// Id sent to the provider; the entry's name where absent.
    pub model_id: Option<String>,
    /// Who provides it.
    pub provider: Option<String>,
    /// The older name of `provider`.
    pub llm: Option<String>,
    /// The entry, or the raw model id, that this one stands for.
    pub alias: Option<String>,
    /// What a person sees.
    pub label: Option<String>,
    /// What it can.
    pub features: Option<Vec<String>>,
    /// Badges.
    pub tags: Option<Vec<String>>,
    /// Context window in tokens, input and output.
    pub tokens: Option<u64>,
    /// Longest answer in tokens.
    pub completion_tokens: Option<u64>,
    /// Not shown in lists.
    pub hidden: bool,
    /// Limits for callers with a key of their own.
    pub key_options: Option<KeyOptions>,
    /// How its key is found.
    pub credentials: Option<Credentials>,
    /// The provider's address, in place of its usual one.
    #[serde(rename = "baseURL")]
    pub base_url: Option<String>,
    /// Request parameters where the caller leaves them open.
    pub params: Map<String, Value>,
    /// The vectors that it makes of texts; absent where it makes none.
    pub embedding: Option<Embedding>,
    /// What it costs; absent where nobody said.
    pub prices: Option<PriceTable>,
    /// Which of a provider's interfaces it is called by.
    pub interface: Option<Interface>,
    /// How it is told to think.
    pub reasoning_style: Option<ReasoningStyle>,
    /// The entry that answers where this one fails, as the reference writes it.
    #[serde(rename = "fallbackLLM")]
    pub fallback_llm: Option<String>,
    /// Entries that answer where this one fails, in order.
    pub fallbacks: Vec<FallbackEntry>,
    /// Where it runs, if in more than one place.
    pub deployments: Vec<DeploymentEntry>,
    /// How one of them is chosen.
    pub routing: Option<Routing>,
    /// What clouds want to know beside an address: region, project, names of vault keys.
    pub settings: Map<String, Value>,
    /// Not for calls, unless `keyOptions.enabled` says so.
    pub enabled: Option<bool>,
    /// Added by a team for itself.
    #[serde(rename = "isUserCustomLLM")]
    pub is_user_custom: bool,
    /// The most tokens of thinking.
    pub max_reasoning_tokens: Option<u64>,
    /// Everything that begins with `supports`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// An entry that answers where another one fails.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum FallbackEntry {
    /// After any failure that another model may not have.
    Name(String),
    /// After some failures.
    When {
        /// The entry.
        model: String,
        /// Words of `Attempt.failure`; any where empty.
        #[serde(default)]
        on: Vec<String>,
    },
}

/// One place in which a model runs. What it leaves out is as in its entry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentEntry {
    /// Its name; its place in the list, from 1 on, where absent.
    pub name: Option<String>,
    /// As in the entry.
    pub provider: Option<String>,
    /// As in the entry.
    pub model_id: Option<String>,
    /// As in the entry.
    #[serde(rename = "baseURL")]
    pub base_url: Option<String>,
    /// As in the entry.
    pub credentials: Option<Credentials>,
    /// Where it is, for clouds.
    pub region: Option<String>,
    /// Its share beside the others; 1 where absent, 0 for none unless the others fail.
    pub weight: Option<u32>,
    /// Calls at once; any number where absent.
    pub concurrency: Option<u32>,
    /// Calls a minute; any number where absent.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute; any number where absent.
    pub tokens_per_minute: Option<u64>,
    /// As in the entry; what is set here wins.
    pub settings: Map<String, Value>,
}

/// The vectors that a model makes of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Embedding {
    /// Their length, unless asked otherwise.
    pub dimensions: u32,
    /// Whether another length may be asked for.
    #[serde(default)]
    pub settable: bool,
}

/// Limits for callers with a key of their own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyOptions {
    /// Context window in tokens.
    pub tokens: Option<u64>,
    /// Longest answer in tokens.
    pub completion_tokens: Option<u64>,
    /// For calls where the entry is not.
    pub enabled: Option<bool>,
}

/// How a key is found: one way, or several in order.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum Credentials {
    /// One way.
    One(CredentialMode),
    /// The first that yields a key counts.
    Ordered(Vec<CredentialMode>),
}

/// One way to find a key.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum CredentialMode {
    /// `none`, `internal`, `vault`, `bedrock_vault` or `vertexai_vault`.
    Named(String),
    /// The key itself, or templates that name it.
    Object(Map<String, Value>),
}

impl Credentials {
    /// The ways in order.
    pub fn modes(&self) -> &[CredentialMode] {
        match self {
            Self::One(mode) => std::slice::from_ref(mode),
            Self::Ordered(modes) => modes,
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Credentials may hold keys.
        f.debug_struct("Entry")
            .field("model_id", &self.model_id)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.modes()).finish()
    }
}

impl std::fmt::Debug for CredentialMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Object(_) => f.write_str("{..}"),
        }
    }
}

/// Reads the entries of one file: a map of name to entry, or one entry, stored under its model id. Gives
/// the good entries and what is wrong with the others.
pub fn entries_of(document: Value) -> (Vec<(String, Value)>, Vec<String>) {
    let Value::Object(document) = document else {
        return (Vec::new(), vec!["must hold a JSON object".to_owned()]);
    };
    if let Some(Value::String(id)) = document.get("modelId") {
        let id = id.clone();
        return checked([(id, Value::Object(document))]);
    }
    checked(document)
}

fn checked(candidates: impl IntoIterator<Item = (String, Value)>) -> (Vec<(String, Value)>, Vec<String>) {
    let (mut good, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in candidates {
        match problem(&value) {
            None => good.push((name, value)),
            Some(problem) => problems.push(format!("model {name:?}: {problem}")),
        }
    }
    (good, problems)
}

fn problem(value: &Value) -> Option<String> {
    let Value::Object(entry) = value else { return Some("must be an object".to_owned()) };
    match entry.get("modelId") {
        Some(Value::String(_)) => {}
        _ => return Some("needs a string `modelId`".to_owned()),
    }
    match entry.get("provider") {
        None | Some(Value::String(_)) => {}
        Some(_) => return Some("`provider` must be a string".to_owned()),
    }
    match Entry::deserialize(value) {
        Ok(entry) => entry.prices.as_ref().and_then(PriceTable::problem),
        // The error of serde names the field, never its value of another type in full.
        Err(error) => Some(error.to_string()),
    }
}
