//! Calls of models: found in the catalogue, checked, filled in, and handed to their provider.

mod credentials;
mod embeddings;
mod error;
mod finish;
mod genai;
mod http;
mod metering;
mod providers;
mod pump;
mod service;
mod settings;
mod sse;
mod vault;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sre_proto::llm::v1 as pb;
use tokio::sync::Semaphore;
use url::Url;

pub use credentials::{Environment, Need, NoSecrets, Secrets};
pub use error::InferenceError;
pub use service::InferenceService;
pub use settings::InferenceSettings;
pub use vault::VaultSecrets;

use crate::models::{Catalogue, Resolved};
use embeddings::Embedders;
use providers::{Answers, Call, Pieces, Provider, Providers};

/// The longest answer where neither entry nor caller says.
const DEFAULT_ANSWER_TOKENS: u64 = 512;

type Result<T> = std::result::Result<T, InferenceError>;

/// Calls models. Clones share everything.
#[derive(Clone)]
pub struct Inference {
    catalogue: Catalogue,
    providers: Arc<Providers>,
    embedders: Arc<Embedders>,
    environment: Arc<Environment>,
    /// Addresses by provider that the configuration states, in lower case.
    base_urls: Arc<BTreeMap<String, String>>,
    /// Places of calls whose listener has gone.
    abandoned: Arc<Semaphore>,
}

impl Inference {
    /// Calls the models of a catalogue.
    pub fn new(
        catalogue: Catalogue,
        settings: &InferenceSettings,
        environment: Environment,
        base_urls: &BTreeMap<String, String>,
    ) -> std::result::Result<Self, reqwest::Error> {
        let base_urls = base_urls.iter().map(|(name, url)| (name.to_lowercase(), url.clone())).collect();
        Ok(Self {
            catalogue,
            providers: Arc::new(Providers::new(settings)?),
            embedders: Arc::new(Embedders::new(settings)?),
            environment: Arc::new(environment),
            base_urls: Arc::new(base_urls),
            abandoned: pump::places(),
        })
    }

    /// The whole answer to a call that was prepared.
    async fn answer(&self, call: Call) -> Result<pb::GenerateResponse> {
        self.provider(&call)?.generate(call).await
    }

    /// The same in pieces.
    async fn pieces(&self, call: Call) -> Result<Pieces> {
        self.provider(&call)?.stream(call).await
    }

    /// Texts as vectors, in order.
    pub async fn embed(&self, request: pb::EmbedRequest, secrets: &dyn Secrets) -> Result<pb::EmbedResponse> {
        let model = self.find(&request.model)?;
        let Some(facts) = model.embedding else {
            let words =
                format!("model {:?} makes no vectors: use one with the feature `embeddings`", model.entry);
            return Err(InferenceError::invalid("model", words));
        };
        let embedder = self.embedders.find(&model.provider);
        let embedder = embedder.ok_or_else(|| InferenceError::UnknownProvider(model.provider.clone()))?;
        let batch = embeddings::Batch::of(request, &facts)?;
        let mut call =
            embeddings::Call { dimensions: batch.dimensions, facts, base_url: None, key: None, model };
        if !batch.is_empty() {
            let variable = embedder.variable(&call.model.provider);
            call.key = credentials::find(&call.model, variable, &self.environment, secrets).await?;
            if let Some(usual) = embedder.usual_address(&call.model.provider) {
                call.base_url = Some(self.base_url(&call.model, usual)?);
            }
        }
        batch.run(embedder, call).await
    }

