//! The reference's faults that touch these adapters, each by its number in the specification's 11.1.

use std::sync::Arc;

use serde_json::Value;
use sre_fake_provider::{FakeProvider, Framing, Order, Scenario, Step, ToolCall, Usage, UsageStyle};

use super::*;

fn by_name(name: &str) -> Column {
    COLUMNS.into_iter().find(|column| column.name == name).unwrap()
}

/// The answer of a column to a scenario, in pieces, and what was sent.
async fn ask(name: &str, scenario: Scenario, set: impl FnOnce(&mut Call)) -> (pb::GenerateResponse, Value) {
    let server = FakeProvider::start().await.unwrap();
    let mut call = by_name(name).call(Some(&server));
    set(&mut call);
    server.state().queue(scenario);
    let (_, end) = streamed(provider(), &call).await;
    let sent = server.state().requests().pop().unwrap();
    let body = json!({"path": sent.path, "body": sent.body});
    (end.unwrap(), body)
}

#[tokio::test]
async fn d1_two_messages_of_a_user_both_arrive() {
    for column in COLUMNS {
        let (_, sent) = ask(column.name, Scenario::default(), |call| {
            let user = |text| message(pb::ChatRole::User, text);
            call.request.messages = vec![
                user("one"),
                user("two"),
                message(pb::ChatRole::Assistant, "a"),
                user("three"),
                user("four"),
            ];
        })
        .await;
        for word in ["one", "two", "three", "four"] {
            assert!(sent.to_string().contains(word), "{}: {sent}", column.name);
        }
    }
}

#[tokio::test]
async fn d9_text_cut_inside_a_line_arrives_whole() {
    let words = Scenario::of([Step::Text("Grüße, ".into()), Step::Text("日本語 😀".into())]);
    for bytes in [1, 3, 7] {
        let (answer, _) =
            ask("xai", words.clone().framed(Framing { bytes, ..Framing::default() }), |_| {}).await;
        assert_eq!(answer.text, "Grüße, 日本語 😀");
    }
}

#[tokio::test]
async fn d11_responses_carry_sampling_and_json() {
    let (_, sent) = ask("xai-responses", Scenario::default(), |call| {
        call.request.temperature = Some(0.5);
        call.request.top_p = Some(0.25);
        call.request.response_format = pb::ResponseFormat::Json as i32;
    })
    .await;
    let body = &sent["body"];
    assert_eq!((&body["temperature"], &body["top_p"]), (&json!(0.5), &json!(0.25)));
    assert_eq!(body["text"]["format"]["type"], "json_object");
}

#[tokio::test]
async fn d12_each_server_is_told_the_limit_by_its_own_name() {
    for (name, expected) in [
        ("openai", "max_completion_tokens"),
        ("deepseek", "max_tokens"),
        ("together", "max_tokens"),
        ("groq", "max_tokens"),
        ("compatible", "max_tokens"),
        ("responses", "max_output_tokens"),
    ] {
        let (_, sent) = ask(name, Scenario::default(), |call| call.request.max_tokens = Some(9)).await;
        assert_eq!(sent["body"][expected], 9, "{name}: {sent}");
    }
    // An entry of OpenAI's name that points at another server.
    let (_, sent) = ask("openai", Scenario::default(), |call| {
        call.request.max_tokens = Some(9);
        Arc::make_mut(&mut call.model).base_url = Some("http://lm-studio.test/v1".into());
    })
    .await;
    assert_eq!(sent["body"]["max_tokens"], 9);
}

#[tokio::test]
async fn d14_the_choice_of_a_tool_is_sent() {
    for (name, expected) in [
        ("openai", json!({"type": "function", "function": {"name": "go"}})),
        ("responses", json!({"type": "function", "name": "go"})),
    ] {
        let (_, sent) = ask(name, Scenario::default(), |call| {
            call.request.tools = vec![tool("look"), tool("go")];
            call.request.tool_mode = pb::ToolMode::Named as i32;
            call.request.tool_name = "go".into();
        })
        .await;
        assert_eq!(sent["body"]["tool_choice"], expected);
    }
}

#[tokio::test]
async fn d15_a_result_without_an_id_does_not_empty_the_input() {
    let (_, sent) = ask("responses", Scenario::default(), |call| {
        call.request.messages.push(message(pb::ChatRole::Tool, "orphan"));
        call.request.messages.push(message(pb::ChatRole::User, "still here"));
    })
    .await;
    let input = sent["body"]["input"].to_string();
    assert!(input.contains("hi there") && input.contains("still here"), "{input}");
    assert!(!input.contains("orphan"), "{input}");
}

