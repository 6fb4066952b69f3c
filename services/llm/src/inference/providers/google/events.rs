//! The chunks of a stream. It has no terminal marker: it ends where its body ends, after the reason was given.

use sre_proto::llm::v1 as pb;

use super::answer::Assembly;
use crate::inference::error::InferenceError;
use crate::inference::providers::wire::{Reading, broken};
use crate::inference::providers::{Call, Piece};
use crate::inference::sse::Decoder;

/// Reads the chunks of a stream.
#[derive(Debug)]
pub struct Events {
    decoder: Decoder,
    assembly: Assembly,
}

impl Events {
    /// The chunks of the answer to a call.
    pub fn of(call: &Call) -> Self {
        Self { decoder: Decoder::default(), assembly: Assembly::of(call) }
    }

    fn take(&mut self, call: &Call, event: &str) -> Result<Vec<Piece>, InferenceError> {
        let chunk = serde_json::from_str(event)
            .map_err(|error| broken(call, format!("an event is not a chunk of an answer: {error}")))?;
        self.assembly.take(call, chunk)
    }
}

impl Reading for Events {
    fn push(&mut self, call: &Call, bytes: &[u8]) -> Result<Vec<Piece>, InferenceError> {
        let events = self.decoder.push(bytes).map_err(|error| broken(call, error.to_string()))?;
        let mut seen = Vec::new();
        for event in events {
            seen.extend(self.take(call, &event)?);
        }
        Ok(seen)
    }

    fn is_done(&self) -> bool {
        false
    }

    fn end(&mut self, call: &Call) -> Result<Vec<Piece>, InferenceError> {
        let last = std::mem::take(&mut self.decoder).finish();
        let seen = match last.map_err(|error| broken(call, error.to_string()))? {
            Some(event) => self.take(call, &event)?,
            None => Vec::new(),
        };
        if !self.assembly.has_ended() {
            return Err(broken(call, "the stream ended in the middle of the answer"));
        }
        Ok(seen)
    }

    fn size_bytes(&self) -> usize {
        self.assembly.size_bytes()
    }

    fn finish(self: Box<Self>, call: &Call) -> pb::GenerateResponse {
        self.assembly.finish(call)
    }
}
