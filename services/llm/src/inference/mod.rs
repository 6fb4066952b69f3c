//! Calls of models: found in the catalogue, checked, filled in, and handed to their provider.

mod answers;
mod credentials;
mod embeddings;
mod error;
pub(crate) mod estimate;
mod files;
mod finish;
mod genai;
pub mod grammar;
mod http;
mod images;
mod metering;
mod parameters;
mod providers;
mod pump;
mod reliability;
mod service;
mod settings;
mod sse;
mod tokens;
mod vault;

use std::collections::BTreeMap;
use std::sync::Arc;

use sre_proto::llm::v1 as pb;
use tokio::sync::Semaphore;
use url::Url;

pub use credentials::{Environment, Key, Need, NoSecrets, Search, Secrets};
pub use error::InferenceError;
pub use metering::Payer;
pub use reliability::Failure;
pub use service::InferenceService;
pub use settings::InferenceSettings;
pub use vault::VaultSecrets;

use crate::models::{Catalogue, Resolved, Table};
use embeddings::Embedders;
use providers::{Answers, Call, Pieces, Provider, Providers};
use reliability::{Chain, Reliability};

type Result<T> = std::result::Result<T, InferenceError>;

/// Calls models. Clones share everything.
#[derive(Clone)]
pub struct Inference {
    catalogue: Catalogue,
    providers: Arc<Providers>,
    embedders: Arc<Embedders>,
    painters: Arc<images::Painters>,
    tokens: tokens::Tokens,
    environment: Arc<Environment>,
    /// Addresses by provider that the configuration states, in lower case.
    base_urls: Arc<BTreeMap<String, String>>,
    reliability: Reliability,
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
            embedders: Arc::new(Embedders::new(settings, base_urls.keys())?),
            painters: Arc::new(images::Painters::new(settings)?),
            tokens: tokens::Tokens::default(),
            environment: Arc::new(environment),
            base_urls: Arc::new(base_urls),
            reliability: Reliability::new(settings),
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

    /// Texts as vectors, in order, by the model that the request names.
    pub async fn embed(&self, request: pb::EmbedRequest, secrets: &dyn Secrets) -> Result<pb::EmbedResponse> {
        self.embed_by(self.find(&request.model)?, request, secrets).await
    }

