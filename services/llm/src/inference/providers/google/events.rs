//! The chunks of a stream. It has no terminal marker: it ends where its body ends, after the reason was given.

use sre_proto::llm::v1 as pb;

use super::answer::Assembly;
use crate::inference::error::InferenceError;
use crate::inference::providers::wire::{Telling, broken};
use crate::inference::providers::{Call, Piece};

/// What the chunks of a stream tell.
#[derive(Debug)]
pub struct Events {
    assembly: Assembly,
}

impl Events {
    /// The chunks of the answer to a call.
    pub fn of(call: &Call) -> Self {
        Self { assembly: Assembly::of(call) }
    }
}

impl Telling for Events {
    fn take(&mut self, call: &Call, event: &str, seen: &mut Vec<Piece>) -> Result<(), InferenceError> {
        let chunk = serde_json::from_str(event)
            .map_err(|error| broken(call, format!("an event is not a chunk of an answer: {error}")))?;
        seen.extend(self.assembly.take(call, chunk)?);
        Ok(())
    }

    fn is_done(&self) -> bool {
        false
    }

    fn may_end(&self) -> bool {
        self.assembly.has_ended()
    }

    fn size_bytes(&self) -> usize {
        self.assembly.size_bytes()
    }

    fn finish(self, call: &Call) -> pb::GenerateResponse {
        self.assembly.finish(call)
    }
}
