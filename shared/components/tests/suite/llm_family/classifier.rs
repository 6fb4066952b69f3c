//! Classifier.

use serde_json::{Value as Json, json};
use sre_proto::llm::v1::ResponseFormat;

use super::{run, suite};

const CATEGORIES: [(&str, bool); 3] = [("happy", true), ("sad", true), ("_error", true)];

async fn classified(answer: &str, outputs: &[(&str, bool)]) -> (Json, String) {
    let suite = suite(&[answer]);
    let settings = json!({"model": "scripted", "prompt": "Look at {{Input}}"});
    let result = run(
        &suite,
        "Classifier",
        settings,
        &[("Input", "Any")],
        outputs,
        json!({"Input": "{{greet}} \"x\""}),
    )
    .await;
    let request = suite.requests.lock().pop();
    (result, request.map(|request| request.messages[0].text.clone()).unwrap_or_default())
}

#[tokio::test]
async fn the_categories_that_apply_come_out() {
    let (result, _) = classified(r#"{"happy":true,"sad":"","z":"false","error":"boo"}"#, &CATEGORIES).await;
    assert_eq!(result, json!({"happy": true, "z": "false", "_error": "boo"}));
}

#[tokio::test]
async fn d03_an_answer_in_words_is_a_clear_error() {
    for answer in ["they are happy", "[true]", ""] {
        let (result, _) = classified(answer, &CATEGORIES).await;
        assert_eq!(result, json!({"_error": "Classifier: model answer is not JSON"}), "{answer}");
    }
}

#[tokio::test]
async fn d03_errors_are_no_category_and_the_model_is_held_to_the_others() {
    let suite = suite(&["{}"]);
    let settings = json!({"model": "scripted", "prompt": "Look"});
    run(&suite, "Classifier", settings, &[("Input", "Any")], &CATEGORIES, json!({"Input": "x"})).await;
    let request = suite.requests.lock().pop().unwrap();
    assert_eq!(request.response_format(), ResponseFormat::JsonSchema);
    let schema: Json = serde_json::from_slice(&request.json_schema.unwrap().schema_json).unwrap();
    assert_eq!(schema["required"], json!(["happy", "sad"]));
    assert_eq!(schema["properties"]["sad"]["description"], "about sad");
    let text = &request.messages[0].text;
    assert!(text.contains("\"happy\": \"about happy\"") && !text.contains("_error"), "{text}");
}

#[tokio::test]
async fn what_comes_in_is_data() {
    let (_, text) = classified("{}", &CATEGORIES).await;
    assert!(text.contains(r#""Input": "{{greet}} \"x\"""#), "{text}");
}

#[tokio::test]
async fn without_categories_there_is_nothing_to_do() {
    let (result, _) = classified("{}", &[("_error", true)]).await;
    assert_eq!(result, json!({"_error": "Missing information, Cannot run classifier"}));
}
