//! Models of this process: `Echo`, and one that answers by the rules of the conformance fixture.

use sre_components::{Chunk, ContextError, Failure};
use sre_proto::llm::v1::{ChatRole, FinishReason, GenerateRequest, GenerateResponse, Model};

pub fn model(name: &str) -> Result<Model, ContextError> {
    let provider = match name {
        "Echo" => "Echo",
        "mock-gpt" => "OpenAI",
        _ => return Err(ContextError::new(Failure::NotFound, format!("model {name} not found"))),
    };
    Ok(Model {
        name: format!("models/{name}"),
        provider: provider.into(),
        output_tokens: 8192,
        ..Model::default()
    })
}

pub fn generate(
    request: &GenerateRequest,
    on_chunk: &mut (dyn FnMut(Chunk) + Send),
) -> Result<GenerateResponse, ContextError> {
    let last = request.messages.iter().rev().find(|message| message.role() == ChatRole::User).unwrap();
    let text = last.text.as_str();
    let answer = if request.model == "Echo" { text.to_owned() } else { mock(text)? };
    for piece in answer.split_inclusive(' ') {
        on_chunk(Chunk::Text(piece.to_owned()));
    }
    let finish = if text.contains("CUT") { FinishReason::Length } else { FinishReason::Stop };
    Ok(GenerateResponse { text: answer, finish_reason: finish.into(), ..GenerateResponse::default() })
}

fn mock(text: &str) -> Result<String, ContextError> {
    if let Some(code) = text.strip_prefix("ERR").and_then(|rest| rest.split_once(':')).map(|(code, _)| code) {
        return Err(ContextError::new(Failure::Internal, format!("{code} mock error")));
    }
    Ok(match text.strip_prefix("JSON:") {
        Some(rest) => rest.to_owned(),
        None => format!("MOCK:{text}"),
    })
}
