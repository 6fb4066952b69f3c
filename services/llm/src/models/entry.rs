//! One entry of a model file.

use serde::Deserialize;
use serde_json::{Map, Value};

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
    pub prices: Option<Prices>,
    /// Which of a provider's interfaces it is called by.
    pub interface: Option<Interface>,
}

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

/// What a model costs: millionths of a US dollar for a million tokens, so millionths of a millionth for one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Prices {
    /// Of the request.
    pub input_micros: u64,
    /// Of the answer, thinking included.
    pub output_micros: u64,
    /// Of the request where the provider had it cached; the price of the request where absent.
    pub cached_input_micros: Option<u64>,
}

impl Prices {
    /// What these tokens cost, in millionths of a US dollar, rounded half up. Negative counts are none.
    pub fn cost_micros(&self, input: i64, cached: i64, output: i64) -> i64 {
        let tokens = |count: i64| u128::from(u64::try_from(count).unwrap_or_default());
        let cached = tokens(cached).min(tokens(input));
        let cached_price = u128::from(self.cached_input_micros.unwrap_or(self.input_micros));
        let of_input = (tokens(input) - cached) * u128::from(self.input_micros) + cached * cached_price;
        let whole = of_input + tokens(output) * u128::from(self.output_micros);
        i64::try_from((whole + 500_000) / 1_000_000).unwrap_or(i64::MAX)
    }
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
    /// `none`, `internal` or `vault`.
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
    // The error of serde names the field, never its value of another type in full.
    Entry::deserialize(value).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_whole_and_rounded_once() {
        let prices = Prices {
            input_micros: 2_500_000,
            output_micros: 10_000_000,
            cached_input_micros: Some(1_250_000),
        };
        assert_eq!(prices.cost_micros(1_000, 0, 100), 3_500);
        assert_eq!(prices.cost_micros(1_000, 400, 100), 3_000);
        // 2.5 and 0.15 millionths: halves go up, what is below a half down.
        assert_eq!(prices.cost_micros(1, 0, 0), 3);
        assert_eq!(Prices { input_micros: 150_000, ..Prices::default() }.cost_micros(3, 0, 0), 0);
        assert_eq!(prices.cost_micros(-5, -1, -1), 0);
        assert_eq!(prices.cost_micros(10, 99, 0), 13, "no more is cached than was sent");
        let huge = Prices { input_micros: u64::MAX, ..Prices::default() };
        assert_eq!(huge.cost_micros(i64::MAX, 0, 0), i64::MAX);
    }
}
