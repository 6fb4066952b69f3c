//! Bodies and streams of the Messages API.

use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;
use sre_proto::llm::v1::part::Part as Kind;

mod streams;

use super::*;
use crate::inference::providers::history::seal;
use crate::inference::providers::testing::*;

const SONNET: &str = "claude-sonnet-4-5";

fn body_of(call: &Call) -> Value {
    body(call, Delivery::Stream).unwrap()
}

fn change(model_id: &str, change: impl FnOnce(&mut pb::GenerateRequest)) -> Value {
    let mut call = call(NAME, model_id);
    change(&mut call.request);
    body_of(&call)
}

fn thinking(call: &Call, text: &str) -> pb::Part {
    let thinking =
        pb::Thinking { text: text.into(), signature: seal(&call.model, "c2ln"), ..Default::default() };
    pb::Part { part: Some(Kind::Thinking(thinking)) }
}

/// Parameters: one golden body for each of them.
#[test]
fn each_parameter_has_its_place() {
    let plain = json!({"model": SONNET, "max_tokens": 4096, "stream": true, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]}]});
    let with = |changes: Value| {
        let mut body = plain.clone();
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        body
    };
    assert_eq!(change(SONNET, |_| {}), plain);
    let cases: [Case; 12] = [
        (|request| request.max_tokens = Some(9), json!({"max_tokens": 9})),
        (|request| request.temperature = Some(0.5), json!({"temperature": 0.5})),
        (|request| request.temperature = Some(1.5), json!({"temperature": 1.0})),
        (|request| request.top_p = Some(0.5), json!({"top_p": 0.5})),
        (|request| request.top_k = Some(5), json!({"top_k": 5})),
        (|request| request.stop_sequences = vec!["a".into(), " ".into()], json!({"stop_sequences": ["a"]})),
        (|request| request.frequency_penalty = Some(1.0), json!({})),
        (|request| request.presence_penalty = Some(1.0), json!({})),
        (|request| request.reasoning_effort = "none".into(), json!({})),
        (
            |request| request.thinking_tokens = Some(2048),
            json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ),
        (
            |request| request.reasoning_effort = "high".into(),
            json!({"thinking": {"type": "enabled", "budget_tokens": 2867}}),
        ),
        (|request| request.set_verbosity(pb::Verbosity::Low), json!({})),
    ];
    for (set, expected) in cases {
        assert_eq!(change(SONNET, set), with(expected.clone()), "{expected}");
    }
    let json = change(SONNET, |request| request.set_response_format(pb::ResponseFormat::Json));
    assert!(json["system"][0]["text"].as_str().unwrap().contains("one JSON object"));
    assert_eq!(json["messages"].as_array().unwrap().len(), 1, "no beginning of an answer: models refuse it");
}

#[test]
fn what_a_family_refuses_is_not_sent() {
    let sampling = |request: &mut pb::GenerateRequest| {
        (request.temperature, request.top_p, request.top_k) = (Some(0.5), Some(0.5), Some(5));
    };
    let old = change("claude-3-5-haiku-20241022", sampling);
    assert_eq!((&old["temperature"], &old["top_p"], &old["top_k"]), (&json!(0.5), &json!(0.5), &json!(5)));
    let one = change("claude-opus-4-1-20250805", sampling);
    assert_eq!((&one["temperature"], &one["top_p"]), (&json!(0.5), &Value::Null));
    let none = change("claude-opus-4-7", sampling);
    assert_eq!((&none["temperature"], &none["top_k"]), (&Value::Null, &Value::Null));
    let thinks = change(SONNET, |request| {
        sampling(request);
        request.thinking_tokens = Some(2000);
    });
    assert_eq!((&thinks["temperature"], &thinks["top_k"]), (&Value::Null, &Value::Null));
    assert_eq!(
        change("claude-3-haiku-20240307", |request| request.thinking_tokens = Some(9_000))["thinking"],
        Value::Null
    );

    for (model, effort, thinking, output) in [
        ("claude-opus-4-6", "xhigh", json!({"type": "adaptive"}), json!({"effort": "high"})),
        (
            "claude-opus-4-7",
            "xhigh",
            json!({"type": "adaptive", "display": "summarized"}),
            json!({"effort": "xhigh"}),
        ),
        (
            "claude-opus-4-7",
            "minimal",
            json!({"type": "adaptive", "display": "summarized"}),
            json!({"effort": "low"}),
        ),
    ] {
        let body = change(model, |request| request.reasoning_effort = effort.into());
        assert_eq!((&body["thinking"], &body["output_config"]), (&thinking, &output));
    }
}

