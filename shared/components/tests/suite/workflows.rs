//! Components one by one, behind an endpoint.

use std::sync::Arc;
use std::time::Duration;

use rsa::pkcs8::EncodePrivateKey as _;
use serde_json::{Value as Json, json};

use crate::context::Suite;
use crate::driver::{lone, result_of};

fn suite() -> Arc<Suite> {
    Suite::new(&[])
}

fn inputs(names: &[&str]) -> Json {
    names.iter().map(|name| json!({"name": name, "type": "Any"})).collect()
}

async fn run(suite: &Arc<Suite>, type_name: &str, settings: Json, body: Json) -> Json {
    let names: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let outputs = json!([{"name": "Reply", "default": true}]);
    result_of(suite, &lone(type_name, settings, inputs(&names), outputs), body).await
}

#[tokio::test]
async fn hashes_objects_whatever_the_order_of_their_members() {
    let settings = json!({"algorithm": "sha256", "encoding": "hex"});
    let one =
        run(&suite(), "FHash", settings.clone(), json!({"Data": {"b": 1, "a": {"d": 2, "c": 3}}})).await;
    let other = run(&suite(), "FHash", settings, json!({"Data": {"a": {"c": 3, "d": 2}, "b": 1}})).await;
    assert_eq!(one, other);
    assert_eq!(one["Hash"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn unknown_algorithms_are_refused_with_the_known_ones() {
    for (type_name, settings) in [
        ("FHash", json!({"algorithm": "nope"})),
        ("FHash", json!({"algorithm": "md5", "encoding": "nope"})),
        ("FEncDec", json!({"encoding": "nope"})),
        ("FSign", json!({"key": "k", "hashType": "nope"})),
    ] {
        let result = run(&suite(), type_name, settings.clone(), json!({"Data": "x"})).await;
        let error = result["_error"].as_str().unwrap();
        assert!(
            error.starts_with("Schema Validation error: ") && error.contains("must be one of ["),
            "{settings}"
        );
    }
}

#[tokio::test]
async fn encodes_lists_of_numbers_as_bytes() {
    let result =
        run(&suite(), "FEncDec", json!({"encoding": "hex"}), json!({"Data": [65, 66, 256, -1]})).await;
    assert_eq!(result, json!({"Output": "414200ff"}));
}

#[tokio::test]
async fn a_key_that_comes_in_is_data() {
    // The setting is the author's: it may name the vault. The input is anybody's.
    let setting = json!({"key": "{{KEY(my-key)}}", "hashType": "sha256"});
    let by_setting = run(&suite(), "FSign", setting.clone(), json!({"Data": "payload"})).await;
    let by_input =
        run(&suite(), "FSign", setting, json!({"Data": "payload", "Key": "{{KEY(my-key)}}"})).await;
    assert_eq!(by_setting["Signature"], "03cf85e8859b592d0d7ac793d8a7b71728ef0a34755839e13a6bb07f6b4e170a");
    assert!(by_input["Signature"].is_string());
    assert_ne!(by_input, by_setting);
}

#[tokio::test]
async fn a_missing_vault_key_fails_the_component_that_names_it() {
    let result = run(&suite(), "FSign", json!({"key": "{{KEY(nope)}}"}), json!({"Data": "x"})).await;
    assert_eq!(result, json!({"_error": "Vault key 'nope' not found"}));
}

#[tokio::test]
async fn signs_with_rsa() {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    let pem = key.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).unwrap();
    for padding in ["RSA_PKCS1_PADDING", "RSA_PKCS1_PSS_PADDING"] {
        let settings =
            json!({"signMethod": "RSA", "hashType": "sha256", "encoding": "base64", "RSA_padding": padding});
        let result = run(&suite(), "FSign", settings, json!({"Data": "x", "Key": pem.as_str()})).await;
        assert_eq!(result["Signature"].as_str().unwrap().len(), 344, "{padding}: {result}");
    }
    let settings = json!({"signMethod": "RSA", "hashType": "sha256", "RSA_padding": "RSA_NO_PADDING"});
    let result = run(&suite(), "FSign", settings, json!({"Data": "x", "Key": pem.as_str()})).await;
    assert!(result["_error"].as_str().unwrap().starts_with("RSA_NO_PADDING"));
}

#[tokio::test(start_paused = true)]
async fn sleeps_as_long_as_it_says() {
    for (delay, slept) in
        [(json!("3"), Some(3)), (json!(0), Some(1)), (json!("0"), None), (json!("abc"), None)]
    {
        let suite = suite();
        let result = run(&suite, "FSleep", json!({"delay": delay}), json!({"Input": {"a": 1}})).await;
        assert_eq!(result, json!({"Output": {"a": 1}}));
        assert_eq!(suite.slept.lock().first().copied(), slept.map(Duration::from_secs), "{delay}");
    }
    let result = run(&suite(), "FSleep", json!({"delay": "99999999"}), json!({"Input": 1})).await;
    assert!(result["_error"].as_str().unwrap().contains("longer than"));
}

#[tokio::test]
async fn timestamps_are_what_their_format_says() {
    let unix = run(&suite(), "FTimestamp", json!({}), json!({"Trigger": 1})).await;
    assert!(unix["Timestamp"].as_u64().unwrap() > 1_700_000_000_000);
    let iso = run(&suite(), "FTimestamp", json!({"format": "iso"}), json!({"Trigger": 1})).await;
    assert!(iso["Timestamp"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn the_parameters_of_a_record_reach_the_model() {
    let settings = json!({
        "model": "mock-gpt", "prompt": "hi {{x}}", "temperature": "0.5", "maxTokens": "77", "stopSequences": "a, b",
        "topP": "1", "topK": "5", "frequencyPenalty": "0", "responseFormat": "text", "useSystemPrompt": true,
    });
    for type_name in ["GenAILLM", "PromptGenerator", "LLMPrompt"] {
        let suite = suite();
        let result = run(&suite, type_name, settings.clone(), json!({"x": "{{greet}}"})).await;
        assert_eq!(result, json!({"Reply": "MOCK:hi {{greet}}"}), "{type_name}");
        let request = suite.requests.lock().pop().unwrap();
        assert_eq!(request.temperature, Some(0.5));
        assert_eq!(request.max_tokens, Some(77));
        assert_eq!(request.stop_sequences, ["a", "b"]);
        assert_eq!((request.top_p, request.top_k, request.frequency_penalty), (None, Some(5), None));
        assert_eq!(request.idempotency_key, "key");
        let texts: Vec<&str> = request.messages.iter().map(|message| message.text.as_str()).collect();
        let expected: &[&str] =
            if type_name == "GenAILLM" { &["be kind", "hi {{greet}}"] } else { &["hi {{greet}}"] };
        assert_eq!(texts, expected, "{type_name}");
    }
}

#[tokio::test]
async fn watchers_see_the_words_only_where_the_record_says_so() {
    for passthrough in [true, false] {
        let suite = suite();
        let settings = json!({"model": "mock-gpt", "prompt": "{{x}}", "passthrough": passthrough});
        run(&suite, "GenAILLM", settings, json!({"x": "one two"})).await;
        assert_eq!(suite.content.lock().as_str(), if passthrough { "MOCK:one two" } else { "" });
    }
}

#[tokio::test]
async fn outputs_that_were_added_ask_for_json() {
    let suite = suite();
    let outputs = json!([
        {"name": "Reply", "default": true}, {"name": "title", "description": "the title"}, {"name": "_error"},
    ]);
    let settings = json!({"model": "mock-gpt", "prompt": "{{x}}"});
    let document = lone("GenAILLM", settings, inputs(&["x"]), outputs);
    result_of(&suite, &document, json!({"x": "hi"})).await;
    let request = suite.requests.lock().pop().unwrap();
    assert_eq!(request.response_format(), sre_proto::llm::v1::ResponseFormat::Json);
    assert!(request.messages[0].text.contains(r#"{"title":"<value> (the title)"}"#));
}

#[tokio::test]
async fn an_answer_that_was_cut_off_says_so() {
    let settings = json!({"model": "mock-gpt", "prompt": "{{x}}"});
    let result = run(&suite(), "GenAILLM", settings, json!({"x": "CUT"})).await;
    assert_eq!(result["Reply"], "MOCK:CUT");
    assert!(result["_error"].as_str().unwrap().contains("output token limit"));
}

#[tokio::test]
async fn an_error_inside_a_json_answer_is_an_error() {
    let settings = json!({"model": "mock-gpt", "prompt": "{{x}}", "responseFormat": "json"});
    let result = run(&suite(), "GenAILLM", settings, json!({"x": "JSON:{\"error\":\"no idea\"}"})).await;
    assert_eq!(result["_error"], "no idea");
}

#[tokio::test]
async fn files_a_model_cannot_take_are_named() {
    let settings = json!({"model": "mock-gpt", "prompt": "see"});
    let inputs = json!([{"name": "Attachment", "type": "Image"}]);
    let document = lone("GenAILLM", settings, inputs, json!([{"name": "Reply", "default": true}]));
    let png = "data:image/png;base64,iVBORw0KGgo=";
    let result = result_of(&suite(), &document, json!({"Attachment": png})).await;
    let expected = "Model 'mock-gpt' does not support the provided file type(s): image/png.";
    assert_eq!(result, json!({ "_error": expected }));
}

#[tokio::test]
async fn a_model_that_is_not_there_is_named() {
    let settings = json!({"model": "nope", "prompt": "x"});
    let result = run(&suite(), "GenAILLM", settings, json!({"x": 1})).await;
    assert_eq!(result, json!({"_error": "The model 'nope' is not available. Please try a different one."}));
}
