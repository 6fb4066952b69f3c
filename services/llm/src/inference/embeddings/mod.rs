//! Texts as vectors: cut into batches, a few batches at a time, and put together in order.
//!
//! One file per provider behind [`Embedder`]; to add one, name it in [`Embedders::find`]. Connections are shared
//! and know no key: a key is found for one call, travels with it and is gone after it (H19).

mod providers;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use secrecy::SecretString;
use sre_proto::llm::v1 as pb;

pub use providers::{Embedder, Embedders};

use super::error::InferenceError;
use crate::models::{Embedding, Resolved};

/// The most texts of a call.
const MAX_TEXTS: usize = 2048;
/// The most bytes that the vectors of an answer take: they travel in one message.
const MAX_ANSWER_BYTES: usize = 3 << 20;
/// The most bytes of one text.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// A batch holds so many bytes of text at most, so that it stays within what providers take of tokens.
const BATCH_BYTES: usize = 512 << 10;
/// Batches of one call that are under way at once.
const BATCHES_AT_ONCE: usize = 4;
/// The longest vector.
const MAX_DIMENSIONS: u32 = 4096;

/// What the requests of a call have in common.
#[derive(Debug, Clone)]
pub struct Call {
    /// The model.
    pub model: std::sync::Arc<Resolved>,
    /// What the catalogue says of its vectors.
    pub facts: Embedding,
    /// Length of the vectors.
    pub dimensions: u32,
    /// Where to; none for providers without an address.
    pub base_url: Option<url::Url>,
    /// The key, for that address alone.
    pub key: Option<SecretString>,
}

/// The vectors of a batch, and the tokens that the provider counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vectors {
    /// In the order of the texts.
    pub values: Vec<Vec<f32>>,
    /// Tokens of the texts, where the provider says.
    pub tokens: Option<i64>,
}

/// The checked texts of a call.
#[derive(Debug)]
pub struct Batch {
    texts: Vec<String>,
    batch_size: Option<usize>,
    /// Length of the vectors.
    pub dimensions: u32,
}

impl Batch {
    /// Checks a request against what the model can.
    pub fn of(request: pb::EmbedRequest, facts: &Embedding) -> Result<Self, InferenceError> {
        let dimensions = match u32::try_from(request.dimensions) {
            Ok(0) => facts.dimensions,
            Ok(asked) if asked == facts.dimensions => asked,
            Ok(asked) if facts.settable && asked <= MAX_DIMENSIONS => asked,
            // Cut or padded vectors would look like vectors (llm.md D37).
            _ => {
                let words = format!("the model gives vectors of {} values: ask for that", facts.dimensions);
                return Err(InferenceError::invalid("dimensions", words));
            }
        };
        let batch_size = usize::try_from(request.batch_size)
            .map_err(|_| InferenceError::invalid("batch_size", "must not be negative"))?;
        if request.texts.len() > MAX_TEXTS {
            let words = format!("are more than {MAX_TEXTS}: send them in several calls");
            return Err(InferenceError::invalid("texts", words));
        }
        let answer_bytes = request.texts.len() * dimensions as usize * size_of::<f32>();
        if answer_bytes > MAX_ANSWER_BYTES {
            let most = MAX_ANSWER_BYTES / (dimensions as usize * size_of::<f32>());
            let words = format!("are more than {most}, the most with {dimensions} dimensions: send fewer");
            return Err(InferenceError::invalid("texts", words));
        }
        if request.texts.iter().any(|text| text.trim().is_empty()) {
            return Err(InferenceError::invalid("texts", "hold an empty one, which no model takes"));
        }
        if request.texts.iter().any(|text| text.len() > MAX_TEXT_BYTES) {
            return Err(InferenceError::invalid("texts", "hold one longer than 1 MiB: cut it"));
        }
        let strip = request.strip_new_lines.unwrap_or(true);
        let texts = request.texts.into_iter().map(|text| if strip { stripped(text) } else { text });
        let batch_size = (batch_size > 0).then_some(batch_size);
        Ok(Self { texts: texts.collect(), batch_size, dimensions })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Embeds everything: all, or the first error.
    pub async fn run(self, embedder: &dyn Embedder, call: Call) -> Result<pb::EmbedResponse, InferenceError> {
        let most = self.batch_size.unwrap_or(usize::MAX).min(embedder.most_texts());
        let call = &call;
        let answers: Vec<Vectors> = stream::iter(cut(self.texts, most))
            .map(|texts| async move { checked(call, texts.len(), embedder.embed(call, texts).await?) })
            .buffered(BATCHES_AT_ONCE)
            .try_collect()
            .await?;
        let tokens: Option<i64> = answers.iter().map(|answer| answer.tokens).sum();
        let usage = tokens.filter(|_| !answers.is_empty());
        Ok(pb::EmbedResponse {
            embeddings: answers
                .into_iter()
                .flat_map(|answer| answer.values)
                .map(|values| pb::EmbeddedText { values })
                .collect(),
            dimensions: i32::try_from(self.dimensions).unwrap_or(i32::MAX),
            model_id: call.model.model_id.clone(),
            provider: call.model.provider.clone(),
            usage: usage.map(|input_tokens| pb::TokenUsage { input_tokens, ..pb::TokenUsage::default() }),
        })
    }
}

/// A provider's answer, if it is what was asked for.
fn checked(call: &Call, texts: usize, answer: Vectors) -> Result<Vectors, InferenceError> {
    let broken = |message: String| InferenceError::Broken { provider: call.model.provider.clone(), message };
    if answer.values.len() != texts {
        return Err(broken(format!("{} vectors for {texts} texts", answer.values.len())));
    }
    let wanted = call.dimensions as usize;
    if let Some(vector) = answer.values.iter().find(|vector| vector.len() != wanted) {
        return Err(broken(format!("a vector of {} values in place of {wanted}", vector.len())));
    }
    if answer.values.iter().flatten().any(|value| !value.is_finite()) {
        return Err(broken("a vector with a value that is no number".to_owned()));
    }
    Ok(answer)
}

/// Batches of at most so many texts, and of a bounded number of bytes.
fn cut(texts: Vec<String>, most: usize) -> Vec<Vec<String>> {
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for text in texts {
        if !batch.is_empty() && (batch.len() >= most.max(1) || bytes + text.len() > BATCH_BYTES) {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += text.len();
        batch.push(text);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

fn stripped(text: String) -> String {
    if text.contains(['\n', '\r']) { text.replace("\r\n", " ").replace(['\n', '\r'], " ") } else { text }
}

#[cfg(test)]
mod tests;
