//! What each parameter becomes at each service: one line for each cell of the table in the specification's 2.1, written
//! down in `tests/golden/parameters.txt`. `-` is left out of the request, and what is refused says so.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::*;
use crate::inference::providers::openai_chat::dialects::{Speaks, interface};
use crate::inference::providers::wire::{Delivery, Exchange, Wire as _};
use crate::inference::providers::{ollama::Ollama, openai_chat::OpenAiChat, responses::Responses};

pub(in super::super) type Set = fn(&mut pb::GenerateRequest);

fn media(mimetype: &str, source: pb::media::Source, name: &str) -> pb::ChatMessage {
    let media = pb::Media { mimetype: mimetype.into(), source: Some(source), file_name: name.into() };
    let part = pb::Part { part: Some(pb::part::Part::Media(media)) };
    pb::ChatMessage {
        role: pb::ChatRole::User as i32,
        text: "see".into(),
        parts: vec![part],
        ..Default::default()
    }
}

fn data(bytes: &'static [u8]) -> pb::media::Source {
    pb::media::Source::Data(bytes.into())
}

fn schema(request: &mut pb::GenerateRequest, strict: bool) {
    request.response_format = pb::ResponseFormat::JsonSchema as i32;
    request.json_schema = Some(pb::JsonSchema {
        name: "city".into(),
        schema_json: br#"{"type":"object","properties":{"a":{"type":"string"}}}"#.as_slice().into(),
        strict,
    });
}

fn with_tools(request: &mut pb::GenerateRequest, mode: pb::ToolMode) {
    request.tools = vec![tool("look"), tool("go")];
    request.tool_mode = mode as i32;
    request.tool_name = "go".into();
}

fn tool_round(request: &mut pb::GenerateRequest) {
    let call = pb::ToolCall {
        id: "c1".into(),
        name: "look".into(),
        arguments_json: br#"{"city":"Oslo"}"#.as_slice().into(),
        ..Default::default()
    };
    let thought = pb::Thinking { text: "hm".into(), ..Default::default() };
    request.messages.push(pb::ChatMessage {
        role: pb::ChatRole::Assistant as i32,
        text: "let me look".into(),
        parts: vec![pb::Part { part: Some(pb::part::Part::Thinking(thought)) }],
        tool_calls: vec![call],
        ..Default::default()
    });
    request.messages.push(pb::ChatMessage {
        role: pb::ChatRole::Tool as i32,
        text: r#"{"temperature":7}"#.into(),
        tool_call_id: "c1".into(),
        tool_name: "look".into(),
        ..Default::default()
    });
}

