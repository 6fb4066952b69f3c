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
        .member("user/carol", "red", TeamRole::Admin)
        .member("user/eve", "blue", TeamRole::Admin)
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

/// Pieces of calls reach whoever listens, of a provider and of a script.
#[tokio::test]
async fn calls_of_tools_come_in_pieces() {
    use pb::generate_event::Event;
    use sre_fake_provider::{Order, Scenario, Step, ToolCall};
    let server = sre_fake_provider::FakeProvider::start().await.unwrap();
    let models = json!({"mine": {"modelId": "m", "provider": "OpenAI", "baseURL": server.url("/v1"),
        "credentials": {"apiKey": "sk-inline"}}});
    let (suite, _dir) = suite(&models).await;
    let made = [ToolCall::of("look", r#"{"city":"Oslo"}"#), ToolCall::of("go", "{}")];
    server.state().queue(Scenario::of([Step::tools(Order::Interleaved, made)]));
    let script = r#"[{"tool":"look","args":{"city":"Oslo"}},{"tool":"go"}]"#;
    for (model, text) in [("mine", "hi"), ("EchoScript", script)] {
        let request = pb::GenerateStreamRequest { request: Some(ask(model, text)) };
        let events = calls(&suite, "user/alice").generate_stream(request).await.unwrap().into_inner();
        let events: Vec<_> = events.map(|event| event.unwrap().event.unwrap()).collect().await;
        let Some(Event::Finished(answer)) = events.last() else { panic!("{events:?}") };
        let mut arguments = [String::new(), String::new()];
        for event in &events[..events.len() - 1] {
            let Event::ToolCall(delta) = event else { panic!("{event:?}") };
            arguments[usize::try_from(delta.index).unwrap()] += &delta.arguments_fragment;
        }
        assert_eq!(arguments, [r#"{"city":"Oslo"}"#, "{}"], "{model}");
        let names: Vec<_> = answer.tool_calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!((names, answer.finish_reason()), (vec!["look", "go"], pb::FinishReason::ToolCalls));
    }
    assert_eq!(server.state().ledger()["sk-inline"].answers, 1);
}

#[tokio::test]
async fn d40_admins_add_models_for_their_team_alone_and_a_change_counts_at_once() {
    let mut tasks = JoinSet::new();
    let base = key_telling_service(&mut tasks).await;
    let (suite, _dir) = suite(&json!({})).await;
    let mut admin = ModelsClient::new(suite.link_as("user/carol", Role::Llm));
    let mut member = ModelsClient::new(suite.link_as("user/alice", Role::Llm));
    let mut other = ModelsClient::new(suite.link_as("user/eve", Role::Llm));
    let model = pb::TeamModel {
        provider: "OpenAI".into(),
        model_id: "m".into(),
        base_url: base.clone(),
        credentials_json: br#""none""#[..].into(),
        ..pb::TeamModel::default()
    };
    let create = |entry: &str| pb::CreateTeamModelRequest {
        parent: "teams/-".into(),
        model_id: entry.into(),
        model: Some(model.clone()),
    };
    let refused = member.create_team_model(create("own")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let own = admin.create_team_model(create("own")).await.unwrap().into_inner();
    assert_eq!(own.name, "teams/red/models/own");
    // One of the name of a built-in model wins over it, for the team.
    admin.create_team_model(create("gpt-4o")).await.unwrap();
    let get = |name: &str| pb::GetModelRequest { name: format!("models/{name}") };
    let seen = member.get_model(get("gpt-4o")).await.unwrap().into_inner();
    assert_eq!((seen.team.as_str(), seen.model_id.as_str()), ("teams/red", "m"));
    assert_eq!(other.get_model(get("own")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(other.get_model(get("gpt-4o")).await.unwrap().into_inner().team, "");
    let listed = member.list_models(pb::ListModelsRequest::default()).await.unwrap().into_inner();
    assert!(listed.models.iter().any(|model| model.name == "models/own"));

    // Whatever is asked of a model, the team's own is meant.
    let count = pb::CountTokensRequest { model: "own".into(), texts: vec!["hello".into()] };
    let counted = calls(&suite, "user/alice").count_tokens(count.clone()).await.unwrap().into_inner();
    assert_eq!((counted.tokens.len(), counted.estimated), (1, true));
    assert_eq!(calls(&suite, "user/eve").count_tokens(count).await.unwrap_err().code(), Code::NotFound);
    let paint = pb::GenerateImageRequest { model: "own".into(), prompt: "x".into(), ..Default::default() };
    let refused = calls(&suite, "user/alice").generate_image(paint.clone()).await.unwrap_err();
    assert_ne!(reason(&refused), Some(Reason::ModelNotFound), "{refused:?}");
    let refused = calls(&suite, "user/eve").generate_image(paint).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::ModelNotFound));

    // Its address is inside, where no team may reach (D29).
    let refused = calls(&suite, "user/alice").generate(ask("own", "x")).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::EgressDenied));
    let refused = calls(&suite, "user/eve").generate(ask("own", "x")).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::ModelNotFound));

    let changed = pb::TeamModel { model_id: "m2".into(), ..own.clone() };
    let update = pb::UpdateTeamModelRequest { model: Some(changed) };
    admin.update_team_model(update.clone()).await.unwrap();
    // What was changed counts at once, and nothing is looked up in between.
    assert_eq!(member.get_model(get("own")).await.unwrap().into_inner().model_id, "m2");
    assert_eq!(admin.update_team_model(update).await.unwrap_err().code(), Code::Aborted);
    let delete = |entry: &str| pb::DeleteTeamModelRequest {
        name: format!("teams/red/models/{entry}"),
        etag: String::new(),
    };
    assert_eq!(member.delete_team_model(delete("own")).await.unwrap_err().code(), Code::PermissionDenied);
    admin.delete_team_model(delete("own")).await.unwrap();
    assert_eq!(member.get_model(get("own")).await.unwrap_err().code(), Code::NotFound);
    let list = pb::ListTeamModelsRequest { parent: "teams/red".into() };
    assert_eq!(member.list_team_models(list).await.unwrap().into_inner().models.len(), 1);
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
