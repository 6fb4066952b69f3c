//! What becomes of a model's answer.

use sre_engine::data::permissive_json;
use sre_engine::value::Value;
use sre_proto::llm::v1::{FinishReason, GenerateResponse, Model};

use super::is_echo;

/// How an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As text.
    Text,
    /// As JSON, where it is JSON.
    Json,
}

/// The answer's value. Text is never searched for JSON. An echoed prompt is read whenever it starts as JSON,
/// and never otherwise: a code fence is the caller's own.
pub(crate) fn value(text: &str, reading: Reading, model: &Model) -> Value {
    let wanted = match is_echo(model) {
        true => text.trim_start().starts_with(['{', '[']),
        false => reading == Reading::Json,
    };
    if !wanted {
        return Value::from(text);
    }
    match permissive_json::parse(text) {
        // An echoed object with an error is the caller's own text.
        Some(object) if is_echo(model) && object.get("error").is_some() => Value::from(text),
        Some(json) => json,
        None => Value::from(text),
    }
}

/// The error a model reports inside a JSON answer.
pub(crate) fn reported_error(reply: &Value) -> Option<String> {
    reply.get("error").filter(|error| error.truthy()).map(Value::to_text)
}

/// Why an answer is incomplete; `None` if the model was done.
pub(crate) fn interruption(response: &GenerateResponse) -> Option<String> {
    let (reason, what, advice) = match response.finish_reason() {
        FinishReason::Stop | FinishReason::Unspecified => return None,
        FinishReason::Length => (
            "length",
            "The answer was cut off: the output token limit was reached.",
            "Please try again with a higher 'Maximum Output Tokens'.",
        ),
        FinishReason::ContentFilter => (
            "content_filter",
            "The answer was blocked by content filtering.",
            "Please modify your prompt and try again.",
        ),
        FinishReason::ToolCalls => (
            "tool_calls",
            "The answer is incomplete: the model called a tool that this component does not offer.",
            "Please modify your prompt and try again.",
        ),
        FinishReason::Other => return Some(other(&response.finish_detail)),
    };
    Some(format!("The model stopped before completing its answer.\nReason: {reason}. {what}\n{advice}"))
}

fn other(detail: &str) -> String {
    let what = match detail {
        "abort" => "The request was aborted before completion.",
        "error" => "An error occurred while the answer was generated.",
        _ => "The model stopped for an unknown reason.",
    };
    let detail = if detail.is_empty() { "unknown" } else { detail };
    format!("The model stopped before completing its answer.\nReason: {detail}. {what}\nPlease try again.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str, reading: Reading, provider: &str) -> serde_json::Value {
        let model = Model { provider: provider.into(), ..Model::default() };
        value(text, reading, &model).into()
    }

    #[test]
    fn json_is_read_only_where_it_is_asked_for() {
        let text = r#"{"a":1}"#;
        assert_eq!(read(text, Reading::Text, "OpenAI"), json!(text));
        assert_eq!(read(text, Reading::Json, "OpenAI"), json!({"a": 1}));
        assert_eq!(read("```json\n{\"a\":1}\n```", Reading::Json, "OpenAI"), json!({"a": 1}));
        assert_eq!(read("see {\"a\":1}", Reading::Json, "OpenAI"), json!("see {\"a\":1}"));
    }

    #[test]
    fn an_echo_is_read_if_it_is_json_in_whole() {
        assert_eq!(read("{\"title\": broken", Reading::Text, "Echo"), json!({"title": "broken"}));
        assert_eq!(read("[\"a\"]", Reading::Text, "Echo"), json!(["a"]));
        let fenced = "```json\n{\"a\":1}\n```";
        for reading in [Reading::Text, Reading::Json] {
            assert_eq!(read(fenced, reading, "Echo"), json!(fenced));
        }
        assert_eq!(read("{\"error\":\"x\"}", Reading::Text, "Echo"), json!("{\"error\":\"x\"}"));
        assert_eq!(read("42", Reading::Text, "Echo"), json!("42"));
    }

    #[test]
    fn interruptions_name_reason_and_way_out() {
        let response =
            |reason: FinishReason| GenerateResponse { finish_reason: reason.into(), ..Default::default() };
        assert_eq!(interruption(&response(FinishReason::Stop)), None);
        let length = interruption(&response(FinishReason::Length)).unwrap();
        assert!(length.contains("output token limit") && length.contains("Maximum Output Tokens"));
        assert_eq!(length.lines().count(), 3);
        let filter = interruption(&response(FinishReason::ContentFilter)).unwrap();
        assert!(filter.contains("blocked by content filtering") && filter.contains("modify your prompt"));
        let other = interruption(&response(FinishReason::Other)).unwrap();
        assert!(other.contains("unknown reason") && other.contains("try again"));
    }
}
