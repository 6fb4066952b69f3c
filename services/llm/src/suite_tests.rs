//! The service as its callers find it: through the layer, over a link.

use axum::Router;
use axum::routing::post;
use futures::StreamExt as _;
use serde_json::json;
use sre_proto::error::{Reason, reason};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_proto::llm::v1::models_client::ModelsClient;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tokio::task::JoinSet;
use tonic::Code;

async fn suite(models: &serde_json::Value) -> (TestSuite, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("models.json");
    std::fs::write(&path, models.to_string()).unwrap();
    let suite = TestSuite::builder()
        .role(Role::Llm, crate::start)
        .member("user/alice", "red", TeamRole::Member)
        .member("agent/helper", "red", TeamRole::Member)
        .config(move |config| config.models.path = Some(path))
        .build()
        .await
        .unwrap();
    (suite, dir)
}

fn ask(model: &str, text: &str) -> pb::GenerateRequest {
    let message =
        pb::ChatMessage { role: pb::ChatRole::User as i32, text: text.to_owned(), ..Default::default() };
    pb::GenerateRequest { model: model.to_owned(), messages: vec![message], ..Default::default() }
}

fn calls(suite: &TestSuite, principal: &str) -> InferenceClient<Link> {
    InferenceClient::new(suite.link_as(principal, Role::Llm))
}

/// Answers with the key that it was called with.
async fn key_telling_service(tasks: &mut JoinSet<()>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let answer = post(|headers: axum::http::HeaderMap| async move {
        let key = headers["authorization"].to_str().unwrap().to_owned();
        axum::Json(json!({"choices": [{"message": {"content": key}, "finish_reason": "stop"}]}))
    });
    let router = Router::new().route("/v1/chat/completions", answer);
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    base
}

#[tokio::test]
async fn users_and_agents_call_models() {
    let mut tasks = JoinSet::new();
    let base = key_telling_service(&mut tasks).await;
    let models = json!({"mine": {"modelId": "m", "provider": "OpenAI", "baseURL": base,
        "credentials": {"apiKey": "sk-inline"}}});
    let (suite, _dir) = suite(&models).await;
    let mut alice = calls(&suite, "user/alice");
    let answer = alice.generate(ask("mine", "x")).await.unwrap().into_inner();
    assert_eq!((answer.text.as_str(), answer.provider.as_str()), ("Bearer sk-inline", "OpenAI"));

    let scope = "sre.llm.v1.Inference:read";
    let token = suite.token("agent/helper", Role::Engine, Role::Llm, &[scope]);
    let link = suite.link_as("service/engine", Role::Llm).with_jwt(&token);
    let request = pb::GenerateStreamRequest { request: Some(ask("echo", "a b")) };
    let events = InferenceClient::new(link).generate_stream(request).await.unwrap().into_inner();
    let events: Vec<_> = events.map(|event| event.unwrap().event.unwrap()).collect().await;
    use pb::generate_event::Event;
    assert_eq!(events[..2], [Event::Text("a ".into()), Event::Text("b".into())]);
    assert!(matches!(&events[2..], [Event::Finished(answer)] if answer.text == "a b"));

    let refused = calls(&suite, "service/engine").generate(ask("Echo", "x")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let unknown = alice.generate(ask("absent", "x")).await.unwrap_err();
    assert_eq!(reason(&unknown), Some(Reason::ModelNotFound));
    assert_eq!(alice.generate(ask("", "x")).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_catalogue_is_listed_in_pages() {
    let (suite, _dir) = suite(&json!({"a/b": {"modelId": "m", "provider": "Nobody", "label": "A"},
        "h": {"modelId": "h", "hidden": true}}))
    .await;
    let mut models = ModelsClient::new(suite.link_as("user/alice", Role::Llm));
    let mut names = Vec::new();
    let mut page_token = String::new();
    let digest = loop {
        let request = pb::ListModelsRequest { page_size: 3, page_token: page_token.clone() };
        let page = models.list_models(request).await.unwrap().into_inner();
        names.extend(page.models.into_iter().map(|model| model.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break page.catalogue_digest;
        }
    };
    assert!(digest.starts_with("b3:"));
    for name in ["models/Echo", "models/a/b"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
    assert!(!names.contains(&"models/h".to_owned()) && names.is_sorted());

    let mut get = async |name: &str| models.get_model(pb::GetModelRequest { name: name.to_owned() }).await;
    let own = get("models/a/b").await.unwrap().into_inner();
    assert_eq!((own.display_name.as_str(), own.usable), ("A", false));
    assert!(own.hint.contains("Nobody is not built yet"));
    assert!(get("models/Echo").await.unwrap().into_inner().usable);
    assert_eq!(get("models/none").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(get("Echo").await.unwrap_err().code(), Code::InvalidArgument);
}