    /// The same by a model that was found.
    pub async fn embed_by(
        &self,
        model: Arc<Resolved>,
        request: pb::EmbedRequest,
        secrets: &dyn Secrets,
    ) -> Result<pb::EmbedResponse> {
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
            let usual = embedder.usual_address(&call.model.provider);
            let key = self.search(&call.model, variable, usual.unwrap_or_default()).find(secrets).await?;
            call.key = key.and_then(|key| key.api_key().cloned());
            if let Some(usual) = usual {
                call.base_url = Some(self.base_url(&call.model, usual)?);
            }
        }
        let texts = batch.len();
        genai::embedding(call, texts, async |call| batch.run(embedder, call).await).await
    }

    /// What a caller must have to use a model; none where nothing built in speaks with its provider.
    pub fn need(&self, model: &Resolved) -> Option<Need> {
        if model.embedding.is_some() {
            let embedder = self.embedders.find(&model.provider)?;
            let usual = embedder.usual_address(&model.provider).unwrap_or_default();
            return Some(self.search(model, embedder.variable(&model.provider), usual).need());
        }
        Some(match self.providers.find(&model.provider)? {
            Answers::Echo(_) => Need::Nothing,
            Answers::OpenAiChat(_, dialect) => {
                self.search(model, dialect.environment, dialect.base_url).need()
            }
            Answers::Other(_, usual) => {
                let address = (usual.address)(model).unwrap_or_default();
                self.search(model, usual.variable, &address).need()
            }
        })
    }

    /// Where a model's key may come from.
    fn search<'a>(&'a self, model: &'a Resolved, variable: credentials::Variable, usual: &str) -> Search<'a> {
        let pinned = model.origin.is_operator() || self.is_usual(model, usual);
        Search { model, variable, environment: &self.environment, pinned }
    }

    /// Whether a model goes to the provider's own host, or to the one that the operator put in its place.
    fn is_usual(&self, model: &Resolved, usual: &str) -> bool {
        let Some(asked) = &model.base_url else { return true };
        let configured = self.base_urls.get(&model.provider.to_lowercase()).map_or(usual, String::as_str);
        let origin = |text: &str| Url::parse(text).ok().map(|url| url.origin());
        origin(asked).is_some_and(|asked| asked.is_tuple() && Some(asked) == origin(configured))
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// How many tokens texts have.
    pub(crate) fn tokens(&self) -> &tokens::Tokens {
        &self.tokens
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

    /// A request on its way to a model of a table: looked at as far as no place matters.
    fn chain(&self, table: Arc<Table>, model: Arc<Resolved>, request: pb::GenerateRequest) -> Chain {
        Chain::new(self.reliability.clone(), table, model, request)
    }

    /// Whether a model would take a request: what can be said before anything is reserved or sent.
    fn check(&self, request: &pb::GenerateRequest, model: &Resolved) -> Result<()> {
        match self.providers.find(&model.provider) {
            None if model.deployments.is_empty() => {
                Err(InferenceError::UnknownProvider(model.provider.clone()))
            }
            Some(Answers::Echo(_)) => Ok(()),
            _ => parameters::check(request, model),
        }
    }

    /// A request as its provider gets it: checked, filled in, with address and key.
    async fn prepare(
        &self,
        model: Arc<Resolved>,
        mut request: pb::GenerateRequest,
        secrets: &dyn Secrets,
    ) -> Result<Call> {
        let provider = self.providers.find(&model.provider);
        let provider = provider.ok_or_else(|| InferenceError::UnknownProvider(model.provider.clone()))?;
        let (variable, usual) = match provider {
            Answers::Echo(_) => return Ok(Call { model, request, base_url: None, key: None }),
            Answers::OpenAiChat(_, dialect) => (dialect.environment, dialect.base_url.to_owned()),
            Answers::Other(_, usual) => (usual.variable, (usual.address)(&model)?),
        };
        parameters::fill_in(&mut request, &model);
        parameters::check(&request, &model)?;
        let key = self.search(&model, variable, &usual).find(secrets).await?;
        parameters::clamp(&mut request, &model, key.as_ref().is_some_and(Key::is_own));
        let base_url = self.base_url(&model, &usual)?;
        Ok(Call { model, request, base_url: Some(base_url), key })
    }

    /// What a name stands for, or what resembles it.
    pub fn find(&self, name: &str) -> Result<Arc<Resolved>> {
        Self::find_in(&self.catalogue.table(), name)
    }

    /// The same in a table: an entry's name, or a model object as JSON.
    pub fn find_in(table: &Table, name: &str) -> Result<Arc<Resolved>> {
        if name.is_empty() {
            return Err(InferenceError::invalid("model", "is empty: name a model of the catalogue"));
        }
        if name.starts_with('{') {
            let object = serde_json::from_str(name).map_err(|error| error.to_string());
            return object.and_then(|object| table.resolve_inline(&object)).map_err(|problem| {
                InferenceError::invalid("model", format!("is no model object: {problem}"))
            });
        }
        let model = table.resolve(name).ok_or_else(|| InferenceError::UnknownModel {
            name: name.to_owned(),
            nearest: table.nearest(name).into_iter().map(str::to_owned).collect(),
        })?;
        if model.disabled {
            let words = format!("{:?} is switched off in the catalogue: use another", model.entry);
            return Err(InferenceError::invalid("model", words));
        }
        Ok(model)
    }

    /// The entry's address, the configuration's for the provider, or the provider's usual one. Files and
    /// configuration are the operator's, who may name addresses of this machine; where those of others may lead is
    /// looked at when they are connected to.
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
