//! Ollama's own interface: `POST {origin}/api/chat`, newline-delimited JSON, as docs.ollama.com/api describes it in
//! autumn 2026. Entries that want its copy of chat completions say `"interface": "chat.completions"`.

mod answer;
mod lines;
mod request;

pub use request::body;

use async_trait::async_trait;
use sre_proto::llm::v1 as pb;

use super::openai_chat::bearer;
use super::wire::{Delivery, Exchange, Reading, Telling, Texts, Wire, WireRequest, broken, refusal_in_body};
use super::{Call, Piece};
use crate::inference::error::InferenceError;
use answer::{Assembly, Line};
use lines::Lines;

/// Ollama.
#[derive(Debug, Clone, Copy)]
pub struct Ollama;

#[async_trait]
impl Wire for Ollama {
    async fn request(
        &self,
        _exchange: &Exchange,
        call: &Call,
        delivery: Delivery,
    ) -> Result<WireRequest, InferenceError> {
        let body = request::body(call, delivery)?.to_string().into();
        Ok(WireRequest { url: address(call)?, headers: bearer(call)?, body })
    }

    fn whole(&self, call: &Call, body: &[u8]) -> Result<pb::GenerateResponse, InferenceError> {
        let mut assembly = Assembly::default();
        let line = line(call, &String::from_utf8_lossy(body))?;
        let is_answer = line.message.is_some();
        assembly.take(line);
        if !is_answer {
            return Err(broken(call, "the answer holds no message"));
        }
        Ok(assembly.finish(call))
    }

    fn reading(&self, _call: &Call) -> Box<dyn Reading> {
        Box::<Texts<Lines, Said>>::default()
    }
}

/// The host alone counts: entries often have the path of its copy of chat completions.
fn address(call: &Call) -> Result<url::Url, InferenceError> {
    let missing = || InferenceError::invalid("model", "its provider has no address");
    let mut url = call.base_url.clone().ok_or_else(missing)?;
    url.set_path("/api/chat");
    url.set_query(None);
    Ok(url)
}

fn line(call: &Call, text: &str) -> Result<Line, InferenceError> {
    let line: Line = serde_json::from_str(text)
        .map_err(|error| broken(call, format!("a line is not one of Ollama's: {error}")))?;
    match &line.error {
        Some(error) => Err(refusal_in_body(call, error)),
        None => Ok(line),
    }
}

/// What the lines of a stream tell.
#[derive(Debug, Default)]
struct Said {
    assembly: Assembly,
}

impl Telling for Said {
    fn take(&mut self, call: &Call, text: &str, seen: &mut Vec<Piece>) -> Result<(), InferenceError> {
        if !text.trim().is_empty() {
            seen.extend(self.assembly.take(line(call, text)?));
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.assembly.is_done()
    }

    fn size_bytes(&self) -> usize {
        self.assembly.size_bytes()
    }

    fn finish(self, call: &Call) -> pb::GenerateResponse {
        self.assembly.finish(call)
    }
}