pub(in super::super) const CELLS: &[(&str, Set)] = &[
    ("max_tokens", |request| request.max_tokens = Some(100)),
    ("temperature", |request| request.temperature = Some(0.5)),
    ("top_p", |request| request.top_p = Some(0.25)),
    ("top_k", |request| request.top_k = Some(40)),
    ("frequency_penalty", |request| request.frequency_penalty = Some(0.5)),
    ("frequency_penalty 0", |request| request.frequency_penalty = Some(0.0)),
    ("presence_penalty", |request| request.presence_penalty = Some(0.5)),
    ("stop_sequences", |request| request.stop_sequences = vec!["STOP".into(), "\n,".into()]),
    ("response_format json", |request| request.response_format = pb::ResponseFormat::Json as i32),
    ("json_schema", |request| schema(request, false)),
    ("json_schema strict", |request| schema(request, true)),
    ("tools", |request| with_tools(request, pb::ToolMode::Auto)),
    ("tool_mode none", |request| with_tools(request, pb::ToolMode::None)),
    ("tool_mode required", |request| with_tools(request, pb::ToolMode::Required)),
    ("tool_mode named", |request| with_tools(request, pb::ToolMode::Named)),
    ("parallel_tool_calls", |request| {
        with_tools(request, pb::ToolMode::Auto);
        request.parallel_tool_calls = Some(false);
    }),
    ("reasoning_effort none", |request| request.reasoning_effort = "none".into()),
    ("reasoning_effort minimal", |request| request.reasoning_effort = "minimal".into()),
    ("reasoning_effort high", |request| request.reasoning_effort = "high".into()),
    ("reasoning_effort max", |request| request.reasoning_effort = "max".into()),
    ("reasoning_effort and max_tokens", |request| {
        request.reasoning_effort = "low".into();
        request.max_tokens = Some(100);
    }),
    ("thinking_tokens", |request| request.thinking_tokens = Some(2048)),
    ("verbosity", |request| request.verbosity = pb::Verbosity::Low as i32),
    ("web_search", |request| {
        request.web_search = Some(pb::WebSearch {
            context_size: "high".into(),
            city: "Oslo".into(),
            country: "NO".into(),
            timezone: "Europe/Oslo".into(),
            allowed_domains: vec!["example.org".into()],
            ..Default::default()
        });
    }),
    ("web_search of x", |request| {
        request.web_search = Some(pb::WebSearch {
            sources: vec!["x".into()],
            included_handles: vec!["a".into()],
            from_date: "2026-01-01".into(),
            ..Default::default()
        });
    }),
    ("web_search of rss", |request| {
        request.web_search = Some(pb::WebSearch { sources: vec!["rss".into()], ..Default::default() });
    }),
    ("prompt_caching", |request| {
        request.prompt_caching =
            Some(pb::PromptCaching { enabled: true, key: "k".into(), ..Default::default() });
    }),
    ("image", |request| request.messages = vec![media("image/jpg", data(b"img"), "")]),
    ("image by address", |request| {
        request.messages = vec![media("", pb::media::Source::Url("https://a.test/b.png".into()), "")];
    }),
    ("document", |request| request.messages = vec![media("application/pdf", data(b"%PDF"), "a.pdf")]),
    ("sound", |request| request.messages = vec![media("audio/mpeg", data(b"ID3"), "")]),
    ("a round of tools", tool_round),
    ("two users", |request| request.messages.push(message(pb::ChatRole::User, "and you?"))),
];

async fn body(call: &Call) -> Result<Value, InferenceError> {
    let exchange = Exchange::new(InferenceSettings::default()).unwrap();
    let delivery = Delivery::Stream;
    let request = match interface(call) {
        Speaks::Chat => OpenAiChat.request(&exchange, call, delivery).await?,
        Speaks::Responses => Responses.request(&exchange, call, delivery).await?,
        Speaks::Ollama => Ollama.request(&exchange, call, delivery).await?,
    };
    let mut body: Value = serde_json::from_slice(&request.body).unwrap();
    body["to"] = request.url.path().into();
    Ok(body)
}

/// What a body has that another has not.
pub(in super::super) fn more(base: &Value, body: &Value) -> Map<String, Value> {
    let fields = body.as_object().unwrap().iter();
    fields
        .filter(|(name, value)| base.get(*name) != Some(*value))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect()
}

#[tokio::test]
async fn every_cell_is_as_written_down() {
    let mut text = String::new();
    for column in COLUMNS {
        let mut call = column.call(None);
        call.base_url = Some("https://api.test/v1".parse().unwrap());
        let base = body(&call).await.unwrap();
        let _ = writeln!(text, "== {}\nbase: {base}", column.name);
        for (name, set) in CELLS {
            let mut call = call.clone();
            set(&mut call.request);
            let _ = match body(&call).await {
                Err(error) => writeln!(text, "{name}: refused: {error}"),
                Ok(body) => match more(&base, &body) {
                    fields if fields.is_empty() => writeln!(text, "{name}: -"),
                    fields => writeln!(text, "{name}: {}", Value::from(fields)),
                },
            };
        }
        text.push('\n');
    }
    compare("parameters.txt", &text);
}

#[tokio::test]
async fn a_model_without_the_feature_is_not_told_to_think() {
    for column in COLUMNS {
        let mut call = column.call(None);
        call.base_url = Some("https://api.test/v1".parse().unwrap());
        std::sync::Arc::make_mut(&mut call.model).features = vec!["text".into()];
        let base = body(&call).await.unwrap();
        call.request.reasoning_effort = "high".into();
        call.request.verbosity = pb::Verbosity::Low as i32;
        let told = more(&base, &body(&call).await.unwrap());
        assert!(told.keys().all(|name| name == "text"), "{}: {told:?}", column.name);
    }
}
