//! OpenAI's `/embeddings`, and every service that speaks it; Ollama's own `/api/embed`.

use std::collections::BTreeSet;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;

use super::request::{Requests, broken};
use super::{Call, Embedder, Vectors};
use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::inference::providers::dialect;
use crate::models::Interface;

/// Speaks `/embeddings`.
#[derive(Debug)]
pub struct OpenAi {
    requests: Requests,
    /// Names of servers that the configuration states an address for, in lower case.
    compatible: BTreeSet<String>,
}

impl OpenAi {
    pub fn new(requests: Requests, compatible: BTreeSet<String>) -> Self {
        Self { requests, compatible }
    }

    /// Whether a provider speaks it.
    pub fn speaks_with(&self, provider: &str) -> bool {
        dialect(provider).is_some() || self.compatible.contains(&provider.to_lowercase())
    }

    /// Ollama's own interface, below its host whatever the path of the entry's address.
    async fn embed_at_ollama(&self, call: &Call, texts: Vec<String>) -> Result<Vectors, InferenceError> {
        let mut body = json!({"model": call.model.model_id, "input": texts});
        if call.facts.settable {
            body["dimensions"] = call.dimensions.into();
        }
        let mut call = call.clone();
        if let Some(url) = &mut call.base_url {
            url.set_path("");
        }
        let answer: OllamaAnswer = self.requests.post(&call, "api/embed", bearer(&call)?, &body).await?;
        Ok(Vectors { values: answer.embeddings, tokens: answer.prompt_eval_count })
    }
}

#[derive(Deserialize)]
struct OllamaAnswer {
    embeddings: Vec<Vec<f32>>,
    prompt_eval_count: Option<i64>,
}

fn bearer(call: &Call) -> Result<Option<(HeaderName, HeaderValue)>, InferenceError> {
    let Some(key) = &call.key else { return Ok(None) };
    Ok(Some((AUTHORIZATION, http::secret_header(&format!("Bearer {}", key.expose_secret()))?)))
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Item {
    index: Option<usize>,
    embedding: Values,
}

/// Services that do not know `encoding_format` answer with numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Base64(String),
    Numbers(Vec<f32>),
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<i64>,
}

#[async_trait]
impl Embedder for OpenAi {
    async fn embed(&self, call: &Call, texts: Vec<String>) -> Result<Vectors, InferenceError> {
        let is_own = call.model.interface != Some(Interface::ChatCompletions);
        if is_own && call.model.provider.eq_ignore_ascii_case("Ollama") {
            return self.embed_at_ollama(call, texts).await;
        }
        let mut body = json!({"model": call.model.model_id, "input": texts, "encoding_format": "base64"});
        // Models of one length refuse the parameter.
        if call.facts.settable {
            body["dimensions"] = call.dimensions.into();
        }
        let answer: Answer = self.requests.post(call, "embeddings", bearer(call)?, &body).await?;
        let mut values: Vec<Option<Vec<f32>>> = vec![None; answer.data.len()];
        for (place, item) in answer.data.into_iter().enumerate() {
            let vector = match item.embedding {
                Values::Numbers(numbers) => numbers,
                Values::Base64(text) => floats(&text)
                    .ok_or_else(|| broken(call, "a vector is neither numbers nor base64 of floats"))?,
            };
            match values.get_mut(item.index.unwrap_or(place)) {
                Some(slot @ None) => *slot = Some(vector),
                _ => return Err(broken(call, "two vectors for one text")),
            }
        }
        let tokens = answer.usage.and_then(|usage| usage.prompt_tokens);
        Ok(Vectors { values: values.into_iter().flatten().collect(), tokens })
    }

    fn most_texts(&self) -> usize {
        256
    }

    fn variable(&self, provider: &str) -> Option<&'static str> {
        dialect(provider)?.environment
    }

    fn usual_address(&self, provider: &str) -> Option<&'static str> {
        // Of a server that the configuration names, the address is there.
        Some(dialect(provider).map_or("", |dialect| dialect.base_url))
    }
}

/// Little-endian floats of 32 bits.
fn floats(text: &str) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (words, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| words.iter().map(|word| f32::from_le_bytes(*word)).collect())
}
