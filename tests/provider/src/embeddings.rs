//! Vectors of texts: the same text has the same vector, of length 1.

use axum::response::Response;
use base64::Engine as _;
use serde_json::{Value, json};

use crate::answer::last_text;
use crate::routes::{Incoming, json_answer};
use crate::scenario::Usage;
use crate::state::State;

/// How vectors are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenAI's.
    OpenAi,
    /// Google's, for one text.
    GoogleOne,
    /// Google's, for several.
    GoogleBatch,
    /// Vertex AI's.
    Vertex,
    /// Ollama's.
    Ollama,
}

/// The vector of a text.
pub fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut bytes = vec![0; dimensions * 2];
    blake3::Hasher::new().update(text.as_bytes()).finalize_xof().fill(&mut bytes);
    let values =
        bytes.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0);
    let values: Vec<f32> = values.collect();
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    values.into_iter().map(|value| value / length).collect()
}

pub(crate) fn handle(state: &State, incoming: &Incoming, format: Format, model: &str) -> Response {
    let body = incoming.json();
    let texts = texts(&body, format);
    let asked = ["dimensions", "outputDimensionality"].iter().find_map(|name| body[*name].as_u64());
    let nested = || body["requests"][0]["outputDimensionality"].as_u64();
    let nested_too = || body["parameters"]["outputDimensionality"].as_u64();
    let usual = match format {
        Format::OpenAi => 1536,
        Format::Ollama => 768,
        _ => 3072,
    };
    let dimensions = asked.or_else(nested).or_else(nested_too).unwrap_or(usual) as usize;
    let input = texts.iter().map(|text| text.split_whitespace().count() as u64).sum();
    state.used(&incoming.key(), Usage { input, ..Usage::default() });
    let vectors = texts.iter().map(|text| vector(text, dimensions));
    let answer = match format {
        Format::OpenAi => {
            let as_base64 = body["encoding_format"] == "base64";
            let data = vectors.enumerate().map(|(index, vector)| {
                let embedding = if as_base64 { base64(&vector).into() } else { json!(vector) };
                json!({"object": "embedding", "index": index, "embedding": embedding})
            });
            json!({"object": "list", "data": data.collect::<Vec<_>>(), "model": body["model"],
                "usage": {"prompt_tokens": input, "total_tokens": input}})
        }
        Format::GoogleOne => json!({"embedding": {"values": vectors.collect::<Vec<_>>().pop()}}),
        Format::GoogleBatch => {
            json!({"embeddings": vectors.map(|vector| json!({"values": vector})).collect::<Vec<_>>()})
        }
        Format::Vertex => json!({"predictions": vectors.map(|vector| {
            json!({"embeddings": {"values": vector, "statistics": {"token_count": 1, "truncated": false}}})
        }).collect::<Vec<_>>(), "model": model}),
        Format::Ollama => json!({"model": body["model"], "embeddings": vectors.collect::<Vec<_>>(),
            "prompt_eval_count": input}),
    };
    json_answer(200, &answer)
}

fn texts(body: &Value, format: Format) -> Vec<String> {
    let list = |value: &Value| match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
        }
        _ => Vec::new(),
    };
    let each = |name: &str, text: fn(&Value) -> String| {
        body[name].as_array().into_iter().flatten().map(text).collect()
    };
    let content = |value: &Value| last_text(&json!({"messages": [value["content"]]}));
    match format {
        Format::OpenAi | Format::Ollama => list(&body["input"]),
        Format::GoogleOne => vec![content(body)],
        Format::GoogleBatch => each("requests", |value| last_text(&json!({"messages": [value["content"]]}))),
        Format::Vertex => each("instances", |value| value["content"].as_str().unwrap_or_default().to_owned()),
    }
}

fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
