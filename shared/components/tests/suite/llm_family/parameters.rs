//! What of a record reaches the model, and how failures and the end of a run come back.

use serde_json::json;
use sre_proto::llm::v1::{ResponseFormat, Verbosity};

use super::{run, suite};

const TYPES: [(&str, &str, &str); 6] = [
    ("GenAILLM", "Input", "Reply"),
    ("PromptGenerator", "Input", "Reply"),
    ("VisionLLM", "Input", "Reply"),
    ("MultimodalLLM", "Prompt", "Reply"),
    ("LLMAssistant", "UserInput", "Response"),
    ("Classifier", "Input", "sport"),
];

/// The input under its name in a prompt, where the component has one.
fn prompt(input: &str) -> String {
    format!("{{{{{input}}}}}")
}

#[tokio::test]
async fn d01_model_parameters_reach_the_model_whatever_the_component() {
    for (type_name, input, output) in TYPES {
        let suite = suite(&[r#"{"sport": true}"#]);
        let settings = json!({
            "model": "scripted", "prompt": prompt(input), "temperature": "0.5", "maxTokens": "77", "topP": 0.3,
            "topK": "4", "frequencyPenalty": 0.1, "presencePenalty": 0.2, "stopSequences": "a, b",
        });
        run(&suite, type_name, settings, &[(input, "Any")], &[(output, true)], json!({input: "hi"})).await;
        let request = suite.requests.lock().pop().unwrap();
        assert_eq!((request.temperature, request.max_tokens), (Some(0.5), Some(77)), "{type_name}");
        assert_eq!((request.top_p, request.top_k), (Some(0.3), Some(4)), "{type_name}");
        assert_eq!(
            (request.frequency_penalty, request.presence_penalty),
            (Some(0.1), Some(0.2)),
            "{type_name}"
        );
        assert_eq!(request.stop_sequences, ["a", "b"], "{type_name}");
    }
}

#[tokio::test]
async fn d01_what_the_model_is_told_about_form_thinking_and_search() {
    let suite = suite(&["x"]);
    let settings = json!({
        "model": "seeing", "prompt": "hi", "verbosity": "high", "useReasoning": true, "reasoningEffort": "low",
        "maxThinkingTokens": "2048", "useWebSearch": true, "webSearchCity": "{{Input}}", "responseFormat": "json",
    });
    run(&suite, "GenAILLM", settings, &[("Input", "Any")], &[("Reply", true)], json!({"Input": "Ulm"})).await;
    let request = suite.requests.lock().pop().unwrap();
    assert_eq!(request.verbosity(), Verbosity::High);
    assert_eq!((request.reasoning_effort.as_str(), request.thinking_tokens), ("low", Some(2048)));
    assert_eq!(request.response_format(), ResponseFormat::Json);
    assert_eq!(request.web_search.unwrap().city, "Ulm");
}

#[tokio::test]
async fn d41_every_setting_of_a_search_has_its_place() {
    let suite = suite(&["x"]);
    let settings = json!({
        "model": "xai", "prompt": "hi", "useSearch": true, "searchDataSources": ["web", "rss"],
        "maxSearchResults": "100", "rssLinks": "https://a.org/feed", "allowedWebsites": "a.org, b.org",
        "excludedWebsites": "c.org", "fromDate": "2025-01-31", "safeSearch": false, "postViewCount": "7",
    });
    run(&suite, "GenAILLM", settings, &[("Input", "Any")], &[("Reply", true)], json!({"Input": 1})).await;
    let search = suite.requests.lock().pop().unwrap().web_search.unwrap();
    assert_eq!((search.sources, search.max_results), (vec!["web".to_owned(), "rss".to_owned()], 100));
    assert_eq!(search.feeds, ["https://a.org/feed"]);
    assert_eq!(search.allowed_domains, ["a.org", "b.org"]);
    assert!(search.excluded_domains.is_empty(), "a provider takes one of the two");
    assert_eq!(
        (search.from_date.as_str(), search.safe_search, search.min_views),
        ("2025-01-31", Some(false), 7)
    );

    for (setting, value) in
        [("fromDate", "soon"), ("searchDataSources", "gopher"), ("maxSearchResults", "101")]
    {
        let mut settings = json!({"model": "xai", "prompt": "hi"});
        settings[setting] = value.into();
        let result =
            run(&suite, "GenAILLM", settings, &[("Input", "Any")], &[("Reply", true)], json!({"Input": 1}))
                .await;
        assert!(result["_error"].as_str().unwrap().starts_with("Schema Validation error: "), "{setting}");
    }
}

#[tokio::test]
async fn a_model_without_the_feature_is_asked_without_a_search() {
    let suite = suite(&["x"]);
    let settings = json!({"model": "scripted", "prompt": "hi", "useWebSearch": true, "useSearch": true});
    run(&suite, "GenAILLM", settings, &[("Input", "Any")], &[("Reply", true)], json!({"Input": 1})).await;
    assert_eq!(suite.requests.lock().pop().unwrap().web_search, None);
}

#[tokio::test]
async fn d02_a_failure_while_watchers_listen_is_an_error_and_no_hang() {
    for (type_name, input, output) in TYPES {
        let suite = suite(&["!503 overloaded"]);
        let settings = json!({"model": "scripted", "prompt": prompt(input), "passthrough": true});
        let result =
            run(&suite, type_name, settings, &[(input, "Any")], &[(output, true)], json!({input: "hi"}))
                .await;
        assert!(result["_error"].as_str().unwrap().contains("503 overloaded"), "{type_name}: {result}");
        assert_eq!(suite.content.lock().as_str(), "", "{type_name}");
    }
}

#[tokio::test]
async fn d02_watchers_see_the_words_of_every_component_that_passes_them_through() {
    for (type_name, input, output) in TYPES {
        let suite = suite(&[r#"{"sport": true}"#]);
        let settings = json!({"model": "scripted", "prompt": prompt(input), "passthrough": true});
        run(&suite, type_name, settings, &[(input, "Any")], &[(output, true)], json!({input: "hi"})).await;
        assert_eq!(suite.content.lock().as_str(), r#"{"sport": true}"#, "{type_name}");
    }
}

#[tokio::test]
async fn d02_the_end_of_a_run_ends_the_wait_for_its_model() {
    for (type_name, input, output) in TYPES {
        let suite = suite(&["late"]);
        suite.cancelled.cancel();
        let settings = json!({"model": "scripted", "prompt": prompt(input)});
        let result =
            run(&suite, type_name, settings, &[(input, "Any")], &[(output, true)], json!({input: "hi"}))
                .await;
        assert!(result["_error"].as_str().unwrap().contains("Agent killed"), "{type_name}: {result}");
    }
}

#[tokio::test]
async fn d43_errors_are_texts_and_a_model_that_is_not_there_is_named() {
    for (type_name, input, output) in TYPES {
        let settings = json!({"model": "nope", "prompt": prompt(input)});
        let result =
            run(&suite(&[]), type_name, settings, &[(input, "Any")], &[(output, true)], json!({input: "hi"}))
                .await;
        let expected = "The model 'nope' is not available. Please try a different one.";
        assert_eq!(result["_error"], expected, "{type_name}: {result}");
    }
}

#[tokio::test]
async fn an_answer_of_nothing_says_so() {
    for (type_name, input, output) in TYPES {
        if type_name == "Classifier" {
            continue;
        }
        let suite = suite(&[""]);
        let settings = json!({"model": "scripted", "prompt": prompt(input)});
        let result =
            run(&suite, type_name, settings, &[(input, "Any")], &[(output, true)], json!({input: "hi"}))
                .await;
        let error = result["_error"].as_str().unwrap();
        let is_new = type_name == "GenAILLM";
        assert!(error.starts_with(if is_new { "Empty response." } else { " LLM Error = Empty Response!" }));
    }
}

#[tokio::test]
async fn d03_the_form_of_the_answer_is_said_once() {
    for type_name in ["MultimodalLLM", "VisionLLM", "PromptGenerator", "GenAILLM"] {
        let suite = suite(&[r#"{"title": "t"}"#]);
        let settings = json!({"model": "scripted", "prompt": "hi"});
        let outputs = [("Reply", true), ("title", false)];
        let result =
            run(&suite, type_name, settings, &[("Words", "Text")], &outputs, json!({"Words": "x"})).await;
        assert_eq!(result["Reply"], json!({"title": "t"}), "{type_name}: {result}");
        let request = suite.requests.lock().pop().unwrap();
        let text = &request.messages[0].text;
        assert_eq!(text.matches("Expected output format").count(), 1, "{type_name}: {text}");
        assert!(text.contains("(about title)"), "{type_name}: {text}");
    }
}

#[tokio::test]
async fn d51_a_component_keeps_nothing_of_a_call() {
    // Two records of one type, one after the other: neither sees what the other set.
    let suite = suite(&["{\"a\":1}", "{\"a\":1}"]);
    let settings = |format: &str| json!({"model": "scripted", "prompt": "hi", "responseFormat": format});
    let run = async |format: &str| {
        let body = json!({"Input": 1});
        run(&suite, "PromptGenerator", settings(format), &[("Input", "Any")], &[("Reply", true)], body).await
    };
    assert_eq!(run("").await, json!({"Reply": {"a": 1}}));
    assert_eq!(run("text").await, json!({"Reply": "{\"a\":1}"}));
}
