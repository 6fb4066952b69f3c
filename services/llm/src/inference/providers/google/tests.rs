//! Bodies and streams of Gemini.

use axum::body::Body;
use axum::http::Response as Answer;
use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;

use super::*;
use crate::inference::providers::history::seal;
use crate::inference::providers::testing::*;
use crate::inference::providers::wire::Spoken;
use crate::inference::providers::{Piece, Provider as _};

const FLASH: &str = "gemini-2.5-flash";

fn body_of(call: &Call) -> Value {
    body(call, Flavour::GoogleAi).unwrap()
}

fn change(model_id: &str, change: impl FnOnce(&mut pb::GenerateRequest)) -> Value {
    let mut call = call(NAME, model_id);
    change(&mut call.request);
    body_of(&call)
}

fn chunk(parts: Value, finish: Option<&str>) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish}]})
}

#[test]
fn each_parameter_has_its_place() {
    let config =
        |change: fn(&mut pb::GenerateRequest)| self::change(FLASH, change)["generationConfig"].clone();
    let cases: [Case; 11] = [
        (|_| {}, json!({})),
        (|request| request.max_tokens = Some(9), json!({"maxOutputTokens": 9})),
        (|request| request.temperature = Some(0.5), json!({"temperature": 0.5})),
        (|request| request.top_p = Some(0.5), json!({"topP": 0.5})),
        (|request| request.top_k = Some(5), json!({"topK": 5})),
        (|request| request.frequency_penalty = Some(1.0), json!({"frequencyPenalty": 1.0})),
        (|request| request.presence_penalty = Some(1.0), json!({"presencePenalty": 1.0})),
        (|request| request.stop_sequences = vec!["a".into()], json!({"stopSequences": ["a"]})),
        (
            |request| request.reasoning_effort = "none".into(),
            json!({"thinkingConfig": {"thinkingBudget": 0}}),
        ),
        (
            |request| request.thinking_tokens = Some(2_000),
            json!({"thinkingConfig": {"thinkingBudget": 2000, "includeThoughts": true}}),
        ),
        (
            |request| request.set_response_format(pb::ResponseFormat::Json),
            json!({"responseMimeType": "application/json"}),
        ),
    ];
    for (set, expected) in cases {
        let mut whole = json!({"maxOutputTokens": 4096});
        whole.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
        assert_eq!(config(set), whole);
    }
    let effort = |model: &str, effort: &str| {
        change(model, |request| request.reasoning_effort = effort.into())["generationConfig"]["thinkingConfig"].clone()
    };
    assert_eq!(
        effort("gemini-3-pro-preview", "medium"),
        json!({"thinkingLevel": "high", "includeThoughts": true})
    );
    assert_eq!(
        effort("gemini-3-flash", "minimal"),
        json!({"thinkingLevel": "minimal", "includeThoughts": false})
    );
    assert_eq!(effort("gemini-2.5-pro", "none"), json!({"thinkingBudget": 128}));
    assert_eq!(effort("gemini-2.0-flash", "high"), Value::Null);
}

#[test]
fn d5_a_history_without_tools_keeps_its_roles() {
    let body = change(FLASH, |request| {
        request.messages = vec![
            say(pb::ChatRole::System, "s"),
            user("a"),
            say(pb::ChatRole::Assistant, "b"),
            user("c"),
            say(pb::ChatRole::System, "t"),
        ];
    });
    assert_eq!(body["systemInstruction"], json!({"parts": [{"text": "s\n\nt"}]}));
    assert_eq!(
        body["contents"],
        json!([
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": [{"text": "b"}]},
        {"role": "user", "parts": [{"text": "c"}]}])
    );
}

