//! EchoScript: answers as the last message of the user says, step by step. Tests of agents and of conversations tell a
//! model what to do with it: what to say and think, which tools to call, how to end, when to fail.

mod script;

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use sre_proto::llm::v1 as pb;

use super::{Call, Piece, Pieces, Provider};
use crate::inference::error::InferenceError;
use crate::inference::finish::finish_reason;
use script::{Segment, Step, Used};

/// The longest that a script may wait in one step.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The provider of the model `EchoScript`. A message that is no script is answered with itself.
#[derive(Debug, Clone, Copy)]
pub struct EchoScript;

#[async_trait]
impl Provider for EchoScript {
    async fn generate(&self, call: Call) -> Result<pb::GenerateResponse, InferenceError> {
        let mut pieces = self.stream(call).await?;
        while let Some(piece) = pieces.next().await {
            if let Piece::Finished(answer) = piece? {
                return Ok(*answer);
            }
        }
        Err(InferenceError::invalid("messages", "the script has no end"))
    }

    async fn stream(&self, call: Call) -> Result<Pieces, InferenceError> {
        let segment = script::segment(&call)?;
        let playing = Playing::new(call, segment);
        Ok(Box::pin(stream::unfold(playing, async |mut playing| {
            let piece = playing.next().await?;
            Some((piece, playing))
        })))
    }
}

/// A segment that is played.
struct Playing {
    call: Call,
    steps: std::vec::IntoIter<Step>,
    answer: pb::GenerateResponse,
    finish: Option<String>,
    ended: bool,
}

impl Playing {
    fn new(call: Call, segment: Segment) -> Self {
        let answer = pb::GenerateResponse {
            model_id: call.model.model_id.clone(),
            provider: call.model.provider.clone(),
            ..pb::GenerateResponse::default()
        };
        Self { call, steps: segment.into_iter(), answer, finish: None, ended: false }
    }

    async fn next(&mut self) -> Option<Result<Piece, InferenceError>> {
        if self.ended {
            return None;
        }
        for step in self.steps.by_ref() {
            match step {
                Step::Text(text) => {
                    self.answer.text.push_str(&text);
                    return Some(Ok(Piece::Text(text)));
                }
                Step::Think(text) => {
                    self.answer.thinking.push_str(&text);
                    return Some(Ok(Piece::Thinking(text)));
                }
                Step::Tool { tool, args, id } => {
                    let index = self.answer.tool_calls.len();
                    let id = id.unwrap_or_else(|| format!("call-{}-{index}", script::round(&self.call)));
                    let arguments = args.to_string();
                    self.answer.tool_calls.push(pb::ToolCall {
                        id: id.clone(),
                        name: tool.clone(),
                        arguments_json: arguments.clone().into(),
                        ..pb::ToolCall::default()
                    });
                    return Some(Ok(Piece::ToolCall(pb::ToolCallDelta {
                        index: i32::try_from(index).unwrap_or(i32::MAX),
                        id,
                        name: tool,
                        arguments_fragment: arguments,
                    })));
                }
                Step::DelayMs(ms) => tokio::time::sleep(Duration::from_millis(ms).min(LONGEST_WAIT)).await,
                Step::Usage(used) => self.answer.usage = Some(usage(used)),
                Step::Finish(word) => self.finish = Some(word),
                Step::Error(fault) => {
                    self.ended = true;
                    return Some(Err(fault.into_error(&self.call)));
                }
            }
        }
        self.ended = true;
        let (mut reason, detail) = finish_reason(self.finish.as_deref());
        if !self.answer.tool_calls.is_empty() && self.finish.is_none() {
            reason = pb::FinishReason::ToolCalls;
        }
        let mut answer = std::mem::take(&mut self.answer);
        answer.finish_reason = reason as i32;
        answer.finish_detail = detail;
        Some(Ok(Piece::Finished(Box::new(answer))))
    }
}

fn usage(used: Used) -> pb::TokenUsage {
    pb::TokenUsage {
        input_tokens: used.input_tokens,
        output_tokens: used.output_tokens,
        cached_input_tokens: used.cached_input_tokens,
        reasoning_tokens: used.reasoning_tokens,
        ..pb::TokenUsage::default()
    }
}

#[cfg(test)]
mod tests;
