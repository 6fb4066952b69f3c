//! The events of a stream.

use serde_json::Value;
use sre_proto::llm::v1 as pb;

use super::answer::Assembly;
use super::refused;
use crate::inference::error::InferenceError;
use crate::inference::providers::wire::{Telling, broken};
use crate::inference::providers::{Call, Piece};

/// What the events of a stream tell.
#[derive(Debug, Default)]
pub struct Events {
    assembly: Assembly,
    done: bool,
}

impl Events {
    fn piece(&mut self, call: &Call, event: &str) -> Result<Option<Piece>, InferenceError> {
        let event: Value = serde_json::from_str(event)
            .map_err(|error| broken(call, format!("an event is not an event of a response: {error}")))?;
        let delta = event["delta"].as_str().unwrap_or_default();
        let key = event["item_id"].as_str().unwrap_or_default();
        let assembly = &mut self.assembly;
        Ok(match event["type"].as_str().unwrap_or_default() {
            "response.content_part.added" => {
                assembly.begin_part();
                None
            }
            "response.output_text.delta" => assembly.say(delta),
            "response.refusal.delta" => {
                assembly.refused = true;
                assembly.say(delta)
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                assembly.think(delta)
            }
            "response.reasoning_summary_part.added" if !assembly.thinking.is_empty() => {
                assembly.think("\n\n")
            }
            "response.output_text.annotation.added" => {
                assembly.cite(&event["annotation"]);
                None
            }
            "response.function_call_arguments.delta" => assembly.calls.more(key, "", "", delta),
            "response.function_call_arguments.done" => {
                let whole = event["arguments"].as_str().unwrap_or_default();
                let rest = whole.strip_prefix(assembly.calls.arguments(key)).unwrap_or_default().to_owned();
                assembly.calls.more(key, "", "", &rest)
            }
            "response.output_item.added" | "response.output_item.done" => self.take_item(call, &event),
            "response.completed" | "response.incomplete" => {
                assembly.close(&event["response"]);
                self.done = true;
                None
            }
            "response.failed" => return Err(refused(call, &event["response"]["error"])),
            "error" => {
                // The words stand in the event itself; some servers put them below `error`.
                let error = event.get("error").filter(|error| !error.is_null()).unwrap_or(&event);
                let mut error = error.clone();
                if let Some(fields) =
                    error.as_object_mut().filter(|fields| fields.get("type") == Some(&"error".into()))
                {
                    fields.shift_remove("type");
                }
                return Err(refused(call, &error));
            }
            _ => None,
        })
    }

    fn take_item(&mut self, call: &Call, event: &Value) -> Option<Piece> {
        let item = &event["item"];
        let key = item["id"].as_str().unwrap_or_default();
        let is_done = event["type"] == "response.output_item.done";
        match item["type"].as_str().unwrap_or_default() {
            "function_call" => self.assembly.complete_call(key, item),
            "reasoning" if is_done => {
                self.assembly.keep_reasoning(call, item);
                None
            }
            _ => None,
        }
    }
}

impl Telling for Events {
    fn take(&mut self, call: &Call, event: &str, seen: &mut Vec<Piece>) -> Result<(), InferenceError> {
        // Some servers end it as chat completions end.
        if event.trim() != "[DONE]" {
            seen.extend(self.piece(call, event)?);
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
