//! Answers: whole ones, and those put together from pieces.

use serde_json::Value;
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::part::Part as Kind;

use super::dialects::{self, Effort};
use super::wire::{CallPart, Completion, Usage};
use crate::inference::finish::finish_reason;
use crate::inference::providers::calls::Calls;
use crate::inference::providers::citations::Citations;
use crate::inference::providers::{Call, Piece};

/// A longer id of an answer is none.
const LONGEST_ID: usize = 256;

/// Puts an answer together.
#[derive(Debug, Default)]
pub struct Assembly {
    id: String,
    text: String,
    thinking: String,
    calls: Calls,
    finish: Option<String>,
    refused: bool,
    usage: Option<Usage>,
    citations: Citations,
    choices: usize,
}

impl Assembly {
    /// Takes a completion or chunk; gives what of it a watcher sees.
    pub fn take(&mut self, completion: Completion) -> Vec<Piece> {
        if let Some(id) = completion.id.filter(|id| self.id.is_empty() && id.len() <= LONGEST_ID) {
            self.id = id;
        }
        // Some services repeat a running total in every chunk, and Groq sends two: the last one counts.
        if let Some(usage) = completion.usage.or(completion.x_groq.and_then(|own| own.usage)) {
            self.usage = Some(usage);
        }
        self.take_sources(completion.search_results.as_deref(), completion.citations.as_deref());
        let mut seen = Vec::new();
        let Some(choice) = completion.choices.into_iter().flatten().next() else { return seen };
        self.choices += 1;
        if choice.finish_reason.is_some() {
            self.finish = choice.finish_reason;
        }
        let Some(content) = choice.message else { return seen };
        self.take_annotations(content.annotations.as_deref().unwrap_or_default());
        let text = content.text();
        let thinking = content.reasoning_content.or(content.reasoning);
        if let Some(thinking) = thinking.filter(|text| !text.is_empty()) {
            self.thinking.push_str(&thinking);
            seen.push(Piece::Thinking(thinking));
        }
        let refusal = content.refusal.unwrap_or_default();
        self.refused |= !refusal.is_empty();
        for text in [text, refusal].into_iter().filter(|text| !text.is_empty()) {
            self.text.push_str(&text);
            seen.push(Piece::Text(text));
        }
        for (place, part) in content.tool_calls.into_iter().flatten().enumerate() {
            seen.extend(self.take_call(place as u64, part));
        }
        seen
    }

    fn take_call(&mut self, place: u64, part: CallPart) -> Option<Piece> {
        let id = part.id.unwrap_or_default();
        let index = part.index.unwrap_or_else(|| match (self.calls.len() as u64, id.is_empty()) {
            // Without an index, an id begins a call, and what has none goes on with the last one.
            (0, _) => place,
            (count, true) => count - 1,
            (count, false) => count,
        });
        let function = part.function.unwrap_or_default();
        let fragment = match function.arguments {
            Some(Value::String(fragment)) => fragment,
            None | Some(Value::Null) => String::new(),
            Some(object) => object.to_string(),
        };
        self.calls.more(&index.to_string(), &id, &function.name.unwrap_or_default(), &fragment)
    }

    fn take_sources(&mut self, found: Option<&[Value]>, addresses: Option<&[Value]>) {
        for source in found.unwrap_or_default() {
            let text = |name: &str| source[name].as_str().unwrap_or_default();
            self.citations.add(text("url"), text("title"), None);
        }
        for address in addresses.unwrap_or_default() {
            self.citations.add(address.as_str().unwrap_or_default(), "", None);
        }
    }

    fn take_annotations(&mut self, annotations: &[Value]) {
        for annotation in annotations {
            let cited = &annotation["url_citation"];
            let text = |name: &str| cited[name].as_str().unwrap_or_default();
            let place = |name: &str| cited[name].as_u64().and_then(|place| usize::try_from(place).ok());
            let place = place("start_index").zip(place("end_index"));
            self.citations.add(text("url"), text("title"), place);
        }
    }

    /// Bytes held so far.
    pub fn size_bytes(&self) -> usize {
        self.text.len() + self.thinking.len() + self.calls.size_bytes()
    }

    /// Whether the service said why the answer ended.
    pub fn has_ended(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether there was any choice at all.
    pub fn has_begun(&self) -> bool {
        self.choices > 0
    }

    /// The whole answer.
    pub fn finish(self, call: &Call) -> pb::GenerateResponse {
        let (mut reason, detail) = finish_reason(self.finish.as_deref());
        if self.refused {
            reason = pb::FinishReason::ContentFilter;
        } else if !self.calls.is_empty() && reason == pb::FinishReason::Stop {
            // Some services say `stop` and call all the same.
            reason = pb::FinishReason::ToolCalls;
        }
        let is_replayed = dialects::of(call).effort == Effort::Toggle && !self.calls.is_empty();
        let thought = (is_replayed && !self.thinking.is_empty())
            .then(|| pb::Thinking { text: self.thinking.clone(), ..pb::Thinking::default() });
        pb::GenerateResponse {
            citations: self.citations.finish(&self.text),
            text: self.text,
            tool_calls: self.calls.finish(),
            finish_reason: reason as i32,
            finish_detail: detail,
            usage: self.usage.map(Into::into),
            model_id: call.model.model_id.clone(),
            provider: call.model.provider.clone(),
            thinking: self.thinking,
            response_id: self.id,
            parts: thought
                .map(|thought| pb::Part { part: Some(Kind::Thinking(thought)) })
                .into_iter()
                .collect(),
            ..pb::GenerateResponse::default()
        }
    }
}