#[test]
fn d6_d24_files_stand_where_they_were_said_and_history_and_tools_stay() {
    let mut asked = user("look");
    asked.parts = vec![
        media("image/jpg", Source::Data(b"abc".as_slice().into())),
        media("application/pdf", Source::Url("https://x.test/f.pdf".into())),
    ];
    let body = change(FLASH, |request| {
        request.messages = vec![asked.clone(), calling(&["1"]), result("1", "text")];
        request.tools = vec![tool("t-1")];
    });
    assert_eq!(
        body["contents"][0]["parts"],
        json!([{"text": "look"},
        {"inlineData": {"mimeType": "image/jpeg", "data": "YWJj"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.test/f.pdf"}}])
    );
    assert_eq!(body["contents"][2]["parts"][0]["functionResponse"]["response"], json!({"result": "text"}));
    assert!(
        body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]["properties"]["a"].is_object()
    );
    let mut call = call(NAME, FLASH);
    asked.parts = vec![media("video/mp4", Source::Data(b"v".as_slice().into())), asked.parts.remove(0)];
    call.request.messages = vec![asked];
    let refused = body_error(&call);
    assert!(refused.contains("one film and no other file"), "video plus other file is rejected: {refused}");
    call.request.messages[0].parts = vec![media("application/zip", Source::Data(b"z".as_slice().into()))];
    assert!(body_error(&call).contains("takes no application/zip"));
}

fn body_error(call: &Call) -> String {
    body(call, Flavour::GoogleAi).unwrap_err().to_string()
}

#[test]
fn d14_the_choice_of_tools_and_names_arrive() {
    let of = |mode: pb::ToolMode| {
        change(FLASH, |request| {
            request.tools = vec![tool("1 größe"), pb::Tool { name: "bare".into(), ..Default::default() }];
            request.set_tool_mode(mode);
            request.tool_name = "1 größe".into();
            request.web_search = Some(pb::WebSearch::default());
        })
    };
    let body = of(pb::ToolMode::Named);
    let functions = &body["tools"][0]["functionDeclarations"];
    let name = functions[0]["name"].as_str().unwrap();
    assert!(name.starts_with('_') && name.is_ascii(), "{name}");
    assert_eq!(functions[1].get("parametersJsonSchema"), None, "an empty object is refused");
    assert_eq!(
        body["toolConfig"]["functionCallingConfig"],
        json!({"mode": "ANY", "allowedFunctionNames": [name]})
    );
    assert_eq!(body["tools"][1], json!({"googleSearch": {}}));
    assert_eq!(of(pb::ToolMode::None)["toolConfig"]["functionCallingConfig"], json!({"mode": "NONE"}));
    assert_eq!(of(pb::ToolMode::Auto)["toolConfig"]["functionCallingConfig"], json!({"mode": "AUTO"}));
}

#[test]
fn schemas_by_form_or_in_words_beside_tools() {
    let set = |request: &mut pb::GenerateRequest| {
        request.set_response_format(pb::ResponseFormat::JsonSchema);
        let schema_json = r#"{"$schema":"x","type":"object"}"#.into();
        request.json_schema = Some(pb::JsonSchema { schema_json, ..Default::default() });
    };
    assert_eq!(change(FLASH, set)["generationConfig"]["responseJsonSchema"], json!({"type": "object"}));
    let beside = change(FLASH, |request| {
        set(request);
        request.tools = vec![tool("a")];
    });
    assert_eq!(beside["generationConfig"].get("responseJsonSchema"), None);
    assert!(beside["systemInstruction"]["parts"][0]["text"].as_str().unwrap().contains("JSON Schema"));
}

#[test]
fn signatures_go_back_to_the_model_that_made_them_alone() {
    let mut call = call(NAME, "gemini-3-pro");
    let mut calls = calling(&["1", "2"]);
    calls.tool_calls[0].signature = seal(&call.model, "c2ln").into();
    call.request.messages = vec![user("a"), calls, result("1", "x"), result("2", "y")];
    let signature = |call: &Call, part: usize| {
        body_of(call)["contents"][1]["parts"][part]["thoughtSignature"].as_str().map(str::to_owned)
    };
    assert_eq!((signature(&call, 0).as_deref(), signature(&call, 1)), (Some("c2ln"), None));
    let mut other = self::call(NAME, "gemini-3-flash");
    other.request = call.request.clone();
    let carried = signature(&other, 0);
    assert_eq!(carried.as_deref(), Some("skip_thought_signature_validator"), "without one it is a 400");
    let mut before = self::call(NAME, FLASH);
    before.request = call.request.clone();
    assert_eq!(signature(&before, 0), None);
}

fn transcript() -> Vec<Value> {
    vec![
        chunk(json!([{"text": "hm", "thought": true}]), None),
        chunk(json!([{"text": "Grüße "}]), None),
        chunk(json!([{"text": "日本", "thoughtSignature": "dGV4dA=="}]), None),
        chunk(json!([{"functionCall": {"name": "t-1", "args": {"a": 1}}, "thoughtSignature": "c2ln"}]), None),
        chunk(json!([{"functionCall": {"id": "own", "name": "t-2"}}]), None),
        json!({"candidates": [{"content": {"parts": []}, "finishReason": "STOP", "groundingMetadata": {
            "groundingChunks": [{"web": {"uri": "https://x.test", "title": "X"}}, {"web": {"uri": "https://y.test"}}],
            "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 7, "text": "Grüße"}, "groundingChunkIndices": [0]}]}}],
            "responseId": "resp_1",
            "usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5, "thoughtsTokenCount": 3}}),
    ]
}

#[test]
fn d17_d18_calls_of_several_chunks_and_the_real_reason() {
    let call = call(NAME, FLASH);
    let (pieces, answer) = read(&call, GoogleAi.reading(&call), &[&sse(&transcript())]).unwrap();
    assert_eq!(
        pieces[..3],
        [Piece::Thinking("hm".into()), Piece::Text("Grüße ".into()), Piece::Text("日本".into())]
    );
    assert!(
        matches!(&pieces[3], Piece::ToolCall(call) if call.index == 0 && call.arguments_fragment == "{\"a\":1}")
    );
    assert!(matches!(&pieces[4], Piece::ToolCall(call) if call.index == 1 && call.id == "own"));
    assert_eq!((answer.text.as_str(), answer.thinking.as_str()), ("Grüße 日本", "hm"));
    assert_eq!(answer.finish_reason(), pb::FinishReason::ToolCalls);
    assert_eq!(answer.tool_calls.len(), 2, "appended, not overwritten");
    assert_eq!(answer.tool_calls[0].signature, seal(&call.model, "c2ln"));
    assert_ne!(answer.tool_calls[0].id, "");
    assert_eq!(&answer.tool_calls[1].arguments_json[..], b"{}");
    let usage = answer.usage.unwrap();
    assert_eq!(
        (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.reasoning_tokens),
        (10, 4, 8, 3)
    );
    let sources: Vec<_> = answer.citations.iter().map(|source| (source.url.as_str(), source.end)).collect();
    assert_eq!(sources, [("https://x.test", 7), ("https://y.test", 0)]);

    let mut again = call.clone();
    again.request.messages.push(pb::ChatMessage {
        text: answer.text,
        tool_calls: answer.tool_calls,
        parts: answer.parts,
        ..say(pb::ChatRole::Assistant, "")
    });
    let parts = body_of(&again)["contents"][1]["parts"].clone();
    assert_eq!(parts[0], json!({"text": "", "thoughtSignature": "dGV4dA=="}));
    assert_eq!(
        parts[2],
        json!({"functionCall": {"name": "t-1", "args": {"a": 1}}, "thoughtSignature": "c2ln"})
    );
    assert_eq!(parts[3]["functionCall"]["id"], "own");
}

#[test]
fn a_stream_says_the_same_however_it_is_cut() {
    let call = call(NAME, FLASH);
    let mut events = transcript();
    events.remove(3);
    read_in_every_way(&call, |call| GoogleAi.reading(call), &sse(&events)).unwrap();
    for (word, expected) in [
        ("MAX_TOKENS", pb::FinishReason::Length),
        ("SAFETY", pb::FinishReason::ContentFilter),
        ("MALFORMED_FUNCTION_CALL", pb::FinishReason::Other),
        ("STOP", pb::FinishReason::Stop),
    ] {
        let bytes = sse(&[chunk(json!([{"text": "a"}]), None), chunk(json!([]), Some(word))]);
        let (_, answer) = read_in_every_way(&call, |call| GoogleAi.reading(call), &bytes).unwrap();
        assert_eq!(answer.finish_reason(), expected);
    }
    let broken =
        read_in_every_way(&call, |call| GoogleAi.reading(call), &sse(&[chunk(json!([{"text": "a"}]), None)]));
    assert!(matches!(broken, Err(InferenceError::Broken { .. })), "without a reason it is no answer");
    let error = sse(&[json!({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}})]);
    let Err(InferenceError::Refused(refusal)) = read(&call, GoogleAi.reading(&call), &[&error]) else {
        panic!("a refusal")
    };
    assert_eq!((refusal.status, refusal.code.as_str()), (503, "UNAVAILABLE"));
    for odd in ["[]", "1", "{\"candidates\":{}}", "{\"candidates\":[1]}"] {
        assert!(GoogleAi.whole(&call, odd.as_bytes()).is_err(), "{odd}");
    }
}

#[test]
fn a_blocked_request_is_no_empty_answer() {
    let call = call(NAME, FLASH);
    let blocked =
        json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}});
    let answer = GoogleAi.whole(&call, blocked.to_string().as_bytes()).unwrap();
    assert_eq!(answer.finish_reason(), pb::FinishReason::ContentFilter);
    let (_, streamed) = read(&call, GoogleAi.reading(&call), &[&sse(&[blocked])]).unwrap();
    assert_eq!(streamed, answer);
}

#[tokio::test]
async fn a_refusal_says_when_to_ask_again_and_the_key_is_in_a_header() {
    let mut server = server(|_, _| {
        json_answer(
            429,
            &json!({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"}]}}),
        )
    })
    .await;
    let mut call = call(NAME, FLASH);
    call.base_url = Some(format!("{}/v1beta", server.base).parse().unwrap());
    let provider = Spoken::new(GoogleAi, settings()).unwrap();
    let Err(InferenceError::Refused(refusal)) = provider.stream(call).await else { panic!("a refusal") };
    assert_eq!(refusal.retry_after, Some(std::time::Duration::from_millis(37_500)));
    assert_eq!(refusal.code, "RESOURCE_EXHAUSTED");
    let seen = server.seen.recv().await.unwrap();
    assert_eq!(seen.path, "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
    assert_eq!(seen.headers["x-goog-api-key"], "k");
}

#[tokio::test]
async fn what_is_too_large_goes_through_files() {
    let mut server = server(|_, seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", "/upload/v1beta/files") => {
            let host = seen.headers["host"].to_str().unwrap().to_owned();
            Answer::builder()
                .header("x-goog-upload-url", format!("http://{host}/upload/here"))
                .body(Body::empty())
                .unwrap()
        }
        ("POST", "/upload/here") => {
            json_answer(200, &json!({"file": {"name": "files/abc", "state": "PROCESSING"}}))
        }
        ("GET", "/v1beta/files/abc") => json_answer(
            200,
            &json!({"name": "files/abc", "state": "ACTIVE", "uri": "https://files.test/abc"}),
        ),
        _ => json_answer(200, &chunk(json!([{"text": "seen"}]), Some("STOP"))),
    })
    .await;
    let mut call = call(NAME, FLASH);
    call.base_url = Some(format!("{}/v1beta", server.base).parse().unwrap());
    let large = vec![b'x'; media::INLINE_BYTES];
    call.request.messages[0].parts = vec![
        media("image/png", Source::Data(b"small".as_slice().into())),
        media("application/pdf", Source::Data(large.clone().into())),
    ];
    let provider = Spoken::new(GoogleAi, settings()).unwrap();
    assert_eq!(provider.generate(call).await.unwrap().text, "seen");
    let start = server.seen.recv().await.unwrap();
    assert_eq!(start.headers["x-goog-upload-protocol"], "resumable");
    assert_eq!(start.headers["x-goog-upload-header-content-type"], "application/pdf");
    assert_eq!(start.json(), json!({"file": {"display_name": "f.pdf"}}));
    let sent = server.seen.recv().await.unwrap();
    assert_eq!(sent.headers["x-goog-upload-command"], "upload, finalize");
    assert!(sent.body == large && sent.headers.get("x-goog-api-key").is_none());
    assert_eq!(server.seen.recv().await.unwrap().method, "GET");
    let parts = server.seen.recv().await.unwrap().json()["contents"][0]["parts"].clone();
    assert_eq!(parts[1]["inlineData"]["data"], "c21hbGw=");
    assert_eq!(
        parts[2],
        json!({"fileData": {"mimeType": "application/pdf", "fileUri": "https://files.test/abc"}})
    );
}
