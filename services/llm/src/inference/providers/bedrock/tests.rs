//! Bodies, signatures and streams of Bedrock.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use axum::body::Body;
use axum::http::Response as Answer;
use serde_json::{Value, json};
use sre_proto::llm::v1::media::Source;
use sre_proto::llm::v1::part::Part as Kind;

use super::*;
use crate::inference::Key;
use crate::inference::providers::history::seal;
use crate::inference::providers::testing::*;
use crate::inference::providers::wire::Spoken;
use crate::inference::providers::{Piece, Provider as _};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

fn change(model_id: &str, change: impl FnOnce(&mut pb::GenerateRequest)) -> Value {
    let mut call = call(NAME, model_id);
    change(&mut call.request);
    body(&call).unwrap()
}

#[test]
fn d10_each_parameter_has_its_place() {
    let plain = json!({"inferenceConfig": {"maxTokens": 4096},
        "messages": [{"role": "user", "content": [{"text": "hi"}]}]});
    assert_eq!(change(CLAUDE, |_| {}), plain);
    let cases: [Case; 7] = [
        (|request| request.max_tokens = Some(9), json!({"inferenceConfig": {"maxTokens": 9}})),
        (
            |request| request.temperature = Some(0.5),
            json!({"inferenceConfig": {"maxTokens": 4096, "temperature": 0.5}}),
        ),
        (|request| request.top_p = Some(0.5), json!({"inferenceConfig": {"maxTokens": 4096, "topP": 0.5}})),
        (
            |request| request.stop_sequences = vec!["a".into()],
            json!({"inferenceConfig": {"maxTokens": 4096, "stopSequences": ["a"]}}),
        ),
        (|request| request.top_k = Some(5), json!({"additionalModelRequestFields": {"top_k": 5}})),
        (|request| request.frequency_penalty = Some(1.0), json!({})),
        (
            |request| request.thinking_tokens = Some(2000),
            json!({"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}}}),
        ),
    ];
    for (set, expected) in cases {
        let mut whole = plain.clone();
        whole.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
        assert_eq!(change(CLAUDE, set), whole);
    }
    let nova = change("amazon.nova-pro-v1:0", |request| request.top_k = Some(5));
    assert_eq!(nova["additionalModelRequestFields"], json!({"inferenceConfig": {"topK": 5}}));
    let llama = change("meta.llama3-1-70b-instruct-v1:0", |request| request.top_k = Some(5));
    assert_eq!(llama.get("additionalModelRequestFields"), None);
    let json = change(CLAUDE, |request| request.set_response_format(pb::ResponseFormat::Json));
    assert!(json["system"][0]["text"].as_str().unwrap().contains("JSON object"));
}

#[test]
fn d4_d14_tools_their_choice_and_every_result() {
    let body = change(CLAUDE, |request| {
        request.messages =
            vec![user("a"), calling(&["1", "2"]), pb::ChatMessage { tool_failed: true, ..result("2", "") }];
        request.tools = vec![tool("t-1"), tool("t__1")];
        request.set_tool_mode(pb::ToolMode::Named);
        request.tool_name = "t-1".into();
    });
    let names: Vec<_> = body["toolConfig"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["toolSpec"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names[0], "t__1");
    assert_ne!(names[1], "t__1", "two tools, two names");
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"tool": {"name": "t__1"}}));
    assert_eq!(
        body["messages"][1]["content"][0]["toolUse"],
        json!({"toolUseId": "1", "name": "t__1", "input": {"a": 1}})
    );
    let results = &body["messages"][2]["content"];
    assert_eq!(results[0]["toolResult"]["status"], "error", "a lost result is one that says so");
    assert_eq!(
        results[1]["toolResult"],
        json!({"toolUseId": "2", "content": [{"text": "..."}], "status": "error"})
    );
    let past = change(CLAUDE, |request| {
        request.messages = vec![user("a"), calling(&["1"]), result("1", "x")];
    });
    assert_eq!(past["toolConfig"]["tools"][0]["toolSpec"]["name"], "t__1", "called tools stay declared");
    assert_eq!(past["system"][0]["text"], "Answer without calling tools.");
    let of = |mode: pb::ToolMode| {
        change(CLAUDE, |request| {
            request.tools = vec![tool("a")];
            request.set_tool_mode(mode);
        })
    };
    assert_eq!(of(pb::ToolMode::Required)["toolConfig"]["toolChoice"], json!({"any": {}}));
    assert_eq!(of(pb::ToolMode::Auto)["toolConfig"]["toolChoice"], json!({"auto": {}}));
    assert_eq!(of(pb::ToolMode::None).get("toolConfig"), None);
}

