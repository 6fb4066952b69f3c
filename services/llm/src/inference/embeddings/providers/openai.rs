//! OpenAI's `/embeddings`, and every service that speaks it.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::AUTHORIZATION;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;

use super::request::{Requests, broken};
use super::{Call, Embedder, Vectors};
use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::inference::providers::dialect;

/// Speaks `/embeddings`.
#[derive(Debug)]
pub struct OpenAi {
    requests: Requests,
}

impl OpenAi {
    pub fn new(requests: Requests) -> Self {
        Self { requests }
    }

    /// Whether a provider speaks it.
    pub fn speaks_with(provider: &str) -> bool {
        dialect(provider).is_some()
    }
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
        let mut body = json!({"model": call.model.model_id, "input": texts, "encoding_format": "base64"});
        // Models of one length refuse the parameter.
        if call.facts.settable {
            body["dimensions"] = call.dimensions.into();
        }
        let key = match &call.key {
            Some(key) => {
                Some((AUTHORIZATION, http::secret_header(&format!("Bearer {}", key.expose_secret()))?))
            }
            None => None,
        };
        let answer: Answer = self.requests.post(call, "embeddings", key, &body).await?;
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
        dialect(provider).map(|dialect| dialect.base_url)
    }
}

/// Little-endian floats of 32 bits.
fn floats(text: &str) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (words, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| words.iter().map(|word| f32::from_le_bytes(*word)).collect())
}
