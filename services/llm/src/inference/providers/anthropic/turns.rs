//! An answer that the provider pauses, as it does amid long searches of its server, goes on when it is sent back: to
//! the caller it is one answer.

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use sre_proto::llm::v1 as pb;

use super::answer::PAUSE;
use crate::inference::error::InferenceError;
use crate::inference::providers::wire::{Spoken, Wire};
use crate::inference::providers::{Call, Piece, Pieces, Provider};
use crate::inference::settings::InferenceSettings;

/// How often one answer may pause. After the last one it is given as it is.
const MOST_PAUSES: usize = 8;

/// Anthropic's models, wherever they are served.
#[derive(Debug, Clone)]
pub struct Anthropic<W> {
    spoken: Spoken<W>,
}

impl<W: Wire> Anthropic<W> {
    /// A client of its own, with these limits.
    pub fn new(wire: W, settings: InferenceSettings) -> Result<Self, reqwest::Error> {
        Ok(Self { spoken: Spoken::new(wire, settings)? })
    }
}

fn is_paused(answer: &pb::GenerateResponse) -> bool {
    answer.finish_detail == PAUSE
}

/// The call that goes on where an answer paused: with the blocks of the answer, which its last part holds. They go
/// out of the answer here.
fn resumed(mut call: Call, answer: &mut pb::GenerateResponse) -> Call {
    let said = pb::ChatMessage {
        role: pb::ChatRole::Assistant as i32,
        parts: answer.parts.pop().into_iter().collect(),
        ..pb::ChatMessage::default()
    };
    call.request.messages.push(said);
    call
}

/// Two answers as one. Tokens of the request are counted with each: the provider reads it twice.
fn joined(first: pb::GenerateResponse, mut next: pb::GenerateResponse) -> pb::GenerateResponse {
    let shift = i32::try_from(first.text.len()).unwrap_or(i32::MAX);
    for citation in &mut next.citations {
        citation.start = citation.start.saturating_add(shift);
        citation.end = citation.end.saturating_add(shift);
    }
    next.text.insert_str(0, &first.text);
    next.thinking.insert_str(0, &first.thinking);
    next.citations.splice(0..0, first.citations);
    next.tool_calls.splice(0..0, first.tool_calls);
    next.parts.splice(0..0, first.parts);
    if let Some(before) = first.usage {
        let usage = next.usage.get_or_insert_default();
        for (field, before) in [
            (&mut usage.input_tokens, before.input_tokens),
            (&mut usage.output_tokens, before.output_tokens),
            (&mut usage.cached_input_tokens, before.cached_input_tokens),
            (&mut usage.cache_write_tokens, before.cache_write_tokens),
        ] {
            *field = field.saturating_add(before);
        }
    }
    next
}

#[async_trait]
impl<W: Wire + Clone> Provider for Anthropic<W> {
    async fn generate(&self, call: Call) -> Result<pb::GenerateResponse, InferenceError> {
        let mut call = call;
        let mut answer = self.spoken.generate(call.clone()).await?;
        let mut pauses = 0;
        while is_paused(&answer) {
            call = resumed(call, &mut answer);
            pauses += 1;
            if pauses > MOST_PAUSES {
                break;
            }
            answer = joined(answer, self.spoken.generate(call.clone()).await?);
        }
        Ok(answer)
    }

    async fn stream(&self, call: Call) -> Result<Pieces, InferenceError> {
        let pieces = self.spoken.stream(call.clone()).await?;
        let going = Going { provider: self.clone(), call, pieces: Some(pieces), before: None, pauses: 0 };
        Ok(stream::unfold(going, Going::next).boxed())
    }
}

/// A stream of one or more answers.
struct Going<W> {
    provider: Anthropic<W>,
    call: Call,
    /// None after the end.
    pieces: Option<Pieces>,
    /// The answer up to the last pause.
    before: Option<pb::GenerateResponse>,
    pauses: usize,
}

impl<W: Wire + Clone> Going<W> {
    async fn next(mut self) -> Option<(Result<Piece, InferenceError>, Self)> {
        loop {
            match self.pieces.as_mut()?.next().await? {
                Ok(Piece::Finished(answer)) => {
                    let mut last = *answer;
                    let is_paused = is_paused(&last);
                    if is_paused {
                        self.call = resumed(self.call, &mut last);
                    }
                    let whole = match self.before.take() {
                        Some(before) => joined(before, last),
                        None => last,
                    };
                    if is_paused && self.pauses < MOST_PAUSES {
                        self.pauses += 1;
                        self.before = Some(whole);
                        match self.provider.spoken.stream(self.call.clone()).await {
                            Ok(pieces) => self.pieces = Some(pieces),
                            Err(error) => {
                                self.pieces = None;
                                return Some((Err(error), self));
                            }
                        }
                        continue;
                    }
                    self.pieces = None;
                    return Some((Ok(Piece::Finished(Box::new(whole))), self));
                }
                // Calls of an answer that went on are counted on.
                Ok(Piece::ToolCall(mut delta)) => {
                    let before = self.before.as_ref().map_or(0, |before| before.tool_calls.len());
                    delta.index += i32::try_from(before).unwrap_or_default();
                    return Some((Ok(Piece::ToolCall(delta)), self));
                }
                other => return Some((other, self)),
            }
        }
    }
}
