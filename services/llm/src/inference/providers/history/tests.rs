//! Histories as conversations, aborts and switches of providers leave them.

use proptest::prelude::*;
use sre_proto::llm::v1 as pb;

use super::*;
use crate::models::{Mode, Table};

fn model() -> Resolved {
    Resolved::clone(&Table::new(Default::default(), Mode::Merge).resolve("gpt-4o").unwrap())
}

fn say(role: pb::ChatRole, text: &str) -> pb::ChatMessage {
    pb::ChatMessage { role: role as i32, text: text.to_owned(), ..Default::default() }
}

fn user(text: &str) -> pb::ChatMessage {
    say(pb::ChatRole::User, text)
}

fn calling(ids: &[&str]) -> pb::ChatMessage {
    let call =
        |id: &&str| pb::ToolCall { id: (*id).to_owned(), name: format!("t_{id}"), ..Default::default() };
    pb::ChatMessage { tool_calls: ids.iter().map(call).collect(), ..say(pb::ChatRole::Assistant, "") }
}

fn result(id: &str, text: &str) -> pb::ChatMessage {
    pb::ChatMessage { tool_call_id: id.to_owned(), ..say(pb::ChatRole::Tool, text) }
}

fn outline(messages: &[pb::ChatMessage]) -> Vec<String> {
    let line = |message: &pb::ChatMessage| {
        let role = &message.role().as_str_name()["CHAT_ROLE_".len()..][..1];
        let calls: String = message.tool_calls.iter().map(|call| format!("!{}", call.id)).collect();
        let id = if message.tool_call_id.is_empty() { "" } else { &message.tool_call_id };
        format!("{role}{id}{calls}:{}", texts(message).collect::<Vec<_>>().join("+"))
    };
    messages.iter().map(line).collect()
}

fn tidy(messages: &[pb::ChatMessage]) -> Vec<String> {
    outline(&consistent(messages, &model()))
}

#[test]
fn d1_neighbours_of_one_role_are_merged_and_none_is_dropped() {
    let said = [user("a"), user("b"), say(pb::ChatRole::Assistant, "c"), user("d"), user("e")];
    assert_eq!(tidy(&said), ["U:a+b", "A:c", "U:d+e"]);
    let split =
        [user("a"), say(pb::ChatRole::System, "s"), user(""), user("b"), say(pb::ChatRole::System, "t")];
    assert_eq!(tidy(&split), ["S:s+t", "U:a+b"]);
}

#[test]
fn d4_every_call_has_exactly_one_result() {
    let lost = format!(":{}", "The call ended without a result.");
    let said = [
        result("0", "of nothing"),
        user("a"),
        calling(&["1", "2"]),
        user("b"),
        result("2", "two"),
        result("2", "again"),
        say(pb::ChatRole::Assistant, "c"),
        calling(&["3"]),
    ];
    let expected = ["U:a", "A!1!2:", &format!("T1{lost}"), "T2:two", "U:b", "A!3:c", &format!("T3{lost}")]
        .map(str::to_owned);
    assert_eq!(tidy(&said), expected);
    let failed = consistent(&said, &model());
    assert!(failed[2].tool_failed && failed[2].tool_name == "t_1" && !failed[3].tool_failed);
}

#[test]
fn ids_that_are_missing_or_repeated_become_ids() {
    let said = [user("a"), calling(&["x"]), result("x", "1"), calling(&["x"]), result("x", "2")];
    assert_eq!(tidy(&said), ["U:a", "A!x:", "Tx:1", "A!x-2:", "Tx-2:2"]);
    let mut nameless = [user("a"), calling(&["", ""]), result("", "1"), result("", "2")];
    nameless[3].tool_name = "t_".to_owned();
    assert_eq!(tidy(&nameless), ["U:a", "A!call-1-0!call-1-1:", "Tcall-1-0:1", "Tcall-1-1:2"]);
    assert_eq!(wire_id("toolu_1-x"), "toolu_1-x");
    assert!(wire_id("a.b").starts_with("call_") && wire_id("a.b") != wire_id("a:b") && wire_id("").len() > 5);
}

