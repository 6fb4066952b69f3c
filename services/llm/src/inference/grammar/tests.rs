//! Whatever a history is, what is sent is what the provider takes; and the grammars refuse what the providers refuse.

use proptest::prelude::*;
use serde_json::json;
use sre_proto::llm::v1::part::Part as Kind;

use super::*;

fn message() -> impl Strategy<Value = pb::ChatMessage> {
    let id = || proptest::sample::select(vec!["", "1", "2", "a.b", "1-2"]);
    let calls = proptest::collection::vec(
        (id(), "[tu]", proptest::sample::select(vec!["", "{}", "[1]", "{\"a\""])),
        0..3,
    );
    (0..5i32, "[a-c ]{0,3}", calls, id(), proptest::collection::vec("[x-z ]{0,2}", 0..2), any::<bool>())
        .prop_map(|(role, text, calls, tool_call_id, parts, tool_failed)| pb::ChatMessage {
            role,
            text,
            tool_calls: calls
                .into_iter()
                .map(|(id, name, arguments)| pb::ToolCall {
                    id: id.to_owned(),
                    name,
                    arguments_json: arguments.into(),
                    ..Default::default()
                })
                .collect(),
            tool_call_id: tool_call_id.to_owned(),
            parts: parts
                .into_iter()
                .map(|text| pb::Part { part: Some(Kind::Text(text)) })
                .chain([pb::Part {
                    part: Some(Kind::Thinking(pb::Thinking {
                        text: "t".into(),
                        signature: "Anthropic|claude-sonnet-4-5|c2ln".into(),
                        ..Default::default()
                    })),
                }])
                .collect(),
            tool_failed,
            ..Default::default()
        })
}

/// All texts of a body, whatever its grammar.
fn texts(body: &Value, found: &mut String) {
    match body {
        Value::String(text) => {
            found.push_str(text);
            found.push('\n');
        }
        Value::Array(members) => members.iter().for_each(|member| texts(member, found)),
        Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn what_is_sent_is_what_the_provider_takes(
        mut messages in proptest::collection::vec(message(), 0..12)
    ) {
        messages.push(pb::ChatMessage { role: 2, text: "the last word".into(), ..Default::default() });
        let said: Vec<String> = messages
            .iter()
            .filter(|message| matches!(message.role(), pb::ChatRole::User | pb::ChatRole::Unspecified))
            .map(|message| message.text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .collect();
        let request = pb::GenerateRequest { messages, max_tokens: Some(100), ..Default::default() };
        for grammar in Grammar::ALL {
            let body = grammar.body(request.clone()).unwrap();
            if let Err(error) = grammar.check(&body) {
                prop_assert!(false, "{:?}: {}\n{:#}", grammar, error, body);
            }
            let mut found = String::new();
            texts(&body, &mut found);
            for text in &said {
                prop_assert!(found.contains(text), "{:?} lost {:?}\n{:#}", grammar, text, body);
            }
        }
    }
}

#[test]
fn what_providers_refuse_is_refused() {
    let user = json!({"role": "user", "content": "a"});
    let call = |id: &str| {
        json!({"role": "assistant", "content": "", "tool_calls": [
        {"id": id, "function": {"name": "t", "arguments": "{}"}}]})
    };
    let tool = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
    for wrong in [
        json!([]),
        json!([user, tool("1")]),
        json!([user, call("1")]),
        json!([user, call("1"), user]),
        json!([user, call("1"), tool("2")]),
        json!([user, call("1"), tool("1"), tool("1")]),
        json!([user, call("1"), tool("1"), call("1"), tool("1")]),
    ] {
        assert!(Grammar::Chat.check(&json!({"messages": wrong})).is_err(), "{wrong}");
    }
    let right = json!([user, call("1"), tool("1"), user]);
    assert_eq!(Grammar::Chat.check(&json!({"messages": right})), Ok(()));

    let said = |role: &str, blocks: Value| json!({"role": role, "content": blocks});
    let text = json!({"type": "text", "text": "a"});
    let used = json!({"type": "tool_use", "id": "1", "name": "t", "input": {}});
    let result = json!({"type": "tool_result", "tool_use_id": "1", "content": "x"});
    let thought = json!({"type": "thinking", "thinking": "t", "signature": ""});
    for wrong in [
        json!([said("assistant", json!([text]))]),
        json!([said("user", json!([text])), said("user", json!([text]))]),
        json!([said("user", json!([text])), said("assistant", json!([used])), said("user", json!([text]))]),
        json!([
            said("user", json!([text])),
            said("assistant", json!([used])),
            said("user", json!([text, result]))
        ]),
        json!([
            said("user", json!([text])),
            said("assistant", json!([thought, text])),
            said("user", json!([text]))
        ]),
        json!([said("user", json!([{"type": "text", "text": " "}]))]),
        json!([said("user", json!([]))]),
    ] {
        assert!(Grammar::Anthropic.check(&json!({"messages": wrong, "tools": [{}]})).is_err(), "{wrong}");
    }
    let right = json!([
        said("user", json!([text])),
        said("assistant", json!([used])),
        said("user", json!([result, text]))
    ]);
    assert_eq!(Grammar::Anthropic.check(&json!({"messages": right, "tools": [{}]})), Ok(()));
    assert!(Grammar::Anthropic.check(&json!({"messages": right})).is_err(), "calls without tools");

    let part = |role: &str, parts: Value| json!({"role": role, "parts": parts});
    let words = json!([{"text": "a"}]);
    let calls = json!([{"functionCall": {"name": "t", "args": {}}}]);
    let results = json!([{"functionResponse": {"name": "t", "response": {}}}]);
    for wrong in [
        json!([part("model", words.clone())]),
        json!([part("user", words.clone()), part("model", calls.clone()), part("user", words.clone())]),
        json!([part("user", results.clone())]),
        json!([part("user", words.clone()), part("user", calls.clone()), part("user", results.clone())]),
    ] {
        assert!(Grammar::Gemini.check(&json!({"contents": wrong})).is_err(), "{wrong}");
    }
    let call = json!({"type": "function_call", "call_id": "1", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "1", "output": ""});
    for wrong in [json!([user, call]), json!([user, output]), json!([user, output, call]), json!([])] {
        assert!(Grammar::Responses.check(&json!({"input": wrong})).is_err(), "{wrong}");
    }
    assert_eq!(Grammar::Responses.check(&json!({"input": [user, call, output]})), Ok(()));
}

#[test]
fn paths_have_their_grammar() {
    for (path, expected) in [
        ("/v1/chat/completions", Some(Grammar::Chat)),
        ("/v1/messages", Some(Grammar::Anthropic)),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", Some(Grammar::Gemini)),
        ("/model/x%3A0/converse-stream", Some(Grammar::Bedrock)),
        ("/api/chat", Some(Grammar::Ollama)),
        ("/v1/responses", Some(Grammar::Responses)),
        ("/v1/embeddings", None),
    ] {
        assert_eq!(Grammar::of_path(path), expected, "{path}");
    }
}