#[tokio::test]
async fn d16_a_search_is_no_call_of_a_tool_and_always_goes_to_responses() {
    let server = FakeProvider::start().await.unwrap();
    let provider = provider();
    let scenario = sre_fake_provider::named::named("search/cited").unwrap();
    for name in ["openai", "xai"] {
        let mut call = by_name(name).call(Some(&server));
        call.request.web_search = Some(pb::WebSearch::default());
        server.state().queue(scenario.clone().times(2));
        let (_, end) = streamed(provider, &call).await;
        let whole = provider.generate(call).await.unwrap();
        for answer in [end.unwrap(), whole] {
            assert!(answer.tool_calls.is_empty(), "{answer:?}");
            assert_eq!(answer.finish_reason(), pb::FinishReason::Stop);
            assert_eq!(answer.citations[0].url, "https://example.org/a");
        }
        for sent in server.state().requests() {
            assert!(sent.path.ends_with("/responses"), "{}", sent.path);
            assert_eq!(sent.body["tools"][0]["type"], "web_search");
        }
    }
}

#[tokio::test]
async fn d20_parallel_calls_are_not_mixed_up() {
    let calls = || {
        [ToolCall::of("get_weather", r#"{"city":"Oslo"}"#), ToolCall::of("get_weather", r#"{"city":"Rome"}"#)]
    };
    for column in COLUMNS {
        for order in [Order::Sequential, Order::Interleaved, Order::Together] {
            let (answer, _) = ask(column.name, Scenario::of([Step::tools(order, calls())]), |_| {}).await;
            let made: Vec<_> = answer.tool_calls.iter().map(|call| &call.arguments_json[..]).collect();
            assert_eq!(made, [br#"{"city":"Oslo"}"#, br#"{"city":"Rome"}"#], "{} {order:?}", column.name);
            assert_ne!(answer.tool_calls[0].id, answer.tool_calls[1].id, "{}", column.name);
            assert_eq!(answer.finish_reason(), pb::FinishReason::ToolCalls);
        }
    }
}

#[tokio::test]
async fn d21_cached_tokens_are_counted_alike_everywhere() {
    let used = Usage { input: 100, output: 40, cached: 60, reasoning: 15, cache_write: 0 };
    for column in COLUMNS {
        let steps = [Step::Text("a".into()), Step::Usage(used)];
        let (answer, _) = ask(column.name, Scenario::of(steps), |_| {}).await;
        let counted = answer.usage.unwrap();
        assert_eq!((counted.input_tokens, counted.output_tokens), (100, 40), "{}", column.name);
        if column.name != "ollama" {
            assert_eq!((counted.cached_input_tokens, counted.reasoning_tokens), (60, 15), "{}", column.name);
        }
    }
}

#[tokio::test]
async fn d22_what_is_said_often_is_counted_once() {
    let used = Usage { input: 10, output: 4, ..Usage::default() };
    for column in COLUMNS {
        for style in [UsageStyle::Usual, UsageStyle::Repeated, UsageStyle::WithFinish, UsageStyle::Absent] {
            let steps = [Step::Text("a ".into()), Step::Text("b".into()), Step::Usage(used)];
            let scenario = Scenario { usage: style, ..Scenario::of(steps) };
            let (answer, _) = ask(column.name, scenario, |_| {}).await;
            let expected = (style != UsageStyle::Absent).then_some((10, 4));
            let counted = answer.usage.map(|used| (used.input_tokens, used.output_tokens));
            assert_eq!(counted, expected, "{} {style:?}", column.name);
        }
    }
}

#[tokio::test]
async fn d23_there_is_one_end_whatever_happens() {
    let server = FakeProvider::start().await.unwrap();
    let provider = provider();
    // `streamed` fails where anything follows the end, and where there is none.
    for column in COLUMNS {
        for name in
            ["error/mid_stream", "error/eof", "error/reset", "error/corrupt", "error/no_marker", "error/529"]
        {
            server.state().queue(sre_fake_provider::named::named(name).unwrap());
            let (_, end) = streamed(provider, &column.call(Some(&server))).await;
            assert!(end.is_err(), "{} {name}: {end:?}", column.name);
        }
    }
}

#[tokio::test]
async fn d25_stop_sequences_and_texts_stay_what_they_are() {
    let (_, sent) = ask("openai", Scenario::default(), |call| {
        call.request.stop_sequences = vec!["\n".into(), "a,b".into()];
        call.request.messages = vec![message(pb::ChatRole::User, "42")];
    })
    .await;
    assert_eq!(sent["body"]["stop"], json!(["\n", "a,b"]));
    assert_eq!(sent["body"]["messages"][0]["content"], "42");
}

#[tokio::test]
async fn d32_a_whole_response_that_is_cut_off_or_calls_tools_is_read() {
    let server = FakeProvider::start().await.unwrap();
    let provider = provider();
    let call = by_name("responses").call(Some(&server));
    server.state().queue(Scenario::of([Step::Text("half".into()), Step::Finish("length".into())]));
    let answer = provider.generate(call.clone()).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.finish_reason()), ("half", pb::FinishReason::Length));
    server.state().queue(Scenario::of([Step::tools(Order::Sequential, [ToolCall::of("go", "{}")])]));
    let answer = provider.generate(call).await.unwrap();
    assert_eq!((answer.tool_calls.len(), answer.finish_reason()), (1, pb::FinishReason::ToolCalls));
}

#[tokio::test]
async fn d44_images_stay_with_their_message_over_rounds_of_tools() {
    for name in ["openai", "responses", "ollama"] {
        let (_, sent) = ask(name, Scenario::default(), |call| {
            let media = pb::Media {
                mimetype: "image/png".into(),
                source: Some(pb::media::Source::Data(b"pixels".as_slice().into())),
                ..Default::default()
            };
            call.request.messages[1].parts.push(pb::Part { part: Some(pb::part::Part::Media(media)) });
            let called = pb::ToolCall { id: "c".into(), name: "go".into(), ..Default::default() };
            call.request
                .messages
                .push(pb::ChatMessage { tool_calls: vec![called], ..message(pb::ChatRole::Assistant, "") });
            call.request
                .messages
                .push(pb::ChatMessage { tool_call_id: "c".into(), ..message(pb::ChatRole::Tool, "done") });
        })
        .await;
        assert!(sent.to_string().contains("cGl4ZWxz"), "{name}: {sent}");
        assert!(sent.to_string().contains("hi there"), "{name}: {sent}");
    }
}

#[tokio::test]
async fn d47_perplexity_streams_really() {
    let server = FakeProvider::start().await.unwrap();
    server.state().queue(Scenario::of([Step::Text("first ".into()), Step::Stall]));
    let (pieces, end) = streamed(impatient(), &by_name("perplexity").call(Some(&server))).await;
    assert_eq!(pieces, [Piece::Text("first ".into())]);
    assert_eq!(end.unwrap_err().kind(), "silent");
}

#[tokio::test]
async fn thinking_is_sent_back_to_its_maker_while_tools_are_called() {
    let server = FakeProvider::start().await.unwrap();
    let provider = provider();
    for (name, expected) in [("responses", "c2lnLXRoaW5r"), ("deepseek", "Where is the sun?")] {
        let mut call = by_name(name).call(Some(&server));
        server.state().queue(sre_fake_provider::named::named("think/tools").unwrap());
        let (_, end) = streamed(provider, &call).await;
        let answer = end.unwrap();
        let id = answer.tool_calls[0].id.clone();
        call.request.messages.push(pb::ChatMessage {
            parts: answer.parts,
            tool_calls: answer.tool_calls,
            ..message(pb::ChatRole::Assistant, &answer.text)
        });
        call.request.messages.push(pb::ChatMessage { tool_call_id: id, ..message(pb::ChatRole::Tool, "7") });
        provider.generate(call.clone()).await.unwrap();
        let sent = server.state().requests().pop().unwrap().body.to_string();
        assert!(sent.contains(expected), "{name}: {sent}");
        // Another model never sees it.
        let model = Arc::make_mut(&mut call.model);
        model.model_id = "another".into();
        model.provider = if name == "responses" { "xAI" } else { "OpenAI" }.into();
        provider.generate(call).await.unwrap();
        let sent = server.state().requests().pop().unwrap().body.to_string();
        assert!(!sent.contains(expected), "{name}: {sent}");
    }
}

#[tokio::test]
async fn a_history_with_tools_is_told_in_words_where_none_are_known() {
    let (_, sent) = ask("perplexity", Scenario::default(), |call| {
        let called = pb::ToolCall { id: "c".into(), name: "go".into(), ..Default::default() };
        call.request.messages.extend([
            pb::ChatMessage { tool_calls: vec![called], ..message(pb::ChatRole::Assistant, "") },
            pb::ChatMessage {
                tool_call_id: "c".into(),
                tool_name: "go".into(),
                ..message(pb::ChatRole::Tool, "arrived")
            },
            message(pb::ChatRole::Assistant, "done"),
        ]);
    })
    .await;
    let roles: Vec<_> = sent["body"]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"], "{sent}");
    assert!(sent.to_string().contains("Result of go: arrived"), "{sent}");
}

/// Appendix C 5: whoever stops listening stops the provider, whatever the format.
#[tokio::test]
async fn a_dropped_stream_closes_the_connection() {
    let server = FakeProvider::start().await.unwrap();
    for column in COLUMNS {
        server.state().clear();
        server.state().queue(Scenario::of([Step::Text("first ".into()), Step::Stall]));
        let mut pieces = provider().stream(column.call(Some(&server))).await.unwrap();
        assert_eq!(pieces.next().await.unwrap().unwrap(), Piece::Text("first ".into()));
        drop(pieces);
        let is_dropped = server.state().wait_for(Duration::from_secs(60), |state| {
            state.requests().iter().all(|request| request.ended == sre_fake_provider::Ended::Dropped)
        });
        assert!(is_dropped.await, "{}", column.name);
    }
}