#[test]
fn d44_parts_are_kept_and_what_others_signed_is_not() {
    let model = model();
    let mut other = model.clone();
    other.model_id = "another".to_owned();
    let thinking = |signature: String| pb::Part {
        part: Some(Kind::Thinking(pb::Thinking { text: "t".into(), signature, ..Default::default() })),
    };
    let item = |model_id: &str| pb::Part {
        part: Some(Kind::ProviderItem(pb::ProviderItem {
            provider: "OpenAI".into(),
            model_id: model_id.into(),
            ..Default::default()
        })),
    };
    let image = pb::Part { part: Some(Kind::Media(pb::Media::default())) };
    let mut said = calling(&["1", "2"]);
    said.tool_calls[0].signature = seal(&model, "c2ln").into();
    said.tool_calls[1].signature = seal(&other, "c2ln").into();
    said.parts =
        vec![thinking(seal(&model, "YQ==")), thinking(seal(&other, "YQ==")), item("gpt-4o"), item("another")];
    let mut asked = user("a");
    asked.parts = vec![image.clone()];
    let tidy = consistent(&[asked, user("b"), said.clone()], &model);
    assert_eq!(tidy[0].parts[0], image);
    assert_eq!(tidy[1].parts, [said.parts[0].clone(), said.parts[2].clone()]);
    assert_eq!(tidy[1].tool_calls[0].signature, said.tool_calls[0].signature);
    assert!(tidy[1].tool_calls[1].signature.is_empty(), "another model's signature is refused by this one");
    assert_eq!(unseal(&model, &seal(&model, "YQ==")), Some("YQ=="));
    assert_eq!(unseal(&model, "YQ=="), None);
}

#[test]
fn a_person_speaks_first_and_last_where_a_provider_wants_it() {
    let said = [say(pb::ChatRole::System, "s"), say(pb::ChatRole::Assistant, "c")];
    let (system, turns) = of_a_person(&said, &model());
    assert_eq!(
        (system.as_str(), outline(&turns)),
        ("s", vec!["U:Continue.".into(), "A:c".into(), "U:Continue.".into()])
    );
    assert_eq!(outline(&of_a_person(&[], &model()).1), ["U:Continue."]);
}

/// Any message: ids are few, so that they meet.
fn message() -> impl Strategy<Value = pb::ChatMessage> {
    let id = || proptest::sample::select(vec!["", "1", "2", "3", "1-2"]);
    let calls = proptest::collection::vec(id(), 0..3);
    (0..5i32, "[a-c ]{0,3}", calls, id(), proptest::collection::vec("[x-z]{0,2}", 0..3)).prop_map(
        |(role, text, calls, tool_call_id, parts)| pb::ChatMessage {
            role,
            text,
            tool_calls: calling(&calls).tool_calls,
            tool_call_id: tool_call_id.to_owned(),
            parts: parts.into_iter().map(|text| pb::Part { part: Some(Kind::Text(text)) }).collect(),
            ..Default::default()
        },
    )
}

fn user_texts(messages: &[pb::ChatMessage]) -> Vec<String> {
    let mut all: Vec<String> = messages
        .iter()
        .filter(|message| is_user(message))
        .flat_map(texts)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect();
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_text_of_a_person_is_lost_and_twice_is_once(
        messages in proptest::collection::vec(message(), 0..12)
    ) {
        let model = model();
        let once = consistent(&messages, &model);
        prop_assert_eq!(user_texts(&once), user_texts(&messages));
        prop_assert_eq!(&consistent(&once, &model), &once);
        for pair in once.windows(2) {
            let is_repeat = pair[0].role() == pair[1].role() && pair[0].role() != pb::ChatRole::Tool;
            prop_assert!(!is_repeat, "{:?}", outline(&once));
        }
        let calls: Vec<_> = once.iter().flat_map(|message| &message.tool_calls).map(|call| &call.id).collect();
        let results: Vec<_> = once.iter().map(|message| &message.tool_call_id).filter(|id| !id.is_empty()).collect();
        prop_assert_eq!(&calls, &results);
        let mut unique = calls.clone();
        unique.sort();
        unique.dedup();
        prop_assert_eq!(unique.len(), calls.len());
    }
}