#[test]
fn images_documents_thinking_and_marks() {
    let mut call = call(NAME, CLAUDE);
    let mut asked = user("");
    asked.parts = vec![
        media("image/jpg", Source::Data(b"abc".as_slice().into())),
        media("application/pdf", Source::Data(b"%PDF".as_slice().into())),
        media("text/plain", Source::Data(b"t".as_slice().into())),
    ];
    let thinking = |text: &str, signature: &str, redacted: &str| pb::Part {
        part: Some(Kind::Thinking(pb::Thinking {
            text: text.into(),
            signature: signature.into(),
            redacted: redacted.into(),
        })),
    };
    let mut said = say(pb::ChatRole::Assistant, "b");
    said.parts =
        vec![thinking("hm", &seal(&call.model, "c2ln"), ""), thinking("", "", &seal(&call.model, "cmVk"))];
    call.request.messages = vec![say(pb::ChatRole::System, "s"), asked, said, user("c")];
    call.request.tools = vec![tool("a")];
    call.request.prompt_caching = Some(pb::PromptCaching { enabled: true, ..Default::default() });
    let body = body(&call).unwrap();
    let mark = json!({"cachePoint": {"type": "default"}});
    assert_eq!(body["system"], json!([{"text": "s"}, mark]));
    assert_eq!(body["toolConfig"]["tools"][1], mark);
    assert_eq!(
        body["messages"],
        json!([
        {"role": "user", "content": [{"text": "..."},
            {"image": {"format": "jpeg", "source": {"bytes": "YWJj"}}},
            {"document": {"format": "pdf", "name": "f", "source": {"bytes": "JVBERg=="}}},
            {"document": {"format": "txt", "name": "f-1", "source": {"bytes": "dA=="}}}]},
        {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
            {"reasoningContent": {"redactedContent": "cmVk"}}, {"text": "b"}]},
        {"role": "user", "content": [{"text": "c"}, mark]}])
    );
    call.request.messages[1].parts = vec![media("", Source::Url("https://x.test/a.png".into()))];
    assert!(super::body(&call).unwrap_err().to_string().contains("fetches nothing"));
    call.request.messages[1].parts = vec![media("audio/ogg", Source::Data(b"o".as_slice().into()))];
    assert!(super::body(&call).unwrap_err().to_string().contains("takes no audio/ogg"));
}

