//! What a name of the catalogue stands for.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::entry::{Credentials, Embedding};
use super::prices::{PriceTable, Prices, day_of};

/// Which of a provider's interfaces a model is called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Interface {
    /// OpenAI's chat completions.
    #[serde(rename = "chat.completions")]
    ChatCompletions,
    /// OpenAI's responses.
    #[serde(rename = "responses")]
    Responses,
    /// Google's models that answer in text and images.
    #[serde(rename = "generateContent")]
    GenerateContent,
    /// Google's models that make images alone.
    #[serde(rename = "generateImages")]
    GenerateImages,
}

/// How a model is told to think.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningStyle {
    /// Nobody said: by what the provider's models usually take.
    #[default]
    Unknown,
    /// `reasoning_effort` or `reasoning.effort`.
    #[serde(rename = "openai_effort")]
    OpenAiEffort,
    /// `thinking` with a budget of tokens.
    AnthropicBudget,
    /// `thinking` that adapts, with an effort.
    AnthropicAdaptive,
    /// `thinkingBudget`.
    GeminiBudget,
    /// `thinkingLevel`.
    GeminiLevel,
    /// Groq's `reasoning_effort`.
    GroqEffort,
    /// On or off.
    DeepseekToggle,
    /// It cannot be told.
    None,
}

/// How one of several deployments is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// At random, by weight.
    #[default]
    Weighted,
    /// The one with the fewest calls under way for its weight.
    LeastInFlight,
}

/// Whose entry it is, which decides what it may reach and with which keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// The operator's: built in, or of a model file.
    #[default]
    Operator,
    /// A team's: it reaches what the egress policy allows, and keys of the deployment go to the provider's own
    /// address alone.
    Team(String),
    /// A caller's, written into the request: as a team's.
    Inline,
}

impl Origin {
    /// Whether the operator wrote it.
    pub fn is_operator(&self) -> bool {
        *self == Self::Operator
    }
}

/// A model that answers where another one fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// Its entry.
    pub model: String,
    /// After these failures, by their words; after any that another model may not have where empty.
    pub on: Vec<String>,
    /// Only what every model takes is sent to it: messages and the token limit (of the reference's `fallbackLLM`).
    pub plain: bool,
}

/// The most that a deployment takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeploymentLimits {
    /// Calls at once.
    pub concurrency: Option<u32>,
    /// Calls a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute.
    pub tokens_per_minute: Option<u64>,
}

/// What a name stands for. Made once per table, shared by all calls.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// The entry's name.
    pub entry: String,
    /// The id at the provider.
    pub model_id: String,
    /// The provider; empty where no entry names one.
    pub provider: String,
    /// What a person sees.
    pub label: String,
    /// What it can.
    pub features: Vec<String>,
    /// Badges.
    pub tags: Vec<String>,
    /// Context window; 0 where unknown.
    pub tokens: u64,
    /// Longest answer; 0 where unknown.
    pub completion_tokens: u64,
    /// Window and longest answer for callers with a key of their own, where they differ.
    pub own_key_tokens: Option<(u64, u64)>,
    /// The provider's address, where an entry states one.
    pub base_url: Option<String>,
    /// How the key is found; none where the entry does not say.
    pub credentials: Option<Credentials>,
    /// Request parameters where the caller leaves them open.
    pub params: Map<String, Value>,
    /// Not shown in lists.
    pub hidden: bool,
    /// Not for calls.
    pub disabled: bool,
    /// The vectors that it makes of texts; none where it makes none.
    pub embedding: Option<Embedding>,
    /// What it costs; none where nobody said.
    pub prices: Option<Arc<PriceTable>>,
    /// Which of the provider's interfaces it is called by; the provider's usual one where none.
    pub interface: Option<Interface>,
    /// How it is told to think.
    pub reasoning_style: ReasoningStyle,
    /// The most tokens of thinking.
    pub max_reasoning_tokens: Option<u64>,
    /// Who answers where it fails, in order.
    pub fallbacks: Vec<Fallback>,
    /// Where it runs, if in more than one place: each the whole model with what differs there.
    pub deployments: Vec<Arc<Resolved>>,
    /// How one of them is chosen.
    pub routing: Routing,
    /// The deployment's name; empty where there is one place alone.
    pub deployment: String,
    /// The deployment's share.
    pub weight: u32,
    /// The most that the deployment takes.
    pub limits: DeploymentLimits,
    /// What clouds want to know beside an address.
    pub settings: Map<String, Value>,
    /// Everything that entries say under `supports...`.
    pub supports: Map<String, Value>,
    /// Whose it is.
    pub origin: Origin,
    /// Names what the entry says, without its credentials: it changes when the entry does.
    pub version: String,
}

impl Resolved {
    /// Whether it has a feature, or nobody said what it can.
    pub fn can(&self, feature: &str) -> bool {
        self.features.is_empty() || self.has(feature)
    }

    /// Whether its entry lists a feature.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|known| known == feature)
    }

    /// What its entry says under `supports...`, for example `supportsSystemPrompt`.
    pub fn supports(&self, what: &str) -> Option<bool> {
        self.supports.get(what).and_then(Value::as_bool)
    }

    /// A setting that is a text and not empty.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Its prices on a day.
    pub fn prices_at(&self, time: std::time::SystemTime) -> Option<&Prices> {
        match self.prices.as_deref()? {
            PriceTable::Always(prices) => Some(prices),
            dated => dated.on(&day_of(time)),
        }
    }

    /// Its name and its deployment's, for what is kept of each place.
    pub fn place(&self) -> String {
        format!("{}\u{0}{}", self.entry, self.deployment)
    }
}
