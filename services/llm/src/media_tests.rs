//! Counting, images and files as callers find them: through the layer, over a link, with the io service beside.

use futures::StreamExt as _;
use serde_json::json;
use sre_fake_provider::FakeProvider;
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::write_file_request::Part as Written;
use sre_proto::io::v1::{WriteFileHeader, WriteFileRequest};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::generate_image_response::Part;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_proto::llm::v1::media::Source;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::Code;

const FILE: &str = "teams/red/agents/helper/files/cat.png";

async fn suite(server: &FakeProvider) -> (TestSuite, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("models.json");
    let models = json!({
        "claude": {"modelId": "claude-sonnet-4-5", "provider": "Anthropic", "baseURL": server.url("/v1"),
            "credentials": {"apiKey": "k"}},
        // Not in the catalogue, so it costs nothing: nobody keeps a ledger here.
        "painter": {"modelId": "gpt-image-of-tests", "provider": "OpenAI", "baseURL": server.url("/v1"),
            "credentials": {"apiKey": "k"}, "features": ["image-generation"]},
    });
    std::fs::write(&path, models.to_string()).unwrap();
    let suite = TestSuite::builder()
        .role(Role::Llm, crate::start)
        .role(Role::Io, sre_io::start)
        .member("user/alice", "red", TeamRole::Member)
        .member("agent/helper", "red", TeamRole::Member)
        .member("agent/stranger", "blue", TeamRole::Member)
        .config(move |config| config.models.path = Some(path))
        .build()
        .await
        .unwrap();
    (suite, dir)
}

/// A client with the token of an agent, which may read what the agent may.
fn as_agent(suite: &TestSuite, agent: &str) -> InferenceClient<Link> {
    let scopes = ["sre.llm.v1.Inference:read", "sre.io.v1.Storage:read"];
    let token = suite.token(agent, Role::Engine, Role::Llm, &scopes);
    InferenceClient::new(suite.link_as("service/engine", Role::Llm).with_jwt(&token))
}

fn look_at(file: &str) -> pb::GenerateRequest {
    let media = pb::Media { source: Some(Source::File(file.to_owned())), ..Default::default() };
    let part = pb::Part { part: Some(pb::part::Part::Media(media)) };
    let message = pb::ChatMessage {
        role: pb::ChatRole::User as i32,
        text: "look".into(),
        parts: vec![part],
        ..Default::default()
    };
    pb::GenerateRequest { model: "claude".into(), messages: vec![message], ..Default::default() }
}

