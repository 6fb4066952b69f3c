//! Streams, whole answers, and answers that pause.

use axum::body::Body;
use axum::http::Response as Answer;
use futures::StreamExt as _;

use super::*;
use crate::inference::providers::{Piece, Provider as _};

fn transcript() -> Vec<Value> {
    let delta =
        |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let start = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "model": SONNET, "content": [],
            "usage": {"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 1}}}),
        json!({"type": "ping"}),
        start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm 🤔"})),
        delta(0, json!({"type": "signature_delta", "signature": "c2ln"})),
        stop(0),
        start(1, json!({"type": "redacted_thinking", "data": "cmVk"})),
        stop(1),
        start(2, json!({"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"query\":\"q\"}"})),
        stop(2),
        start(3, json!({"type": "web_search_tool_result", "tool_use_id": "srv", "content": []})),
        stop(3),
        start(4, json!({"type": "text", "text": ""})),
        delta(4, json!({"type": "text_delta", "text": "Grüße"})),
        delta(4, json!({"type": "text_delta", "text": " 日本"})),
        delta(
            4,
            json!({"type": "citations_delta", "citation": {"type": "web_search_result_location",
            "url": "https://x.test", "title": "X", "cited_text": "quote"}}),
        ),
        stop(4),
        start(5, json!({"type": "tool_use", "id": "toolu_1", "name": "t-1", "input": {}})),
        delta(5, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(5, json!({"type": "input_json_delta", "partial_json": "{\"a\""})),
        delta(5, json!({"type": "input_json_delta", "partial_json": ":1}"})),
        stop(5),
        start(6, json!({"type": "tool_use", "id": "toolu_2", "name": "t-2", "input": {}})),
        stop(6),
        json!({"type": "something_new", "index": 9}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"output_tokens": 50}}),
        json!({"type": "message_stop"}),
    ]
}

#[test]
fn a_stream_says_the_same_however_it_is_cut() {
    let call = call(NAME, SONNET);
    let (pieces, answer) =
        read_in_every_way(&call, |call| Messages.reading(call), &sse(&transcript())).unwrap();
    let delta = |index, id: &str, name: &str, more: &str| {
        Piece::ToolCall(pb::ToolCallDelta {
            index,
            id: id.into(),
            name: name.into(),
            arguments_fragment: more.into(),
        })
    };
    assert_eq!(
        pieces,
        [
            Piece::Thinking("hm 🤔".into()),
            Piece::Text("Grüße".into()),
            Piece::Text(" 日本".into()),
            delta(0, "toolu_1", "t-1", ""),
            delta(0, "", "", "{\"a\""),
            delta(0, "", "", ":1}"),
            delta(1, "toolu_2", "t-2", ""),
        ]
    );
    assert_eq!((answer.text.as_str(), answer.thinking.as_str()), ("Grüße 日本", "hm 🤔"));
    assert_eq!(answer.finish_reason(), pb::FinishReason::ToolCalls);
    assert_eq!(answer.response_id, "msg_1");
    let calls: Vec<_> =
        answer.tool_calls.iter().map(|call| (call.id.as_str(), &call.arguments_json[..])).collect();
    assert_eq!(calls, [("toolu_1", b"{\"a\":1}".as_slice()), ("toolu_2", b"{}")]);
    let usage = answer.usage.unwrap();
    assert_eq!(
        (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens, usage.output_tokens),
        (115, 100, 5, 50)
    );
    let source = &answer.citations[0];
    assert_eq!(
        (source.url.as_str(), source.start, source.end, source.quote.as_str()),
        ("https://x.test", 0, 14, "quote")
    );

    // What it said goes back as it came.
    let mut again = call.clone();
    let said = pb::ChatMessage {
        text: answer.text,
        tool_calls: answer.tool_calls,
        parts: answer.parts,
        ..say(pb::ChatRole::Assistant, "")
    };
    again.request.messages.push(said);
    let body = body_of(&again);
    let kinds: Vec<_> = body["messages"][1]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        kinds,
        [
            "thinking",
            "redacted_thinking",
            "server_tool_use",
            "web_search_tool_result",
            "text",
            "tool_use",
            "tool_use"
        ]
    );
    assert_eq!(body["messages"][1]["content"][2]["input"], json!({"query": "q"}));
}

