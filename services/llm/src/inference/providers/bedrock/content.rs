//! The history as messages of blocks: results of tools are a person's, first in their message.

use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::part::Part as Kind;

use super::media;
use crate::inference::error::InferenceError;
use crate::inference::providers::history::{self, BLANK, unseal};
use crate::inference::providers::names::Names;
use crate::inference::providers::structured;
use crate::models::Resolved;

/// A message with whether what is up to it may be kept.
pub struct Turn {
    pub is_assistant: bool,
    pub content: Vec<Value>,
    pub breakpoint: bool,
}

/// Puts turns together; counts documents, whose names must differ.
struct Builder<'a> {
    model: &'a Resolved,
    names: &'a Names,
    documents: usize,
}

/// The turns of a history that [`history::of_a_person`] put in order.
pub fn turns(
    messages: &[pb::ChatMessage],
    model: &Resolved,
    names: &Names,
) -> Result<Vec<Turn>, InferenceError> {
    let mut builder = Builder { model, names, documents: 0 };
    let mut turns: Vec<Turn> = Vec::new();
    for message in messages {
        let is_assistant = message.role() == pb::ChatRole::Assistant;
        let content = match message.role() {
            pb::ChatRole::Assistant => builder.spoken(message),
            pb::ChatRole::Tool => vec![builder.result(message)?],
            _ => builder.asked(message)?,
        };
        match turns.last_mut().filter(|last| last.is_assistant == is_assistant) {
            Some(last) => {
                last.content.extend(content);
                last.breakpoint |= message.cache_breakpoint;
            }
            None => turns.push(Turn { is_assistant, content, breakpoint: message.cache_breakpoint }),
        }
    }
    Ok(turns)
}

impl Builder<'_> {
    /// What a person or a tool said. Blank texts are refused; a document wants a text beside it.
    fn asked(&mut self, message: &pb::ChatMessage) -> Result<Vec<Value>, InferenceError> {
        let mut content = Vec::new();
        let mut has_text = false;
        let mut has_document = false;
        let first = std::iter::once(&message.text).filter(|text| !text.trim().is_empty());
        content.extend(first.map(|text| json!({"text": text})));
        has_text |= !content.is_empty();
        for part in &message.parts {
            match &part.part {
                Some(Kind::Text(text)) if !text.trim().is_empty() => {
                    has_text = true;
                    content.push(json!({"text": text}));
                }
                Some(Kind::Media(medium)) => {
                    let block = media::block(medium, self.documents)?;
                    if block.get("document").is_some() {
                        self.documents += 1;
                        has_document = true;
                    }
                    content.push(block);
                }
                _ => {}
            }
        }
        if content.is_empty() || has_document && !has_text {
            content.insert(0, json!({"text": BLANK}));
        }
        Ok(content)
    }

    fn result(&mut self, message: &pb::ChatMessage) -> Result<Value, InferenceError> {
        let content = self.asked(message)?;
        let mut result = json!({"toolUseId": history::wire_id(&message.tool_call_id), "content": content});
        if message.tool_failed {
            result["status"] = "error".into();
        }
        Ok(json!({"toolResult": result}))
    }

    /// What the model said: its thinking first, then text, then calls.
    fn spoken(&self, message: &pb::ChatMessage) -> Vec<Value> {
        let thoughts = message.parts.iter().filter_map(|part| self.thought(part.part.as_ref()?));
        let mut content: Vec<Value> = thoughts.collect();
        let thoughts = content.len();
        let texts = history::texts(message).map(str::trim_end).filter(|text| !text.is_empty());
        content.extend(texts.map(|text| json!({"text": text})));
        content.extend(message.tool_calls.iter().map(|call| {
            json!({"toolUse": {"toolUseId": history::wire_id(&call.id), "name": self.names.wire(&call.name),
                "input": structured::arguments(call)}})
        }));
        if content.len() == thoughts {
            content.push(json!({"text": BLANK}));
        }
        content
    }

    fn thought(&self, part: &Kind) -> Option<Value> {
        let Kind::Thinking(thinking) = part else { return None };
        if let Some(data) = unseal(self.model, &thinking.redacted) {
            return Some(json!({"reasoningContent": {"redactedContent": data}}));
        }
        let signature = unseal(self.model, &thinking.signature)?;
        let text = json!({"text": thinking.text, "signature": signature});
        Some(json!({"reasoningContent": {"reasoningText": text}}))
    }
}
