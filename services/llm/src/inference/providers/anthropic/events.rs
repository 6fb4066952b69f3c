//! The events of a stream.

use serde_json::Value;
use sre_proto::llm::v1 as pb;

use super::answer::{Assembly, refusal};
use crate::inference::error::InferenceError;
use crate::inference::providers::json::take;
use crate::inference::providers::wire::{Reading, broken};
use crate::inference::providers::{Call, Piece};
use crate::inference::sse::Decoder;

/// Reads the events of a stream. Their names are repeated in their data, so the data alone is read.
#[derive(Debug)]
pub struct Events {
    decoder: Decoder,
    assembly: Assembly,
    done: bool,
}

impl Events {
    /// The events of the answer to a call.
    pub fn of(call: &Call) -> Self {
        Self { decoder: Decoder::default(), assembly: Assembly::of(call), done: false }
    }

    fn take(&mut self, call: &Call, event: &str, seen: &mut Vec<Piece>) -> Result<(), InferenceError> {
        if self.done {
            return Ok(());
        }
        let mut event: Value = serde_json::from_str(event)
            .map_err(|error| broken(call, format!("an event is not of a message: {error}")))?;
        let index = event["index"].as_u64().unwrap_or_default();
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => self.assembly.begin(&event["message"]),
            "content_block_start" => {
                seen.extend(self.assembly.begin_block(index, take(&mut event, "content_block")));
            }
            "content_block_delta" => seen.extend(self.assembly.go_on(index, &event["delta"])),
            "message_delta" => {
                self.assembly.stop(&event["delta"]);
                self.assembly.count(&event["usage"]);
            }
            "message_stop" => self.done = true,
            "error" => return Err(refusal(call, &event["error"])),
            // `ping`, the ends of blocks, and what is new.
            _ => {}
        }
        Ok(())
    }
}

impl Reading for Events {
    fn push(&mut self, call: &Call, bytes: &[u8]) -> Result<Vec<Piece>, InferenceError> {
        let events = self.decoder.push(bytes).map_err(|error| broken(call, error.to_string()))?;
        let mut seen = Vec::new();
        for event in events {
            self.take(call, &event, &mut seen)?;
        }
        Ok(seen)
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn end(&mut self, call: &Call) -> Result<Vec<Piece>, InferenceError> {
        let mut seen = Vec::new();
        let last = std::mem::take(&mut self.decoder).finish();
        if let Some(event) = last.map_err(|error| broken(call, error.to_string()))? {
            self.take(call, &event, &mut seen)?;
        }
        if !self.done {
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
