//! StructuredOutput.

use serde_json::{Value as Json, json};
use sre_proto::llm::v1::{ChatRole, ResponseFormat};

use super::{run, suite};
use crate::context::Suite;
use crate::driver::{lone, result_of};

fn settings(more: Json) -> Json {
    let mut settings = json!({
        "model": "scripted", "prompt": "who is {{Input}}?",
        "schema": {"type": "object", "required": ["name", "age"], "additionalProperties": false,
            "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}}},
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

async fn asked(suite: &std::sync::Arc<Suite>, more: Json) -> Json {
    let outputs = [("Output", true), ("name", false), ("age", false)];
    run(suite, "StructuredOutput", settings(more), &[("Input", "Any")], &outputs, json!({"Input": "Ada"}))
        .await
}

#[tokio::test]
async fn an_answer_that_fits_comes_out_and_the_model_is_held_to_the_schema() {
    let suite = suite(&["```json\n{\"name\": \"Ada\", \"age\": 36}\n```"]);
    assert_eq!(asked(&suite, json!({})).await, json!({"Output": {"name": "Ada", "age": 36}}));
    let request = suite.requests.lock().pop().unwrap();
    assert_eq!(request.response_format(), ResponseFormat::JsonSchema);
    let schema = request.json_schema.unwrap();
    assert!(schema.strict);
    assert_eq!(
        serde_json::from_slice::<Json>(&schema.schema_json).unwrap()["required"],
        json!(["name", "age"])
    );
    assert_eq!(request.messages[0].text, "who is Ada?");
}

#[tokio::test]
async fn members_go_to_the_outputs_of_their_names() {
    let suite = suite(&[r#"{"name": "Ada", "age": 36}"#]);
    let outputs = json!([{"name": "Output", "default": true}, {"name": "age"}]);
    let mut document =
        lone("StructuredOutput", settings(json!({})), json!([{"name": "Input", "type": "Any"}]), outputs);
    document["components"].as_array_mut().unwrap().push(json!({
        "id": "O", "name": "APIOutput", "displayName": "", "title": "", "data": {"format": "minimal"},
        "inputs": [{"name": "years", "type": "Any"}], "outputs": [],
    }));
    document["connections"]
        .as_array_mut()
        .unwrap()
        .push(json!({"sourceId": "C", "sourceIndex": "age", "targetId": "O", "targetIndex": "years"}));
    let agent = crate::driver::Agent::new(&document, suite.clone());
    let request = sre_engine::RequestData::post("/api/e", json!({"Input": "Ada"}).into());
    let answer = agent.call(request).await;
    assert!(answer.to_string().contains("\"years\":36"), "{answer}");
}

#[tokio::test]
async fn what_does_not_fit_is_sent_back() {
    let suite = suite(&["I think 36", r#"{"name": "Ada", "age": -1}"#, r#"{"name": "Ada", "age": 36}"#]);
    assert_eq!(asked(&suite, json!({})).await, json!({"Output": {"name": "Ada", "age": 36}}));
    let requests = suite.requests.lock();
    assert_eq!(requests.len(), 3);
    let last = &requests[2];
    let roles: Vec<ChatRole> = last.messages.iter().map(|message| message.role()).collect();
    use ChatRole::{Assistant, User};
    assert_eq!(roles, [User, Assistant, User, Assistant, User]);
    assert!(last.messages[2].text.contains("not a JSON object"));
    assert!(last.messages[4].text.contains("(at /age)"), "{}", last.messages[4].text);
    let keys: std::collections::HashSet<_> =
        requests.iter().map(|request| &request.idempotency_key).collect();
    assert_eq!(keys.len(), 3, "each is a call of its own");
}

#[tokio::test]
async fn repairs_have_an_end() {
    for (repairs, calls) in [(json!("0"), 1), (json!(null), 3), (json!(5), 6)] {
        let suite = suite(&["no"; 10]);
        let more = if repairs.is_null() { json!({}) } else { json!({"maxRepairs": repairs}) };
        let result = asked(&suite, more).await;
        let error = result["_error"].as_str().unwrap();
        assert!(error.contains(&format!("after {calls} attempt(s)")), "{error}");
        assert_eq!(suite.requests.lock().len(), calls);
    }
    let result = asked(&suite(&[]), json!({"maxRepairs": 6})).await;
    assert!(result["_error"].as_str().unwrap().starts_with("Schema Validation error: "));
}

#[tokio::test]
async fn mistakes_of_the_author_are_told_before_any_model_is_asked() {
    let suite = suite(&["{}"]);
    for (more, words) in [
        (json!({"schema": "{"}), "is not JSON"),
        (json!({"schema": {"type": "array"}}), "must describe an object"),
        (
            json!({"schema": {"type": "object", "properties": {"name": {}}, "additionalProperties": false}}),
            "\"age\"",
        ),
    ] {
        let result = asked(&suite, more).await;
        let error = result["_error"].as_str().unwrap();
        assert!(error.starts_with("Schema Validation error: ") && error.contains(words), "{error}");
    }
    assert!(suite.requests.lock().is_empty());
}

#[tokio::test]
async fn failures_and_the_end_of_the_run_come_back() {
    let failed = asked(&suite(&["!503 overloaded"]), json!({})).await;
    assert_eq!(failed, json!({"_error": "503 overloaded"}));
    let cut = asked(&suite(&["{}"]), json!({"prompt": "CUT"})).await;
    assert!(cut["_error"].as_str().unwrap().contains("output token limit"));
    let killed = suite(&["{}"]);
    killed.cancelled.cancel();
    assert_eq!(asked(&killed, json!({})).await, json!({"_error": "Agent killed"}));
}

#[tokio::test]
async fn echo_gives_the_object_that_the_prompt_is() {
    let settings = settings(json!({"model": "Echo", "prompt": "{\"name\": \"{{Input}}\", \"age\": 36}"}));
    let document = lone(
        "StructuredOutput",
        settings,
        json!([{"name": "Input", "type": "Any"}]),
        json!([{"name": "Output", "default": true}]),
    );
    let result = result_of(&suite(&[]), &document, json!({"Input": "Ada"})).await;
    assert_eq!(result, json!({"Output": {"name": "Ada", "age": 36}}));
}