    /// What a caller must have to use a model; none where nothing built in speaks with its provider.
    pub fn need(&self, model: &Resolved) -> Option<Need> {
        if model.embedding.is_some() {
            let embedder = self.embedders.find(&model.provider)?;
            return Some(credentials::need(model, embedder.variable(&model.provider), &self.environment));
        }
        Some(match self.providers.find(&model.provider)? {
            Answers::Echo(_) => Need::Nothing,
            Answers::OpenAiChat(_, dialect) => {
                credentials::need(model, dialect.environment, &self.environment)
            }
        })
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn abandoned(&self) -> &Arc<Semaphore> {
        &self.abandoned
    }

    fn provider(&self, call: &Call) -> Result<&dyn Provider> {
        match self.providers.find(&call.model.provider) {
            Some(Answers::Echo(provider) | Answers::OpenAiChat(provider, _)) => Ok(provider),
            None => Err(InferenceError::UnknownProvider(call.model.provider.clone())),
        }
    }

    /// A request as its provider gets it: checked, filled in, with address and key.
    async fn prepare(&self, mut request: pb::GenerateRequest, secrets: &dyn Secrets) -> Result<Call> {
        let model = self.find(&request.model)?;
        let provider = self.providers.find(&model.provider);
        let provider = provider.ok_or_else(|| InferenceError::UnknownProvider(model.provider.clone()))?;
        let dialect = match provider {
            Answers::Echo(_) => return Ok(Call { model, request, base_url: None, key: None }),
            Answers::OpenAiChat(_, dialect) => dialect,
        };
        fill_in(&mut request, &model);
        check(&request, &model)?;
        clamp(&mut request, &model);
        let key = credentials::find(&model, dialect.environment, &self.environment, secrets).await?;
        let base_url = self.base_url(&model, dialect.base_url)?;
        Ok(Call { model, request, base_url: Some(base_url), key })
    }

    /// What a name stands for, or what resembles it.
    pub fn find(&self, name: &str) -> Result<Resolved> {
        if name.is_empty() {
            return Err(InferenceError::invalid("model", "is empty: name a model of the catalogue"));
        }
        let table = self.catalogue.table();
        table.resolve(name).ok_or_else(|| InferenceError::UnknownModel {
            name: name.to_owned(),
            nearest: table.nearest(name).into_iter().map(str::to_owned).collect(),
        })
    }

    /// The entry's address, the configuration's for the provider, or the provider's usual one. Files and
    /// configuration are the operator's, who may name addresses of this machine.
    fn base_url(&self, model: &Resolved, usual: &str) -> Result<Url> {
        let configured = self.base_urls.get(&model.provider.to_lowercase());
        let text = model.base_url.as_ref().or(configured).map_or(usual, String::as_str);
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.ok_or_else(|| {
            let words = format!("the base URL of {:?} is not an http or https address", model.entry);
            InferenceError::invalid("model", words)
        })
    }
}

/// The entry's parameters, each where the caller left it open. Temperatures below 0 count as left open.
fn fill_in(request: &mut pb::GenerateRequest, model: &Resolved) {
    let number = |name: &str| model.params.get(name).and_then(Value::as_f64);
    let whole = |name: &str| model.params.get(name).and_then(Value::as_i64);
    request.temperature = request.temperature.filter(|value| *value >= 0.0).or_else(|| number("temperature"));
    request.top_p = request.top_p.or_else(|| number("topP"));
    request.top_k = request.top_k.or_else(|| whole("topK"));
    request.frequency_penalty = request.frequency_penalty.or_else(|| number("frequencyPenalty"));
    request.presence_penalty = request.presence_penalty.or_else(|| number("presencePenalty"));
    request.max_tokens = request.max_tokens.filter(|limit| *limit != 0).or_else(|| whole("maxTokens"));
    if request.stop_sequences.is_empty()
        && let Some(Value::Array(texts)) = model.params.get("stopSequences")
    {
        request.stop_sequences = texts.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    }
    if request.reasoning_effort.is_empty()
        && let Some(effort) = model.params.get("reasoningEffort").and_then(Value::as_str)
    {
        request.reasoning_effort = effort.to_owned();
    }
}

fn check(request: &pb::GenerateRequest, model: &Resolved) -> Result<()> {
    if request.messages.is_empty() {
        return Err(InferenceError::invalid("messages", "is empty: send one message at least"));
    }
    let ranges = [
        ("temperature", request.temperature, 0.0..=2.0),
        ("top_p", request.top_p, 0.0..=1.0),
        ("frequency_penalty", request.frequency_penalty, -2.0..=2.0),
        ("presence_penalty", request.presence_penalty, -2.0..=2.0),
    ];
    for (field, value, range) in ranges {
        if value.is_some_and(|value| !range.contains(&value)) {
            let words = format!("must be between {} and {}", range.start(), range.end());
            return Err(InferenceError::invalid(field, words));
        }
    }
    if request.max_tokens.is_some_and(|limit| limit < 1) {
        return Err(InferenceError::invalid("max_tokens", "must be 1 or more"));
    }
    let efforts = ["", "none", "minimal", "low", "medium", "high"];
    if !efforts.contains(&request.reasoning_effort.as_str()) {
        let words = "must be none, minimal, low, medium or high";
        return Err(InferenceError::invalid("reasoning_effort", words));
    }
    let lacks_tools = !model.features.is_empty() && !model.features.iter().any(|name| name == "tools");
    if !request.tools.is_empty() && lacks_tools {
        let words = format!("model {:?} calls no tools: use one with the feature `tools`", model.entry);
        return Err(InferenceError::invalid("tools", words));
    }
    Ok(())
}

/// A limit is always sent: the caller's, the model's, or the smaller of both.
fn clamp(request: &mut pb::GenerateRequest, model: &Resolved) {
    let known = [model.completion_tokens, model.tokens].into_iter().find(|limit| *limit > 0);
    let most = i64::try_from(known.unwrap_or(DEFAULT_ANSWER_TOKENS)).unwrap_or(i64::MAX);
    request.max_tokens = Some(match (request.max_tokens, known) {
        (Some(asked), Some(_)) => asked.min(most),
        (Some(asked), None) => asked,
        (None, _) => most,
    });
}

#[cfg(test)]
mod tests;
