//! The example of every type runs, unless it says that it needs something from outside.

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use sre_components::{reference, registry};
use sre_engine::RequestData;

use crate::context::Suite;
use crate::driver::Agent;

#[tokio::test]
async fn they_answer_without_an_error() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut ran, mut wrong) = (0, Vec::new());
    for spec in registry().specs() {
        let text = std::fs::read_to_string(root.join(reference::example(spec))).unwrap();
        let document: Json = serde_json::from_str(&text).unwrap();
        if document["needs"].is_string() {
            continue;
        }
        let agent = Agent::new(&document, Suite::new(&[]));
        let request = RequestData::post(format!("/api/{}", reference::SKILL), json!({}).into());
        let answer = agent.call(request).await["data"].clone();
        ran += 1;
        let is_empty = answer.as_array().is_some_and(Vec::is_empty)
            || answer.as_object().is_some_and(|it| it.is_empty());
        if is_empty || answer.is_null() || answer.to_string().contains("\"_error\"") {
            wrong.push(format!("{}: {answer}", spec.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ran >= 20, "only {ran} examples ran");
}