#[test]
fn a_whole_message_is_read_like_a_stream() {
    let call = call(NAME, SONNET);
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "content": [
        {"type": "text", "text": "a"}, {"type": "text", "text": "b"},
        {"type": "tool_use", "id": "x", "name": "t", "input": {"a": 1}}],
        "stop_reason": "refusal", "usage": {"input_tokens": 3, "output_tokens": 4}});
    let answer = Messages.whole(&call, message.to_string().as_bytes()).unwrap();
    assert_eq!((answer.text.as_str(), answer.finish_reason()), ("ab", pb::FinishReason::ContentFilter));
    assert_eq!(&answer.tool_calls[0].arguments_json[..], b"{\"a\":1}");
    assert!(Messages.whole(&call, b"[]").is_err());
}

#[test]
fn d23_errors_and_broken_streams_end_in_an_error() {
    let call = call(NAME, SONNET);
    let read =
        |events: &[Value]| read_in_every_way(&call, |call| Messages.reading(call), &sse(events)).unwrap_err();
    let mut events = transcript();
    events.truncate(16);
    assert!(matches!(read(&events), InferenceError::Broken { .. }));
    events.push(json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}));
    let InferenceError::Refused(refusal) = read(&events) else { panic!("a refusal") };
    assert_eq!((refusal.status, refusal.code.as_str()), (529, "overloaded_error"));
}

fn paused(stream: bool) -> Answer<Body> {
    let block =
        json!({"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "q"}});
    let message = json!({"id": "m1", "content": [{"type": "text", "text": "one "}, block], "stop_reason": "pause_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2}});
    if !stream {
        return json_answer(200, &message);
    }
    let events = [
        json!({"type": "message_start", "message": {"id": "m1", "usage": {"input_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "one "}}),
        json!({"type": "content_block_start", "index": 1, "content_block": block}),
        json!({"type": "message_delta", "delta": {"stop_reason": "pause_turn"}, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ];
    Answer::new(Body::from(sse(&events)))
}

fn ended(stream: bool) -> Answer<Body> {
    let events = [
        json!({"type": "message_start", "message": {"id": "m2", "usage": {"input_tokens": 10}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "two"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}}),
        json!({"type": "message_stop"}),
    ];
    let message = json!({"id": "m2", "content": [{"type": "text", "text": "two"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 20}});
    if stream { Answer::new(Body::from(sse(&events))) } else { json_answer(200, &message) }
}

#[tokio::test]
async fn an_answer_that_pauses_goes_on() {
    let mut server = server(|count, seen| {
        let stream = seen.json()["stream"] == true;
        if count % 2 == 0 { paused(stream) } else { ended(stream) }
    })
    .await;
    let provider = Anthropic::new(Messages, settings()).unwrap();
    let mut call = call(NAME, SONNET);
    call.base_url = Some(format!("{}/v1", server.base).parse().unwrap());
    let whole = provider.generate(call.clone()).await.unwrap();
    let mut pieces: Vec<_> = provider.stream(call).await.unwrap().collect().await;
    let Some(Ok(Piece::Finished(streamed))) = pieces.pop() else { panic!("an end") };
    assert_eq!(
        pieces.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
        [Piece::Text("one ".into()), Piece::Text("two".into())]
    );
    assert_eq!(*streamed, whole);
    assert_eq!(
        (whole.text.as_str(), whole.finish_reason(), whole.parts.len()),
        ("one two", pb::FinishReason::Stop, 1)
    );
    let usage = whole.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (11, 22));
    let first = server.seen.recv().await.unwrap();
    assert_eq!(
        (first.path.as_str(), &first.headers["x-api-key"], &first.headers["anthropic-version"]),
        ("/v1/messages", &"k".parse().unwrap(), &"2023-06-01".parse().unwrap())
    );
    let resumed = server.seen.recv().await.unwrap().json();
    assert_eq!(resumed["messages"][1]["content"][1]["type"], "server_tool_use");
    assert_eq!(resumed["messages"].as_array().unwrap().len(), 2);
}
