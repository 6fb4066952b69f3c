//! Google's `batchEmbedContents`.

use async_trait::async_trait;
use reqwest::header::HeaderName;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::request::Requests;
use super::{Call, Embedder, Vectors};
use crate::inference::error::InferenceError;
use crate::inference::http;

const ADDRESS: &str = "https://generativelanguage.googleapis.com/v1beta";
/// Where Google reads keys: never from the address, which logs show.
const KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Speaks `batchEmbedContents`.
#[derive(Debug)]
pub struct Google {
    requests: Requests,
}

impl Google {
    pub fn new(requests: Requests) -> Self {
        Self { requests }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    embeddings: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    values: Vec<f32>,
}

#[async_trait]
impl Embedder for Google {
    async fn embed(&self, call: &Call, texts: Vec<String>) -> Result<Vectors, InferenceError> {
        let name = format!("models/{}", call.model.model_id);
        // The length belongs into each request: beside them the service does not see it (llm.md D37).
        let requests: Vec<Value> = texts
            .iter()
            .map(|text| {
                let content = json!({"parts": [{"text": text}]});
                json!({"model": name, "content": content, "outputDimensionality": call.dimensions})
            })
            .collect();
        let key = match &call.key {
            Some(key) => Some((KEY, http::secret_header(key.expose_secret())?)),
            None => None,
        };
        let path = format!("{name}:batchEmbedContents");
        let answer: Answer = self.requests.post(call, &path, key, &json!({"requests": requests})).await?;
        let shortened = call.dimensions != call.facts.dimensions;
        let values = answer.embeddings.into_iter().map(|item| item.values);
        // Only vectors of the model's own length have length 1.
        let values = values.map(|values| if shortened { normalized(values) } else { values });
        Ok(Vectors { values: values.collect(), tokens: None })
    }

    fn most_texts(&self) -> usize {
        100
    }

    fn variable(&self, _provider: &str) -> Option<&'static str> {
        Some("GOOGLE_AI_API_KEY")
    }

    fn usual_address(&self, _provider: &str) -> Option<&'static str> {
        Some(ADDRESS)
    }
}

fn normalized(mut values: Vec<f32>) -> Vec<f32> {
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|value| *value /= length);
    }
    values
}
