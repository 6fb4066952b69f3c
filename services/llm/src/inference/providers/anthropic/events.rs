//! The events of a stream.

use serde_json::Value;
use sre_proto::llm::v1 as pb;

use super::answer::{Assembly, refusal};
use crate::inference::error::InferenceError;
use crate::inference::providers::json::take;
use crate::inference::providers::wire::{Telling, broken};
use crate::inference::providers::{Call, Piece};

/// What the events of a stream tell. Their names are repeated in their data, so the data alone is read.
#[derive(Debug)]
pub struct Events {
    assembly: Assembly,
    done: bool,
}

impl Events {
    /// The events of the answer to a call.
    pub fn of(call: &Call) -> Self {
        Self { assembly: Assembly::of(call), done: false }
    }
}

impl Telling for Events {
    fn take(&mut self, call: &Call, event: &str, seen: &mut Vec<Piece>) -> Result<(), InferenceError> {
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

    fn is_done(&self) -> bool {
        self.done
    }

    fn size_bytes(&self) -> usize {
        self.assembly.size_bytes()
    }

    fn finish(self, call: &Call) -> pb::GenerateResponse {
        self.assembly.finish(call)
    }
}
