//! OpenAI's chat completions, and every service that speaks them.

mod answer;
mod dialects;
mod exchange;
mod request;

use async_trait::async_trait;
use futures::stream;
use reqwest::Response;
use sre_proto::llm::v1 as pb;
use tokio::time::Instant;

pub use dialects::{Dialect, dialect};

use super::{Call, Piece, Pieces, Provider};
use crate::inference::error::InferenceError;
use crate::inference::settings::InferenceSettings;
use crate::inference::sse::Decoder;
use answer::{Assembly, Completion};
use exchange::Exchange;
use request::{Delivery, body};

/// What ends a stream.
const DONE: &str = "[DONE]";

/// Speaks chat completions over one pool of connections.
#[derive(Debug, Clone)]
pub struct OpenAiChat {
    exchange: Exchange,
}

impl OpenAiChat {
    /// A client with these limits.
    pub fn new(settings: InferenceSettings) -> Result<Self, reqwest::Error> {
        Ok(Self { exchange: Exchange::new(settings)? })
    }

    /// The call's provider; it was found by its dialect, so there is one.
    fn dialect(call: &Call) -> Result<&'static Dialect, InferenceError> {
        dialect(&call.model.provider)
            .ok_or_else(|| InferenceError::UnknownProvider(call.model.provider.clone()))
    }
}

#[async_trait]
impl Provider for OpenAiChat {
    async fn generate(&self, call: Call) -> Result<pb::GenerateResponse, InferenceError> {
        let body = body(&call, Self::dialect(&call)?, Delivery::Whole)?;
        let whole = async {
            let response = self.exchange.send(&call, &body).await?;
            self.exchange.read_whole(&call, response).await
        };
        let bytes = self.exchange.in_time(&call, whole).await?;
        let completion: Completion = serde_json::from_slice(&bytes)
            .map_err(|error| broken(&call, format!("the answer is not a chat completion: {error}")))?;
        if let Some(error) = completion.error {
            return Err(exchange::refusal_in_body(&call, &error));
        }
        let mut assembly = Assembly::default();
        assembly.take(completion);
        if !assembly.has_begun() {
            return Err(broken(&call, "the answer holds no choice"));
        }
        self.exchange.check_size(&call, assembly.size_bytes())?;
        Ok(assembly.finish(&call))
    }

    async fn stream(&self, call: Call) -> Result<Pieces, InferenceError> {
        let body = body(&call, Self::dialect(&call)?, Delivery::Stream)?;
        let opened = Instant::now();
        let response = self.exchange.in_time(&call, self.exchange.send(&call, &body)).await?;
        let reader = Reader {
            exchange: self.exchange.clone(),
            response,
            decoder: Decoder::default(),
            assembly: Assembly::default(),
            ready: Default::default(),
            received_bytes: 0,
            first_by: Some(opened + self.exchange.first_token_timeout(&call)),
            stage: Stage::Reading,
            call,
        };
        Ok(Box::pin(stream::unfold(reader, async |mut reader| {
            let piece = reader.next().await?;
            Some((piece, reader))
        })))
    }
}

#[derive(Debug)]
enum Stage {
    Reading,
    /// The terminal marker came: what is ready, and then the whole answer.
    Done,
    /// What is ready, and then the error.
    Failed(InferenceError),
    Ended,
}

/// Reads a stream piece by piece.
struct Reader {
    exchange: Exchange,
    call: Call,
    response: Response,
    decoder: Decoder,
    assembly: Assembly,
    ready: std::collections::VecDeque<Piece>,
    received_bytes: usize,
    /// Until the first piece: when it must have come.
    first_by: Option<Instant>,
    stage: Stage,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Piece, InferenceError>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                self.first_by = None;
                return Some(Ok(piece));
            }
            match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Reading => self.stage = Stage::Reading,
                Stage::Done => {
                    let answer = std::mem::take(&mut self.assembly).finish(&self.call);
                    return Some(Ok(Piece::Finished(Box::new(answer))));
                }
                Stage::Failed(error) => return Some(Err(error)),
                Stage::Ended => return None,
            }
            if let Err(error) = self.read().await {
                self.stage = Stage::Failed(error);
            }
        }
    }

    /// Reads one piece of the body, or its end.
    async fn read(&mut self) -> Result<(), InferenceError> {
        let chunk = match self.exchange.next_chunk(&self.call, &mut self.response, self.first_by).await? {
            Some(chunk) => chunk,
            None => return self.end(),
        };
        self.received_bytes += chunk.len();
        self.exchange.check_body(&self.call, self.received_bytes)?;
        let events = self.decoder.push(&chunk).map_err(|error| broken(&self.call, error.to_string()))?;
        for event in events {
            self.take(&event)?;
        }
        Ok(())
    }

    /// The body ended. Without a marker that is an answer only where the service said why it ended.
    fn end(&mut self) -> Result<(), InferenceError> {
        let last = std::mem::take(&mut self.decoder).finish();
        if let Some(event) = last.map_err(|error| broken(&self.call, error.to_string()))? {
            self.take(&event)?;
        }
        if matches!(self.stage, Stage::Reading) && !self.assembly.has_ended() {
            return Err(broken(&self.call, "the stream ended in the middle of the answer"));
        }
        self.stage = Stage::Done;
        Ok(())
    }

    fn take(&mut self, event: &str) -> Result<(), InferenceError> {
        if !matches!(self.stage, Stage::Reading) {
            return Ok(());
        }
        if event.trim() == DONE {
            self.stage = Stage::Done;
            return Ok(());
        }
        let chunk: Completion = serde_json::from_str(event).map_err(|error| {
            broken(&self.call, format!("an event is not a chunk of a completion: {error}"))
        })?;
        if let Some(error) = &chunk.error {
            return Err(exchange::refusal_in_body(&self.call, error));
        }
        self.ready.extend(self.assembly.take(chunk));
        self.exchange.check_size(&self.call, self.assembly.size_bytes())
    }
}

fn broken(call: &Call, message: impl Into<String>) -> InferenceError {
    InferenceError::Broken { provider: call.model.provider.clone(), message: message.into() }
}

#[cfg(test)]
mod tests;
