//! Vertex AI. Gemini (<https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>): the body of
//! Google AI, at the address of a project and a region, with a token of a service account. Claude: [`claude`].

pub mod claude;
mod token;

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::ExposeSecret as _;
use sre_proto::llm::v1 as pb;

use super::{Flavour, body, events, method, whole};
use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::inference::providers::anthropic::Anthropic;
use crate::inference::providers::facts::setting;
use crate::inference::providers::wire::{Delivery, Exchange, Reading, Spoken, Texts, Wire, WireRequest};
use crate::inference::providers::{Call, Pieces, Provider, Usual, address};
use crate::inference::settings::InferenceSettings;
use crate::inference::sse::Decoder;
use crate::models::Resolved;
use claude::Claude;
use token::Tokens;

/// The provider's name in model files.
pub const NAME: &str = "VertexAI";

/// Where it is. Its key is a service account, so no variable holds it.
pub static USUAL: Usual = Usual { name: NAME, variable: None, address: location };

/// Where a model is where its entry does not say.
const REGION: &str = "us-central1";

/// Models at Vertex AI, each in the format of whoever made it. An account's token serves all of them.
#[derive(Debug)]
pub struct VertexAi {
    gemini: Spoken<Vertex>,
    claude: Anthropic<Claude>,
}

impl VertexAi {
    /// Clients of its own, with these limits.
    pub fn new(settings: &InferenceSettings) -> Result<Self, reqwest::Error> {
        let gemini = Vertex::default();
        let claude = Claude::new(Arc::clone(&gemini.tokens));
        Ok(Self {
            gemini: Spoken::new(gemini, settings.clone())?,
            claude: Anthropic::new(claude, settings.clone())?,
        })
    }

    fn of(&self, call: &Call) -> &dyn Provider {
        if claude::is_one(call) { &self.claude } else { &self.gemini }
    }
}

#[async_trait]
impl Provider for VertexAi {
    async fn generate(&self, call: Call) -> Result<pb::GenerateResponse, InferenceError> {
        self.of(&call).generate(call).await
    }

    async fn stream(&self, call: Call) -> Result<Pieces, InferenceError> {
        self.of(&call).stream(call).await
    }
}

/// Gemini at Vertex AI.
#[derive(Debug, Clone, Default)]
pub struct Vertex {
    tokens: Arc<Tokens>,
}

fn region(model: &Resolved) -> &str {
    setting(model, &["location", "region"]).unwrap_or(REGION)
}

/// The host of the model's region, or the one that its entry states.
fn location(model: &Resolved) -> Result<String, InferenceError> {
    if let Some(host) = setting(model, &["apiEndpoint"]) {
        let host = host.trim_end_matches('/');
        let address = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
        // What a team writes reaches Google, not the network of the service.
        let is_googles = url::Url::parse(&address).ok().is_some_and(|url| {
            url.scheme() == "https" && url.host_str().is_some_and(|host| host.ends_with(".googleapis.com"))
        });
        if !model.origin.is_operator() && !is_googles {
            let words = format!("the apiEndpoint of {:?} is none of Google's: leave it out", model.entry);
            return Err(InferenceError::invalid("model", words));
        }
        return Ok(address);
    }
    let region = region(model);
    if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        let words =
            format!("the location {region:?} of {:?} is none: write for example europe-west4", model.entry);
        return Err(InferenceError::invalid("model", words));
    }
    Ok(match region {
        "global" => "https://aiplatform.googleapis.com".to_owned(),
        region => format!("https://{region}-aiplatform.googleapis.com"),
    })
}

/// The path of a model: the one that its id is, or the one of its project, region and publisher.
fn path(call: &Call, publisher: &str) -> Result<String, InferenceError> {
    let id = call.model.model_id.trim_start_matches('/');
    if id.starts_with("projects/") {
        return Ok(format!("v1/{id}"));
    }
    let own =
        call.key.as_ref().and_then(|key| key.field("project_id")).map(|project| project.expose_secret());
    let project = setting(&call.model, &["projectId", "project"]).or(own).ok_or_else(|| {
        let words = format!("{:?} names no project: set projectId in its settings", call.model.entry);
        InferenceError::invalid("model", words)
    })?;
    let region = region(&call.model);
    let id = id.trim_start_matches("models/");
    let model = if id.contains('/') { id.to_owned() } else { format!("publishers/{publisher}/models/{id}") };
    Ok(format!("v1/projects/{project}/locations/{region}/{model}"))
}

/// The headers that show an account's token.
async fn bearer(tokens: &Tokens, exchange: &Exchange, call: &Call) -> Result<HeaderMap, InferenceError> {
    let token = tokens.get(exchange, call).await?;
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, http::secret_header(&format!("Bearer {}", token.expose_secret()))?);
    Ok(headers)
}

#[async_trait]
impl Wire for Vertex {
    async fn request(
        &self,
        exchange: &Exchange,
        call: &Call,
        delivery: Delivery,
    ) -> Result<WireRequest, InferenceError> {
        let headers = bearer(&self.tokens, exchange, call).await?;
        let body = body(call, Flavour::Vertex)?.to_string().into();
        let url = address(call, &format!("{}:{}", path(call, "google")?, method(delivery)))?;
        Ok(WireRequest { url, headers, body })
    }

    fn whole(&self, call: &Call, body: &[u8]) -> Result<pb::GenerateResponse, InferenceError> {
        whole(call, body)
    }

    fn reading(&self, call: &Call) -> Box<dyn Reading> {
        Box::new(Texts::<Decoder, _>::of(events::Events::of(call)))
    }
}

#[cfg(test)]
mod tests;
