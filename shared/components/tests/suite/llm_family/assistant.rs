//! LLMAssistant.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sre_proto::llm::v1::ChatRole;

use super::{run, suite};
use crate::context::Suite;

const INPUTS: [(&str, &str); 3] = [("UserInput", "Any"), ("UserId", "Any"), ("ConversationId", "Any")];

async fn say(suite: &Arc<Suite>, settings: Json, text: &str, user: &str, conversation: &str) -> Json {
    let body = json!({"UserInput": text, "UserId": user, "ConversationId": conversation});
    run(suite, "LLMAssistant", settings, &INPUTS, &[("Response", true)], body).await
}

/// What the model was shown last.
fn shown(suite: &Suite) -> Vec<(ChatRole, String)> {
    let request = suite.requests.lock().pop().unwrap();
    request.messages.iter().map(|message| (message.role(), message.text.clone())).collect()
}

fn texts(suite: &Suite) -> Vec<String> {
    shown(suite).into_iter().map(|(_, text)| text).collect()
}

fn behaving(behavior: &str) -> Json {
    json!({"model": "mock-gpt", "behavior": behavior})
}

#[tokio::test]
async fn turns_of_a_conversation_follow_each_other() {
    let suite = suite(&[]);
    assert_eq!(say(&suite, behaving("be kind"), "hi", "u", "c").await, json!({"Response": "MOCK:hi"}));
    say(&suite, behaving("be kind"), "again", "u", "c").await;
    use ChatRole::{Assistant, System, User};
    let expected = [(System, "be kind"), (User, "hi"), (Assistant, "MOCK:hi"), (User, "again")];
    assert_eq!(shown(&suite), expected.map(|(role, text)| (role, text.to_owned())));
}

#[tokio::test]
async fn d04_an_answer_in_json_does_not_break_the_next_turn() {
    let suite = suite(&[r#"{"a": 1}"#, "fine"]);
    let settings = json!({"model": "scripted", "behavior": ""});
    let outputs = [("Response", true), ("a", false)];
    let body = |text: &str| json!({"UserInput": text, "ConversationId": "c"});
    let first = run(&suite, "LLMAssistant", settings.clone(), &INPUTS, &outputs, body("one")).await;
    assert_eq!(first, json!({"Response": {"a": 1}}));
    let second = run(&suite, "LLMAssistant", settings, &INPUTS, &[("Response", true)], body("two")).await;
    assert_eq!(second, json!({"Response": "fine"}));
    assert_eq!(texts(&suite), ["one", r#"{"a": 1}"#, "two"]);
}

#[tokio::test]
async fn d04_new_behaviour_counts_in_a_conversation_that_began_earlier() {
    let suite = suite(&[]);
    say(&suite, behaving("be kind"), "hi", "u", "c").await;
    say(&suite, behaving("be short"), "again", "u", "c").await;
    assert_eq!(texts(&suite), ["be short", "hi", "MOCK:hi", "again"]);
}

#[tokio::test]
async fn d04_what_has_no_room_is_not_shown_and_not_forgotten() {
    // Half of the model's 16,384 tokens, where a byte is one.
    let suite = suite(&[]);
    let long = "x".repeat(5_000);
    for text in [long.as_str(), long.as_str(), "short"] {
        say(&suite, behaving(""), text, "u", "c").await;
    }
    assert_eq!(texts(&suite), ["short"], "an answer without its question is not shown");
    let documents = suite.scene.documents.lock();
    let (document, _, _) = documents.values().next().unwrap();
    let kept: Json = serde_json::from_slice(document).unwrap();
    assert_eq!(kept.as_array().unwrap().len(), 6, "all three turns are kept");
}

#[tokio::test]
async fn d04_people_and_conversations_are_kept_apart() {
    let suite = suite(&[]);
    say(&suite, behaving(""), "one", "a", "bc").await;
    say(&suite, behaving(""), "two", "ab", "c").await;
    assert_eq!(texts(&suite), ["two"]);
    say(&suite, behaving(""), "three", "", "c").await;
    assert_eq!(texts(&suite), ["three"], "no id is none, not `undefined`");
}

#[tokio::test]
async fn without_ids_nothing_is_remembered() {
    let suite = suite(&[]);
    say(&suite, behaving(""), "one", "", "").await;
    say(&suite, behaving(""), "two", "", "").await;
    assert_eq!(texts(&suite), ["two"]);
    assert!(suite.scene.documents.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_conversation_ends_with_its_time() {
    let suite = suite(&[]);
    let settings = json!({"model": "mock-gpt", "behavior": "", "ttl": "60"});
    say(&suite, settings.clone(), "one", "u", "c").await;
    tokio::time::advance(Duration::from_secs(59)).await;
    say(&suite, settings.clone(), "two", "u", "c").await;
    assert_eq!(texts(&suite), ["one", "MOCK:one", "two"]);
    tokio::time::advance(Duration::from_secs(61)).await;
    say(&suite, settings, "three", "u", "c").await;
    assert_eq!(texts(&suite), ["three"]);
    let wrong = json!({"model": "mock-gpt", "behavior": "", "ttl": "soon"});
    let result = say(&suite, wrong, "x", "u", "c").await;
    assert!(result["_error"].as_str().unwrap().contains("number of seconds"), "{result}");
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_not_remembered() {
    let suite = suite(&[]);
    let result = say(&suite, behaving(""), "CUT", "u", "c").await;
    assert!(result["_error"].as_str().unwrap().contains("output token limit"), "{result}");
    assert!(suite.scene.documents.lock().is_empty());
}