fn frame(kind: &str, name: &str, payload: &Value) -> Vec<u8> {
    let header =
        |name: &'static str, value: &str| Header::new(name, HeaderValue::String(value.to_owned().into()));
    let name_of = if kind == "exception" { ":exception-type" } else { ":event-type" };
    let message = Message::new(payload.to_string().into_bytes())
        .add_header(header(":message-type", kind))
        .add_header(header(name_of, name));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

fn transcript() -> Vec<Vec<u8>> {
    let event = |name: &str, payload: Value| frame("event", name, &payload);
    let delta = |index: u64, delta: Value| {
        event("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta}))
    };
    vec![
        event("messageStart", json!({"role": "assistant"})),
        delta(0, json!({"reasoningContent": {"text": "hm"}})),
        delta(0, json!({"reasoningContent": {"signature": "c2ln"}})),
        event("contentBlockStop", json!({"contentBlockIndex": 0})),
        delta(1, json!({"text": "Grüße "})),
        delta(1, json!({"text": "日本"})),
        event(
            "contentBlockStart",
            json!({"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "x", "name": "t__1"}}}),
        ),
        event(
            "contentBlockStart",
            json!({"contentBlockIndex": 3, "start": {"toolUse": {"toolUseId": "y", "name": "t__2"}}}),
        ),
        delta(2, json!({"toolUse": {"input": "{\"a\""}})),
        delta(3, json!({"toolUse": {"input": "{}"}})),
        delta(2, json!({"toolUse": {"input": ":1}"}})),
        event("messageStop", json!({"stopReason": "tool_use"})),
        event(
            "metadata",
            json!({"usage": {"inputTokens": 10, "outputTokens": 5, "cacheReadInputTokens": 100,
            "cacheWriteInputTokens": 7}, "metrics": {"latencyMs": 1}}),
        ),
    ]
}

#[test]
fn d19_a_stream_ends_with_its_usage_however_it_is_cut() {
    let mut call = call(NAME, CLAUDE);
    call.request.tools = vec![tool("t-1"), tool("t-2")];
    let (pieces, answer) =
        read_in_every_way(&call, |call| Bedrock.reading(call), &transcript().concat()).unwrap();
    assert_eq!(
        pieces[..3],
        [Piece::Thinking("hm".into()), Piece::Text("Grüße ".into()), Piece::Text("日本".into())]
    );
    let indices: Vec<_> = pieces[3..]
        .iter()
        .map(|piece| match piece {
            Piece::ToolCall(call) => call.index,
            _ => panic!("a call"),
        })
        .collect();
    assert_eq!(indices, [0, 1, 0, 1, 0]);
    let calls: Vec<_> = answer
        .tool_calls
        .iter()
        .map(|call| (call.id.as_str(), call.name.as_str(), &call.arguments_json[..]))
        .collect();
    assert_eq!(calls, [("x", "t-1", b"{\"a\":1}".as_slice()), ("y", "t-2", b"{}")], "names come back");
    assert_eq!((answer.text.as_str(), answer.thinking.as_str()), ("Grüße 日本", "hm"));
    assert_eq!(answer.finish_reason(), pb::FinishReason::ToolCalls);
    let usage = answer.usage.unwrap();
    assert_eq!(
        (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens, usage.output_tokens),
        (117, 100, 7, 5)
    );
    let Some(Kind::Thinking(thinking)) = &answer.parts[0].part else { panic!("thinking") };
    assert_eq!(thinking.signature, seal(&call.model, "c2ln"));
}

#[test]
fn exceptions_and_broken_frames_end_in_an_error() {
    let call = call(NAME, CLAUDE);
    let read = |frames: &[Vec<u8>]| {
        read_in_every_way(&call, |call| Bedrock.reading(call), &frames.concat()).unwrap_err()
    };
    for (kind, status) in [
        ("throttlingException", 429),
        ("modelStreamErrorException", 500),
        ("validationException", 400),
        ("internalServerException", 500),
        ("serviceUnavailableException", 503),
    ] {
        let mut frames = transcript()[..5].to_vec();
        frames.push(frame("exception", kind, &json!({"message": "no"})));
        let InferenceError::Refused(refusal) = read(&frames) else { panic!("a refusal") };
        assert_eq!((refusal.status, refusal.code.as_str(), refusal.message.as_str()), (status, kind, "no"));
    }
    let whole = transcript();
    assert!(matches!(read(&whole[..5]), InferenceError::Broken { .. }), "no end");
    let mut corrupt = transcript();
    let last = corrupt[4].len() - 6;
    corrupt[4][last] ^= 1;
    let error = read(&corrupt);
    assert!(
        matches!(&error, InferenceError::Broken { message, .. } if message.contains("broken")),
        "{error}"
    );
    let mut endless = Bedrock.reading(&call);
    let bytes = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    endless.push(&call, &bytes).unwrap();
    let refused = (0..6).find_map(|_| endless.push(&call, &vec![0; 1 << 20]).err());
    assert!(matches!(refused, Some(InferenceError::Broken { .. })), "what never ends is not held");
}

fn keyed(base: &str, fields: &[(&str, &str)]) -> Call {
    let mut call =
        call_of(&json!({"modelId": CLAUDE, "provider": NAME, "settings": {"region": "eu-west-1"}}));
    call.base_url = Some(base.parse().unwrap());
    call.key = Some(Key::of_fields(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()))));
    call
}

/// The signature by AWS's own crate over what the server got.
async fn signature(seen: &Seen, base: &str) -> String {
    let authorization = seen.headers["authorization"].to_str().unwrap().to_owned();
    let signed = authorization.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    let date = seen.headers["x-amz-date"].to_str().unwrap();
    use aws_lc_rs::{digest, hmac};
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let sha = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let host = base.strip_prefix("http://").unwrap();
    let headers: String = signed
        .split(';')
        .map(|name| match name {
            "host" => format!("host:{host}\n"),
            name => format!("{name}:{}\n", seen.headers[name].to_str().unwrap()),
        })
        .collect();
    // Paths are encoded once more in what is signed.
    let path = seen.path.replace('%', "%25");
    let canonical = format!("POST\n{path}\n\n{headers}\n{signed}\n{}", sha(&seen.body));
    let scope = format!("{}/eu-west-1/bedrock/aws4_request", &date[..8]);
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha(canonical.as_bytes()));
    let mac = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let mut key = b"AWS4secret".to_vec();
    for part in [&date[..8], "eu-west-1", "bedrock", "aws4_request"] {
        key = mac(&key, part);
    }
    assert!(authorization.contains(&format!("Credential=id/{scope}")), "{authorization}");
    hex(&mac(&key, &to_sign))
}

#[tokio::test]
async fn calls_are_signed_with_the_colon_encoded_or_bear_a_key() {
    let answer = json!({"output": {"message": {"role": "assistant", "content": [{"text": "ho"},
        {"toolUse": {"toolUseId": "x", "name": "t", "input": {"a": 1}}}]}}, "stopReason": "tool_use",
        "usage": {"inputTokens": 1, "outputTokens": 2}});
    let mut server = server(move |_, seen| {
        if seen.path.ends_with("stream") {
            return Answer::new(Body::from(transcript().concat()));
        }
        json_answer(200, &answer)
    })
    .await;
    let provider = Spoken::new(Bedrock, settings()).unwrap();
    let fields = [("accessKeyId", "id"), ("secretAccessKey", "secret"), ("sessionToken", "session")];
    let answer = provider.generate(keyed(&server.base, &fields)).await.unwrap();
    assert_eq!(
        (answer.text.as_str(), &answer.tool_calls[0].arguments_json[..]),
        ("ho", b"{\"a\":1}".as_slice())
    );
    let seen = server.seen.recv().await.unwrap();
    assert_eq!(seen.path, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse");
    assert_eq!(seen.headers["x-amz-security-token"], "session");
    let expected = signature(&seen, &server.base).await;
    assert!(seen.headers["authorization"].to_str().unwrap().ends_with(&format!("Signature={expected}")));

    use futures::StreamExt as _;
    let mut pieces: Vec<_> =
        provider.stream(keyed(&server.base, &[("apiKey", "bearer")])).await.unwrap().collect().await;
    assert!(matches!(pieces.pop(), Some(Ok(Piece::Finished(answer))) if answer.usage.is_some()));
    let seen = server.seen.recv().await.unwrap();
    assert_eq!(seen.headers["authorization"], "Bearer bearer");
    assert!(seen.path.ends_with("%3A0/converse-stream"));

    let half =
        provider.generate(keyed(&server.base, &[("accessKeyId", "id")])).await.unwrap_err().to_string();
    assert!(half.contains("secretAccessKey"), "{half}");
    assert!(server.seen.try_recv().is_err(), "nothing was sent");
}

#[test]
fn regions_are_no_part_of_another_address() {
    let of = |region: &str| {
        host(&call_of(&json!({"modelId": "m", "provider": NAME, "settings": {"region": region}})).model)
    };
    assert_eq!(of("eu-west-1").unwrap(), "https://bedrock-runtime.eu-west-1.amazonaws.com");
    assert!(of("evil.test/").is_err());
}
