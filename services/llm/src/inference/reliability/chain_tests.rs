use serde_json::{Value, json};

use super::*;
use crate::inference::error::Refusal;
use crate::inference::settings::InferenceSettings;
use crate::models::Mode;

fn table(models: Value) -> Arc<Table> {
    let Value::Object(models) = models else { panic!("an object") };
    Arc::new(Table::new(models.into_iter().collect(), Mode::Replace))
}

fn chain(table: &Arc<Table>, name: &str, request: pb::GenerateRequest) -> Chain {
    let reliability = Reliability::new(&InferenceSettings::default());
    Chain::new(reliability, Arc::clone(table), table.resolve(name).unwrap(), request)
}

fn refused(status: u16, code: &str) -> InferenceError {
    let refusal = Refusal { status, code: code.into(), provider: "P".into(), ..Refusal::default() };
    InferenceError::Refused(Box::new(refusal))
}

fn models() -> Arc<Table> {
    table(json!({
        "small": {"modelId": "s", "provider": "P",
            "fallbacks": [{"model": "large", "on": ["context_length"]}, {"model": "other", "on": ["content_filter"]}, "spare"]},
        "large": {"modelId": "l", "provider": "P"},
        "other": {"modelId": "o", "provider": "Q"},
        "spare": {"modelId": "x", "provider": "R", "fallbacks": ["small"]},
    }))
}

fn after(failures: &[InferenceError]) -> Vec<String> {
    let mut chain = chain(&models(), "small", pb::GenerateRequest::default());
    let mut seen = Vec::new();
    for error in failures {
        let place = chain.begin().unwrap();
        seen.push(match chain.failed(error) {
            Next::Again(_) => format!("{} again", place.entry),
            Next::Fallback(next) => format!("{} to {} for {}", next.from_model, next.to_model, next.failure),
            Next::GiveUp => format!("{} gives up", place.entry),
        });
    }
    seen
}

#[tokio::test]
async fn fallbacks_are_chosen_by_what_went_wrong() {
    assert_eq!(after(&[refused(400, "context_length_exceeded")]), ["small to large for context_length"]);
    assert_eq!(after(&[refused(400, "content_filter")]), ["small to other for content_filter"]);
    assert_eq!(after(&[refused(401, "")]), ["small to spare for auth"]);
    assert_eq!(after(&[refused(400, "")]), ["small gives up"], "another model would say the same");
    let busy = || refused(503, "");
    assert_eq!(
        after(&[busy(), busy(), busy(), busy(), busy(), busy()]),
        [
            "small again",
            "small again",
            "small to spare for overloaded",
            "spare again",
            "spare again",
            "spare gives up",
        ]
    );
}

#[tokio::test]
async fn a_caller_may_want_no_other_model() {
    let request = pb::GenerateRequest { no_fallback: true, ..Default::default() };
    let mut chain = chain(&models(), "small", request);
    chain.begin().unwrap();
    assert_eq!(chain.failed(&refused(401, "")), Next::GiveUp);
}

#[tokio::test]
async fn the_error_is_the_first_one_and_every_attempt_is_told() {
    let mut chain = chain(&models(), "small", pb::GenerateRequest::default());
    chain.begin().unwrap();
    assert!(matches!(chain.failed(&refused(403, "")), Next::Fallback(_)));
    chain.begin().unwrap();
    assert_eq!(chain.failed(&refused(404, "")), Next::GiveUp);
    let InferenceError::Refused(refusal) = chain.error(refused(404, "")) else { panic!("a refusal") };
    assert_eq!(refusal.status, 403);
    let told: Vec<_> = chain.attempts.iter().map(|one| (one.model.as_str(), one.failure.as_str())).collect();
    assert_eq!(told, [("small", "permission"), ("spare", "not_found")]);
}

#[tokio::test]
async fn the_references_fallback_keeps_what_every_model_takes() {
    let table = table(json!({
        "custom": {"modelId": "c", "provider": "P", "isUserCustomLLM": true, "fallbackLLM": "std"},
        "std": {"modelId": "s", "provider": "Q"},
    }));
    let asked = pb::GenerateRequest {
        model: "custom".into(),
        messages: vec![pb::ChatMessage::default()],
        max_tokens: Some(7),
        temperature: Some(1.0),
        run_id: "r".into(),
        reasoning_effort: "high".into(),
        ..Default::default()
    };
    let mut chain = chain(&table, "custom", asked);
    chain.begin().unwrap();
    assert!(matches!(chain.failed(&refused(400, "")), Next::Fallback(_)), "after any failure");
    let place = chain.begin().unwrap();
    let request = chain.request();
    assert_eq!((place.entry.as_str(), request.model.as_str(), request.max_tokens), ("std", "std", Some(7)));
    assert_eq!((request.messages.len(), request.run_id.as_str()), (1, "r"));
    assert!(request.temperature.is_none() && request.reasoning_effort.is_empty());
    assert!(matches!(chain.failed(&refused(503, "")), Next::Again(_)));
}

#[tokio::test]
async fn another_deployment_is_asked_at_once() {
    let table = table(json!({"m": {"modelId": "m", "provider": "P",
        "deployments": [{"name": "a"}, {"name": "b"}]}}));
    let mut chain = chain(&table, "m", pb::GenerateRequest::default());
    let first = chain.begin().unwrap().deployment.clone();
    assert_eq!(chain.failed(&refused(503, "")), Next::Again(Duration::ZERO));
    let second = chain.begin().unwrap().deployment.clone();
    assert_ne!(first, second);
    let attempts = chain.answered(3);
    let told: Vec<_> = attempts.iter().map(|one| (one.deployment.clone(), one.failure.as_str())).collect();
    assert_eq!(told, [(first, "overloaded"), (second, "")]);
}

#[tokio::test]
async fn d48_requests_never_change_each_other() {
    let table = models();
    let reliability = Reliability::new(&InferenceSettings::default());
    let ask = || {
        let model = table.resolve("small").unwrap();
        Chain::new(reliability.clone(), Arc::clone(&table), model, pb::GenerateRequest::default())
    };
    let (mut one, mut two) = (ask(), ask());
    one.begin().unwrap();
    assert!(matches!(one.failed(&refused(401, "")), Next::Fallback(_)));
    assert_eq!(one.begin().unwrap().entry, "spare");
    assert_eq!(two.begin().unwrap().entry, "small", "the other request still asks for what it wanted");
    assert_eq!(ask().begin().unwrap().entry, "small");
}

#[tokio::test]
async fn a_place_that_rests_is_not_waited_for() {
    let table = models();
    let reliability = Reliability::new(&InferenceSettings::default());
    let ask = || {
        let model = table.resolve("small").unwrap();
        Chain::new(reliability.clone(), Arc::clone(&table), model, pb::GenerateRequest::default())
    };
    let mut resting = loop {
        let mut chain = ask();
        match chain.begin() {
            Ok(_) => drop(chain.failed(&refused(503, ""))),
            Err(error) => break (chain, error),
        }
    };
    assert!(matches!(resting.1, InferenceError::Resting { .. }));
    let Next::Fallback(next) = resting.0.failed(&resting.1) else { panic!("another model is asked at once") };
    assert_eq!((next.to_model.as_str(), next.failure.as_str()), ("spare", "overloaded"));
}