#[test]
fn d2_thinking_keeps_system_tools_and_stops() {
    let body = change(SONNET, |request| {
        request.messages.insert(0, say(pb::ChatRole::System, "s"));
        request.messages.push(say(pb::ChatRole::System, "t"));
        request.tools = vec![tool("a")];
        request.set_tool_mode(pb::ToolMode::Required);
        request.stop_sequences = vec!["x".into()];
        request.reasoning_effort = "low".into();
    });
    assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": 1024}));
    assert_eq!(body["system"], json!([{"type": "text", "text": "s\n\nt"}]), "all system texts");
    assert_eq!(body["tools"].as_array().unwrap().len(), 1);
    assert_eq!(body["tool_choice"], json!({"type": "auto"}), "a model that thinks cannot be forced");
    assert_eq!(body["stop_sequences"], json!(["x"]));
}

#[test]
fn d14_the_choice_of_tools_arrives() {
    let of = |mode: pb::ToolMode, parallel: Option<bool>| {
        change(SONNET, |request| {
            request.tools = vec![tool("a.b")];
            request.set_tool_mode(mode);
            request.tool_name = "a.b".into();
            request.parallel_tool_calls = parallel;
        })
    };
    let body = of(pb::ToolMode::Named, Some(false));
    let name = body["tools"][0]["name"].as_str().unwrap();
    assert!(name.starts_with("a_b_"), "{name}");
    assert_eq!(body["tool_choice"], json!({"type": "tool", "name": name, "disable_parallel_tool_use": true}));
    assert_eq!(body["tools"][0]["input_schema"]["required"], json!(["a"]));
    assert_eq!(of(pb::ToolMode::Auto, None)["tool_choice"], json!({"type": "auto"}));
    assert_eq!(of(pb::ToolMode::Required, Some(true))["tool_choice"], json!({"type": "any"}));
    assert_eq!(of(pb::ToolMode::None, Some(false))["tool_choice"], json!({"type": "none"}));
}

#[test]
fn a_model_that_always_thinks_cannot_be_forced() {
    let body = change("claude-fable-5-1", |request| {
        request.tools = vec![tool("a")];
        request.set_tool_mode(pb::ToolMode::Required);
        request.temperature = Some(0.5);
    });
    assert_eq!(body["tool_choice"], json!({"type": "auto"}));
    assert_eq!((&body["temperature"], &body["thinking"]), (&Value::Null, &Value::Null));
}

#[test]
fn d13_what_is_worth_keeping_is_marked() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let caching =
        || Some(pb::PromptCaching { enabled: true, time_to_live: "1h".into(), ..Default::default() });
    let body = change(SONNET, |request| {
        request.messages.insert(0, say(pb::ChatRole::System, "s"));
        request.tools = vec![tool("a"), tool("b")];
        request.prompt_caching = caching();
    });
    assert_eq!(
        (&body["tools"][0]["cache_control"], &body["tools"][1]["cache_control"]),
        (&Value::Null, &mark)
    );
    assert_eq!(body["system"][0]["cache_control"], mark);
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], mark);
    let body = change(SONNET, |request| {
        let marked = |text: &str, role| pb::ChatMessage { cache_breakpoint: true, ..say(role, text) };
        request.messages = vec![marked("s", pb::ChatRole::System)];
        for _ in 0..4 {
            request.messages.push(marked("u", pb::ChatRole::User));
            request.messages.push(say(pb::ChatRole::Assistant, "a"));
        }
        request.messages.push(user("last"));
    });
    let short = json!({"type": "ephemeral"});
    assert_eq!(body["system"][0]["cache_control"], short);
    let marks: Vec<bool> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["content"][0]["cache_control"] == short)
        .collect();
    assert_eq!(
        marks,
        [false, false, true, false, true, false, true, false, false],
        "four at most, the last ones"
    );
}

