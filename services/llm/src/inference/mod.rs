//! Calls of models: found in the catalogue, checked, filled in, and handed to their provider.

mod credentials;
mod embeddings;
mod error;
mod finish;
mod genai;
mod http;
mod metering;
mod parameters;
mod providers;
mod pump;
mod service;
mod settings;
mod sse;
mod vault;

use std::collections::BTreeMap;
use std::sync::Arc;

use sre_proto::llm::v1 as pb;
use tokio::sync::Semaphore;
use url::Url;

pub use credentials::{Environment, Key, Need, NoSecrets, Secrets};
pub use error::InferenceError;
pub use service::InferenceService;
pub use settings::InferenceSettings;
pub use vault::VaultSecrets;

use crate::models::{Catalogue, Resolved};
use embeddings::Embedders;
use providers::{Answers, Call, Pieces, Provider, Providers};

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
        let base_urls: BTreeMap<_, _> =
            base_urls.iter().map(|(name, url)| (name.to_lowercase(), url.clone())).collect();
        Ok(Self {
            catalogue,
            providers: Arc::new(Providers::new(settings, base_urls.keys())?),
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
            Answers::Other(_, usual) => credentials::need(model, usual.variable, &self.environment),
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
            Some(
                Answers::Echo(provider) | Answers::OpenAiChat(provider, _) | Answers::Other(provider, _),
            ) => Ok(provider),
            None => Err(InferenceError::UnknownProvider(call.model.provider.clone())),
        }
    }

    /// A request as its provider gets it: checked, filled in, with address and key.
    async fn prepare(&self, mut request: pb::GenerateRequest, secrets: &dyn Secrets) -> Result<Call> {
        let model = self.find(&request.model)?;
        let provider = self.providers.find(&model.provider);
        let provider = provider.ok_or_else(|| InferenceError::UnknownProvider(model.provider.clone()))?;
        let (variable, usual) = match provider {
            Answers::Echo(_) => return Ok(Call { model, request, base_url: None, key: None }),
            Answers::OpenAiChat(_, dialect) => (dialect.environment, dialect.base_url.to_owned()),
            Answers::Other(_, usual) => (usual.variable, (usual.address)(&model)?),
        };
        parameters::fill_in(&mut request, &model);
        parameters::check(&request, &model)?;
        parameters::clamp(&mut request, &model);
        let key = credentials::find(&model, variable, &self.environment, secrets).await?;
        let key = key.map(Key::of);
        let base_url = self.base_url(&model, &usual)?;
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

#[cfg(test)]
mod tests;
