//! One request and one transcript for each service and scenario, written down below `tests/golden`.

use std::fmt::Write as _;

use sre_fake_provider::{FakeProvider, named};
use tokio::task::JoinSet;

use super::*;
use crate::inference::reliability::Failure;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transcripts_are_as_written_down() {
    let mut runs = JoinSet::new();
    for column in COLUMNS {
        runs.spawn(
            async move { (column.name, transcript(column, provider(), impatient(), |_, _| {}).await) },
        );
    }
    for (name, text) in runs.join_all().await {
        compare(&format!("{name}.txt"), &text);
    }
}

/// All scenarios; the hasty one gives up soon where nothing more comes.
pub(in super::super) async fn transcript(
    column: Column,
    patient: &dyn Provider,
    hasty: &dyn Provider,
    keyed: fn(&mut Call, &FakeProvider),
) -> String {
    let server = FakeProvider::start().await.unwrap();
    let mut text = String::new();
    for (name, scenario) in named::all() {
        let mut call = column.call(Some(&server));
        keyed(&mut call, &server);
        call.request.tools = vec![tool("get_weather"), tool("get_time"), tool("ping")];
        server.state().queue(scenario.clone());
        if name == "error/stall_at_once" {
            call.request.first_token_timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        }
        let provider = if name == "error/stall" { hasty } else { patient };
        let (pieces, end) = streamed(provider, &call).await;
        if text.is_empty() {
            let sent = server.state().requests().pop().unwrap();
            let _ = writeln!(text, "{} {}\n{:#}", sent.method, sent.path, sent.body);
        }
        let _ = writeln!(text, "\n== {name}");
        pieces.iter().for_each(|piece| write_piece(&mut text, piece));
        match &end {
            Ok(answer) => {
                agree(&name, &pieces, answer);
                write_answer(&mut text, answer);
                server.state().queue(scenario);
                whole(provider, &name, call, answer).await;
            }
            Err(error) => {
                let _ = writeln!(text, "{}", fault(error));
            }
        }
        server.state().clear();
    }
    // Ids that are made here.
    normal(&text)
}

/// The answer is what its pieces were.
fn agree(name: &str, pieces: &[Piece], answer: &pb::GenerateResponse) {
    let (mut said, mut thought, mut calls) =
        (String::new(), String::new(), Vec::<(String, String, String)>::new());
    for piece in pieces {
        match piece {
            Piece::Text(text) => said += text,
            Piece::Thinking(text) => thought += text,
            Piece::ToolCall(delta) => {
                let place = usize::try_from(delta.index).unwrap();
                if place == calls.len() {
                    calls.push((delta.id.clone(), delta.name.clone(), String::new()));
                }
                calls[place].2 += &delta.arguments_fragment;
            }
            Piece::Finished(_) | Piece::Fallback(_) => panic!("{name}"),
        }
    }
    assert_eq!((&said, &thought), (&answer.text, &answer.thinking), "{name}");
    let whole = answer.tool_calls.iter().map(|call| {
        let arguments = String::from_utf8(call.arguments_json.to_vec()).unwrap();
        (call.id.clone(), call.name.clone(), arguments)
    });
    for (made, call) in whole.zip(&calls) {
        let same = made == *call || call.2.is_empty() && made.2 == "{}";
        assert!(same, "{name}: {made:?} {call:?}");
    }
    assert_eq!(answer.tool_calls.len(), calls.len(), "{name}");
}

/// An answer in one piece is the same.
async fn whole(provider: &dyn Provider, name: &str, call: Call, streamed: &pb::GenerateResponse) {
    let skipped = name.ends_with("corrupt") || name == "error/no_marker" || name == "tools/invalid_arguments";
    if skipped {
        return;
    }
    let answer = provider.generate(call).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let plain = |answer: &pb::GenerateResponse| {
        let mut answer = answer.clone();
        answer.response_id.clear();
        // Ids are the server's own, and differ by request.
        answer.parts.clear();
        answer.tool_calls.iter_mut().for_each(|call| call.id.clear());
        answer
    };
    assert_eq!(plain(&answer), plain(streamed), "{name}: whole and streamed");
}

fn write_piece(text: &mut String, piece: &Piece) {
    let _ = match piece {
        Piece::Text(said) => writeln!(text, "text {said:?}"),
        Piece::Thinking(said) => writeln!(text, "think {said:?}"),
        Piece::ToolCall(delta) => {
            writeln!(
                text,
                "call {} {:?} {:?} {:?}",
                delta.index, delta.id, delta.name, delta.arguments_fragment
            )
        }
        Piece::Finished(_) | Piece::Fallback(_) => Ok(()),
    };
}

fn write_answer(text: &mut String, answer: &pb::GenerateResponse) {
    let reason = answer.finish_reason().as_str_name().trim_start_matches("FINISH_REASON_").to_lowercase();
    let _ = writeln!(text, "end {reason} {:?} id {:?}", answer.finish_detail, answer.response_id);
    if let Some(used) = answer.usage {
        let _ = writeln!(
            text,
            "used {} in, {} of them cached, {} out, {} of them thought",
            used.input_tokens, used.cached_input_tokens, used.output_tokens, used.reasoning_tokens
        );
    }
    for call in &answer.tool_calls {
        let _ = writeln!(
            text,
            "tool {:?} {:?} {}",
            call.id,
            call.name,
            String::from_utf8_lossy(&call.arguments_json)
        );
    }
    for cited in &answer.citations {
        let _ = writeln!(text, "cited {} {:?} {}..{}", cited.url, cited.title, cited.start, cited.end);
    }
    for part in &answer.parts {
        let _ = match &part.part {
            Some(pb::part::Part::ProviderItem(item)) => {
                writeln!(text, "keeps {}", String::from_utf8_lossy(&item.json))
            }
            other => writeln!(text, "keeps {other:?}"),
        };
    }
}

/// Words of the machine's own are left out.
fn fault(error: &InferenceError) -> String {
    match error {
        InferenceError::Refused(refusal) => format!(
            "refused {} {:?} {:?} after {:?}: {}",
            refusal.status,
            refusal.code,
            refusal.message,
            refusal.retry_after,
            Failure::of(error).as_str()
        ),
        other => Failure::of(other).as_str().to_owned(),
    }
}

/// Ids that this service makes differ each time.
fn normal(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some(place) = rest.find("call_") {
            let id = &rest[place + 5..];
            let hex = id.chars().take_while(char::is_ascii_hexdigit).count();
            out += &rest[..place + 5];
            rest = if hex == 16 { &id[16..] } else { id };
        }
        out += rest;
        out.push('\n');
    }
    out
}
