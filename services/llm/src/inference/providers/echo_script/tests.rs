use super::*;
use crate::models::{Mode, Table};

fn call(messages: &[(pb::ChatRole, &str, &[&str])]) -> Call {
    let messages = messages.iter().map(|(role, text, tools)| pb::ChatMessage {
        role: *role as i32,
        text: (*text).to_owned(),
        tool_calls: tools
            .iter()
            .map(|name| pb::ToolCall { name: (*name).into(), ..Default::default() })
            .collect(),
        ..Default::default()
    });
    let request = pb::GenerateRequest { messages: messages.collect(), ..Default::default() };
    let model = Table::new(Default::default(), Mode::Merge).resolve("EchoScript").unwrap();
    Call { model, request, base_url: None, key: None }
}

use pb::ChatRole::{Assistant, Tool, User};

const SCRIPT: &str = r#"[{"think":"hm"},{"text":"wait "},{"tool":"a","args":{"x":1}},{"tool":"b"},
    {"usage":{"input":3,"output":4}},{"delay_ms":1},{"text":"done"},{"finish":"length"}]"#;

#[tokio::test]
async fn each_round_plays_its_segment() {
    let first = call(&[(User, SCRIPT, &[])]);
    let pieces: Vec<_> = EchoScript.stream(first.clone()).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(pieces[..2], [Piece::Thinking("hm".into()), Piece::Text("wait ".into())]);
    let answer = EchoScript.generate(first).await.unwrap();
    let calls: Vec<_> =
        answer.tool_calls.iter().map(|call| (&call.name[..], &call.arguments_json[..])).collect();
    assert_eq!(calls, [("a", &b"{\"x\":1}"[..]), ("b", b"{}")]);
    assert_eq!(answer.finish_reason(), pb::FinishReason::ToolCalls);
    assert_eq!(answer.usage.unwrap().output_tokens, 4);
    let second =
        call(&[(User, SCRIPT, &[]), (Assistant, "", &["a", "b"]), (Tool, "1", &[]), (Tool, "2", &[])]);
    let answer = EchoScript.generate(second).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.finish_reason()), ("done", pb::FinishReason::Length));
    let third = call(&[(User, SCRIPT, &[]), (Assistant, "", &["a"]), (Assistant, "", &["a"])]);
    let error = EchoScript.generate(third).await.unwrap_err().to_string();
    assert!(error.contains("has 2 segments") && error.contains("round 3"), "{error}");
}

#[tokio::test]
async fn failures_are_those_of_providers() {
    for (code, kind, status) in
        [("RATE_LIMIT", "refused", 429), ("OVERLOADED", "refused", 529), ("STREAM_BROKEN", "broken", 0)]
    {
        let script = format!(r#"[{{"text":"a"}},{{"error":{{"code":"{code}","retry_after_ms":50}}}}]"#);
        let mut pieces: Vec<_> =
            EchoScript.stream(call(&[(User, &script, &[])])).await.unwrap().collect().await;
        let error = pieces.pop().unwrap().unwrap_err();
        assert_eq!((pieces.len(), error.kind()), (1, kind));
        if let InferenceError::Refused(refusal) = error {
            assert_eq!((refusal.status, refusal.retry_after), (status, Some(Duration::from_millis(50))));
        }
    }
}

#[tokio::test]
async fn what_is_no_script_is_said_back_and_bad_steps_are_named() {
    let answer = EchoScript.generate(call(&[(User, "hi you", &[])])).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.finish_reason()), ("hi you", pb::FinishReason::Stop));
    let error = EchoScript.generate(call(&[(User, r#"[{"txt":"a"}]"#, &[])])).await.unwrap_err().to_string();
    assert!(error.contains(r#"{"txt":"a"} is no step"#), "{error}");
    let lists =
        call(&[(User, r#"[[{"text":"a"}],[{"text":"b"}]]"#, &[]), (Assistant, "", &["t"]), (Tool, "", &[])]);
    assert_eq!(EchoScript.generate(lists).await.unwrap().text, "b");
}