#[tokio::test]
async fn files_are_read_in_the_name_of_the_caller() {
    let server = FakeProvider::start().await.unwrap();
    let (suite, _dir) = suite(&server).await;
    let header = WriteFileHeader { name: FILE.into(), mimetype: "image/jpg".into(), ..Default::default() };
    let parts = [Written::Header(header), Written::Data(b"picture".as_slice().into())];
    let parts = parts.map(|part| WriteFileRequest { part: Some(part) });
    let mut files = StorageClient::new(suite.link_as("agent/helper", Role::Io));
    files.write_file(futures::stream::iter(parts)).await.unwrap();

    for name in [FILE, "smythfs://helper.agent/cat.png"] {
        as_agent(&suite, "agent/helper").generate(look_at(name)).await.unwrap();
        let sent = server.state().requests().pop().unwrap();
        let source = &sent.body["messages"][0]["content"][1]["source"];
        assert_eq!(*source, json!({"type": "base64", "media_type": "image/jpeg", "data": "cGljdHVyZQ=="}));
    }
    let before = server.state().requests().len();
    let stranger = as_agent(&suite, "agent/stranger").generate(look_at(FILE)).await.unwrap_err();
    assert!(matches!(stranger.code(), Code::NotFound | Code::PermissionDenied), "{stranger:?}");
    let absent = as_agent(&suite, "agent/helper").generate(look_at("smythfs://helper.agent/none")).await;
    assert_eq!(absent.unwrap_err().code(), Code::NotFound);
    let wrong = as_agent(&suite, "agent/helper").generate(look_at("/etc/passwd")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert_eq!(server.state().requests().len(), before, "nothing was sent to the provider");
}

#[tokio::test]
async fn texts_are_counted_and_images_come_whole() {
    let server = FakeProvider::start().await.unwrap();
    let (suite, _dir) = suite(&server).await;
    let mut calls = InferenceClient::new(suite.link_as("user/alice", Role::Llm));
    let ask = |model: &str| pb::CountTokensRequest {
        model: model.into(),
        texts: vec!["Hello, world!".into(), String::new()],
    };
    let counted = calls.count_tokens(ask("gpt-4o")).await.unwrap().into_inner();
    assert_eq!(
        (counted.tokens, counted.estimated, counted.encoding.as_str()),
        (vec![4, 0], false, "o200k_base")
    );
    let estimated = calls.count_tokens(ask("claude")).await.unwrap().into_inner();
    assert_eq!((estimated.tokens, estimated.estimated), (vec![4, 0], true));
    assert_eq!(calls.count_tokens(ask("absent")).await.unwrap_err().code(), Code::NotFound);

    let request = pb::GenerateImageRequest {
        model: "painter".into(),
        prompt: "a cat".into(),
        count: 2,
        ..Default::default()
    };
    let pieces = calls.generate_image(request.clone()).await.unwrap().into_inner();
    let parts: Vec<_> = pieces.map(|piece| piece.unwrap().part.unwrap()).collect().await;
    assert!(matches!(&parts[0], Part::Chunk(chunk) if chunk.mimetype == "image/png" && chunk.index == 0));
    assert!(matches!(&parts[2..], [Part::Finished(end)] if end.count == 2 && end.provider == "OpenAI"));
    let none = pb::GenerateImageRequest { model: "claude".into(), ..request };
    assert_eq!(calls.generate_image(none).await.unwrap_err().code(), Code::InvalidArgument);
}

/// llm.md D42: in the reference a file might never be ready, any address was fetched, and sizes were looked up in another
/// name. Here files are read in the caller's name (see above), within bounds of number, size and time, and an address is
/// for the provider: nobody of this suite calls it.
#[tokio::test]
async fn d42_a_file_is_bounded_and_an_address_is_never_fetched() {
    let server = FakeProvider::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("models.json");
    let models = json!({"claude": {"modelId": "claude-sonnet-4-5", "provider": "Anthropic", "baseURL": server.url("/v1"),
        "credentials": {"apiKey": "k"}}});
    std::fs::write(&path, models.to_string()).unwrap();
    let suite = TestSuite::builder()
        .role(Role::Llm, crate::start)
        // Files that are never ready.
        .role(Role::Io, |_| async {
            let never = axum::Router::new().fallback(std::future::pending::<()>);
            Ok(tonic::service::Routes::from(never))
        })
        .member("agent/helper", "red", TeamRole::Member)
        .config(move |config| config.models.path = Some(path))
        .build()
        .await
        .unwrap();
    let inner = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/cat.png", inner.local_addr().unwrap());
    let mut looks = look_at("");
    let media = pb::Media { source: Some(Source::Url(address.clone())), ..Default::default() };
    looks.messages[0].parts = vec![pb::Part { part: Some(pb::part::Part::Media(media)) }];
    as_agent(&suite, "agent/helper").generate(looks).await.unwrap();
    let sent = server.state().requests().pop().unwrap();
    let source = &sent.body["messages"][0]["content"][1]["source"];
    assert_eq!(*source, json!({"type": "url", "url": address}));
    let before = server.state().requests().len();
    let called = tokio::time::timeout(std::time::Duration::from_millis(200), inner.accept()).await;
    assert!(called.is_err(), "somebody fetched it");

    let mut waits = tonic::Request::new(look_at(FILE));
    waits.set_timeout(std::time::Duration::from_millis(300));
    let waited = as_agent(&suite, "agent/helper").generate(waits).await.unwrap_err();
    assert!(matches!(waited.code(), Code::DeadlineExceeded | Code::Cancelled), "{waited:?}");
    let mut many = look_at(FILE);
    let part = many.messages[0].parts[0].clone();
    many.messages[0].parts = vec![part; 65];
    let refused = as_agent(&suite, "agent/helper").generate(many).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains("64 files at most"), "{refused:?}");
    assert_eq!(server.state().requests().len(), before, "nothing was sent to the provider");
}