#[test]
fn a_history_with_calls_images_and_thinking() {
    let mut call = call(NAME, SONNET);
    let mut asked = user("look");
    asked.parts = vec![
        media("image/jpg", Source::Data(b"abc".as_slice().into())),
        media("", Source::Url("https://x.test/a.png".into())),
        media("application/pdf", Source::Data(b"%PDF".as_slice().into())),
        media("text/plain", Source::Data(b"txt".as_slice().into())),
    ];
    let mut calls = calling(&["1", "b.2"]);
    calls.text = "so ".into();
    calls.parts = vec![
        thinking(&call, "hm"),
        pb::Part {
            part: Some(Kind::Thinking(pb::Thinking {
                redacted: seal(&call.model, "cmVk"),
                ..Default::default()
            })),
        },
    ];
    let failed = pb::ChatMessage { tool_failed: true, ..result("b.2", "no") };
    call.request.messages = vec![asked, calls, failed, result("1", "yes"), user("and?")];
    let body = body_of(&call);
    let id = super::super::history::wire_id("b.2");
    assert_eq!(
        body["messages"],
        json!([
        {"role": "user", "content": [
            {"type": "text", "text": "look"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "YWJj"}},
            {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
            {"type": "document", "title": "f.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}},
            {"type": "document", "title": "f.pdf", "source": {"type": "text", "media_type": "text/plain", "data": "txt"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "cmVk"},
            {"type": "text", "text": "so"},
            {"type": "tool_use", "id": "1", "name": "t-1", "input": {"a": 1}},
            {"type": "tool_use", "id": id, "name": body["messages"][1]["content"][4]["name"], "input": {"a": 1}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": "yes"},
            {"type": "tool_result", "tool_use_id": id, "content": "no", "is_error": true},
            {"type": "text", "text": "and?"}]}])
    );
    assert_eq!(body["tools"].as_array().unwrap().len(), 2, "called tools stay declared");
    assert_eq!(body["tool_choice"], json!({"type": "none"}));

    call.request.messages[0].parts = vec![media("image/tiff", Source::Data(b"abc".as_slice().into()))];
    let refused = super::body(&call, Delivery::Stream).unwrap_err().to_string();
    assert!(refused.contains("takes no image/tiff") && refused.contains("image/png"), "{refused}");
}

#[test]
fn d38_another_models_thinking_stays_away_and_thinking_waits_for_the_next_turn() {
    let other = call(NAME, "claude-opus-4-5");
    let mut call = call(NAME, SONNET);
    let mut calls = calling(&["1"]);
    calls.parts = vec![thinking(&other, "hm")];
    call.request.messages = vec![user("a"), calls.clone(), result("1", "x")];
    call.request.tools = vec![tool("t-1")];
    call.request.thinking_tokens = Some(2000);
    let body = body_of(&call);
    assert_eq!(body["messages"][1]["content"][0]["type"], "tool_use");
    assert_eq!(body["thinking"], Value::Null, "the API refuses calls without thinking amid a turn");
    call.request.messages[1].parts = vec![thinking(&call, "hm")];
    assert_eq!(body_of(&call)["thinking"]["type"], "enabled");
    call.request.messages[1].parts.clear();
    call.request.messages.push(say(pb::ChatRole::Assistant, "b"));
    call.request.messages.push(user("c"));
    assert_eq!(body_of(&call)["thinking"]["type"], "enabled");
}

#[test]
fn schemas_by_format_by_tool_and_by_words() {
    let schema =
        pb::JsonSchema { schema_json: r#"{"type":"object","properties":{}}"#.into(), ..Default::default() };
    let set = |request: &mut pb::GenerateRequest| {
        request.set_response_format(pb::ResponseFormat::JsonSchema);
        request.json_schema = Some(schema.clone());
    };
    let format = change(SONNET, set);
    assert_eq!(
        format["output_config"]["format"],
        json!({"type": "json_schema", "schema":
        {"type": "object", "properties": {}, "additionalProperties": false}})
    );
    let forced = change("claude-3-5-haiku-20241022", set);
    assert_eq!(forced["tool_choice"], json!({"type": "tool", "name": "give_answer"}));
    let words = change("claude-3-5-haiku-20241022", |request| {
        set(request);
        request.tools = vec![tool("a")];
    });
    assert!(words["system"][0]["text"].as_str().unwrap().contains("JSON Schema"));
    let mut call = call(NAME, "claude-3-5-haiku-20241022");
    set(&mut call.request);
    let message = json!({"id": "m", "content": [{"type": "tool_use", "id": "x", "name": "give_answer",
        "input": {"a": 1}}], "stop_reason": "tool_use"});
    let answer = Messages.whole(&call, message.to_string().as_bytes()).unwrap();
    assert_eq!((answer.text.as_str(), answer.finish_reason()), ("{\"a\":1}", pb::FinishReason::Stop));
    assert!(answer.tool_calls.is_empty());
}

#[test]
fn searches_of_the_providers_server() {
    let body = change(SONNET, |request| {
        request.web_search = Some(pb::WebSearch {
            country: "DE".into(),
            excluded_domains: vec!["x.test".into()],
            ..Default::default()
        });
    });
    assert_eq!(
        body["tools"],
        json!([{"type": "web_search_20250305", "name": "web_search",
        "blocked_domains": ["x.test"], "user_location": {"type": "approximate", "country": "DE"}}])
    );
}
