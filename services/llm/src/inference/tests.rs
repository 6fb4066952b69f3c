use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::StreamExt as _;
use secrecy::SecretString;
use serde_json::json;
use tonic::{Code, Status};

use super::*;
use crate::models::{Mode, describe};

struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn access(&self, _: &str) -> std::result::Result<Option<SecretString>, Status> {
        Ok(None)
    }

    async fn keys(&self) -> std::result::Result<BTreeSet<String>, Status> {
        Ok(BTreeSet::new())
    }
}

fn inference() -> Inference {
    let (catalogue, _) = Catalogue::load(None, Mode::Merge);
    Inference::new(catalogue, &InferenceSettings::default(), Environment::default(), &BTreeMap::new())
        .unwrap()
}

fn request(model: &str, text: &str) -> pb::GenerateRequest {
    let message =
        pb::ChatMessage { role: pb::ChatRole::User as i32, text: text.to_owned(), ..Default::default() };
    pb::GenerateRequest { model: model.to_owned(), messages: vec![message], ..Default::default() }
}

async fn prepared(inference: &Inference, request: pb::GenerateRequest) -> Result<Call> {
    let model = inference.find(&request.model)?;
    inference.prepare(model, request, &NoSecrets).await
}

async fn refused(request: pb::GenerateRequest) -> Status {
    let inference = inference();
    prepared(&inference, request).await.unwrap_err().into()
}

#[tokio::test]
async fn echo_answers_under_either_name() {
    for name in ["Echo", "echo"] {
        let inference = inference();
        let call = prepared(&inference, request(name, "hi")).await.unwrap();
        assert_eq!(inference.answer(call).await.unwrap().text, "hi");
        let call = prepared(&inference, request(name, "hi you")).await.unwrap();
        let pieces: Vec<_> = inference.pieces(call).await.unwrap().collect().await;
        assert_eq!(pieces.len(), 3);
    }
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let status = refused(request("gpt-4o-mnii", "x")).await;
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("did you mean gpt-4o-mini"), "{}", status.message());
    let status = refused(request("gpt-4o", "x")).await;
    assert_eq!(sre_proto::error::reason(&status), Some(sre_proto::error::Reason::ProviderKeyMissing));
    assert!(status.message().contains("`openai`") && status.message().contains("OPENAI_API_KEY"));
    assert_eq!(refused(request("", "x")).await.code(), Code::InvalidArgument);
    for wrong in [
        pb::GenerateRequest { temperature: Some(2.1), ..request("gpt-4o", "x") },
        pb::GenerateRequest { top_p: Some(f64::NAN), ..request("gpt-4o", "x") },
        pb::GenerateRequest { max_tokens: Some(-1), ..request("gpt-4o", "x") },
        pb::GenerateRequest { reasoning_effort: "much".to_owned(), ..request("gpt-4o", "x") },
        pb::GenerateRequest { messages: Vec::new(), ..request("gpt-4o", "x") },
    ] {
        assert_eq!(refused(wrong).await.code(), Code::InvalidArgument);
    }
}

#[test]
fn open_parameters_are_filled_and_limits_hold() {
    let table = crate::models::Table::new(Default::default(), Mode::Merge);
    let model = Resolved {
        params: json!({"temperature": 0.5, "maxTokens": 50, "stopSequences": ["a"]})
            .as_object()
            .unwrap()
            .clone(),
        ..Resolved::clone(&table.resolve("gpt-4o").unwrap())
    };
    let filled = |asked: pb::GenerateRequest, model: &Resolved| {
        let mut asked = asked;
        parameters::fill_in(&mut asked, model);
        parameters::clamp(&mut asked, model, false);
        asked
    };
    let open = filled(pb::GenerateRequest { temperature: Some(-1.0), ..request("gpt-4o", "x") }, &model);
    assert_eq!((open.temperature, open.max_tokens), (Some(0.5), Some(50)));
    assert_eq!(open.stop_sequences, ["a"]);
    let set = pb::GenerateRequest { temperature: Some(0.0), max_tokens: Some(99_999_999), ..open };
    let set = filled(set, &model);
    assert_eq!((set.temperature, set.max_tokens), (Some(0.0), Some(16384)));
    let plain = Resolved { params: Default::default(), ..model };
    assert_eq!(filled(request("gpt-4o", "x"), &plain).max_tokens, Some(16384));
    let unknown = Resolved { tokens: 0, completion_tokens: 0, ..plain };
    assert_eq!(filled(request("gpt-4o", "x"), &unknown).max_tokens, Some(512));
}

#[test]
fn models_say_whether_they_are_usable() {
    let inference = inference();
    let model = |name: &str, keys: &[&str]| {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        describe(&inference, &inference.find(name).unwrap(), &keys)
    };
    assert!(model("Echo", &[]).usable);
    let without = model("gpt-4o", &[]);
    assert!(!without.usable && without.hint.contains("`openai`"), "{}", without.hint);
    assert!(model("gpt-4o", &["openai"]).usable);
    assert_eq!(without.name, "models/gpt-4o");
}
