//! How many tokens texts have: by the model's own tokenizer where it is known, else by an estimate that what providers
//! report corrects.

mod calibration;
mod encoding;

use std::sync::Arc;

use sre_proto::error::{Reason, status};
use sre_proto::llm::v1 as pb;
use tokio::sync::Semaphore;
use tonic::Code;

use super::{InferenceError, estimate};
use crate::models::Resolved;
use calibration::Calibration;
use encoding::Encoding;

/// Texts of one request.
const MOST_TEXTS: usize = 4096;
/// Requests that count at once: the others wait.
const MOST_COUNTING: usize = 2;

/// Counts. Clones share what they learned.
#[derive(Debug, Clone)]
pub struct Tokens {
    calibration: Arc<Calibration>,
    places: Arc<Semaphore>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { calibration: Arc::default(), places: Arc::new(Semaphore::new(MOST_COUNTING)) }
    }
}

impl Tokens {
    /// The tokens of each text.
    pub async fn count(
        &self,
        model: &Resolved,
        texts: Vec<String>,
    ) -> Result<pb::CountTokensResponse, InferenceError> {
        if texts.len() > MOST_TEXTS {
            let words =
                format!("{} texts are more than the {MOST_TEXTS} of one request: send fewer", texts.len());
            return Err(InferenceError::invalid("texts", words));
        }
        let Some(encoding) = Encoding::of(model) else {
            let factor = self.calibration.factor(model);
            let count = |text: &String| calibration::corrected(estimate::of_bytes(text.len()), factor);
            return Ok(pb::CountTokensResponse {
                tokens: texts.iter().map(count).collect(),
                estimated: true,
                encoding: String::new(),
            });
        };
        let _place = self.places.acquire().await.map_err(|_| stopping())?;
        let count = move || texts.iter().map(|text| encoding.count(text)).collect();
        let tokens = tokio::task::spawn_blocking(count).await.map_err(|_| stopping())?;
        Ok(pb::CountTokensResponse { tokens, estimated: false, encoding: encoding.name().to_owned() })
    }

    /// What a provider counted of a request whose estimate was this.
    pub fn learn(
        &self,
        model: &Resolved,
        request: &pb::GenerateRequest,
        estimated: i64,
        usage: &pb::TokenUsage,
    ) {
        let is_text = |message: &pb::ChatMessage| {
            !message.parts.iter().any(|part| matches!(part.part, Some(pb::part::Part::Media(_))))
        };
        // What files count is no text's.
        if !usage.estimated && request.web_search.is_none() && request.messages.iter().all(is_text) {
            self.calibration.learn(model, estimated, usage.input_tokens);
        }
    }
}

fn stopping() -> InferenceError {
    let message = "the service is stopping: try again";
    InferenceError::Service(status(Code::Unavailable, Reason::BackendUnavailable, message))
}

#[cfg(test)]
mod tests;
