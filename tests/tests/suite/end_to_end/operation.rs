//! Operation: probes and metrics, reflection, certificates that are renewed while calls run.

use std::time::{Duration, Instant};

use prost::Message as _;
use prost_types::FileDescriptorProto;
use serde_json::json;
use sre_proto::{METHODS, Visibility};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::agents::hasher;
use crate::harness::load::Load;
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(probes_and_reflection, renewal);

const HASHER: &str = "teams/default/agents/hasher";

async fn probes_and_reflection(mode: Mode) {
    let suite = Suite::start("operation", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    dev.put(HASHER, &hasher("hasher")).await.unwrap();
    dev.answer(HASHER, "hash", &json!({ "text": "a" })).await.unwrap();

    let http = reqwest::Client::new();
    let admins: Vec<&String> = suite
        .endpoints()
        .iter()
        .filter(|(name, _)| name.starts_with("admin"))
        .map(|(_, address)| address)
        .collect();
    let expected = if mode == Mode::Split { 8 } else { 1 };
    assert_eq!(admins.len(), expected, "{:?}", suite.endpoints());
    for address in admins {
        for path in ["livez", "readyz", "startupz", "metrics"] {
            let answer = http.get(format!("http://{address}/{path}")).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path} of {address}");
            let text = answer.text().await.unwrap();
            // A role that nobody has called yet has nothing to show.
            let is_gateway = mode == Mode::AllInOne || *address == suite.address("admin-edge-engine");
            assert!(path != "metrics" || !is_gateway || text.contains("# TYPE"), "{address}: {text}");
        }
        for path in ["", "config", "api/hash"] {
            let answer = http.get(format!("http://{address}/{path}")).send().await.unwrap();
            assert_eq!(answer.status(), 404, "{path} of {address}");
        }
    }
    reflected(&suite).await;
    suite.stop().await;
}

/// The edge shows every public method and no other.
async fn reflected(suite: &Suite) {
    let mut client = ServerReflectionClient::new(suite.channel("user/dev", "edge"));
    let mut ask = async |request: MessageRequest| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let mut answers =
            client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = ask(MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list of services");
    };
    let services: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    let mut shown = Vec::new();
    for service in services.iter().filter(|name| name.starts_with("sre.")) {
        let request = MessageRequest::FileContainingSymbol(service.clone());
        let MessageResponse::FileDescriptorResponse(files) = ask(request).await else {
            panic!("{service}: no file")
        };
        for bytes in files.file_descriptor_proto {
            let file = FileDescriptorProto::decode(bytes.as_slice()).unwrap();
            for part in &file.service {
                let name = format!("{}.{}", file.package(), part.name());
                shown.extend(part.method.iter().map(|method| format!("/{name}/{}", method.name())));
            }
        }
    }
    shown.sort();
    shown.dedup();
    let public: Vec<String> = METHODS
        .iter()
        .filter(|row| row.visibility == Visibility::Public)
        .map(|row| row.path.to_owned())
        .collect();
    assert_eq!(shown, public);
}

/// Certificates live eight seconds here and are renewed at half of it; no call notices.
async fn renewal(mode: Mode) {
    let options = Options::default().set("certs.lifetime_seconds", 8).set("certs.reload_interval_ms", 300);
    let suite = Suite::start("renewal", mode, options).await;
    let dev = suite.client("user/dev");
    dev.put(HASHER, &hasher("hasher")).await.unwrap();
    let read = || std::fs::read_to_string(suite.folder().join("certs/service/memory.pem")).unwrap();
    let first = read();
    let mut load = Load::new();
    load.add("hash", suite.client("user/dev"), Duration::from_millis(20), |client, number| async move {
        client.answer(HASHER, "hash", &json!({ "text": format!("text {number}") })).await
    });
    load.add("start", suite.client("user/dev"), Duration::from_millis(50), |client, number| async move {
        let run = client.start(HASHER, "hash", &json!({ "text": format!("text {number}") })).await?;
        Ok(json!(run.name))
    });
    load.add("models", suite.client("user/dev"), Duration::from_millis(50), |client, _| async move {
        let list = sre_proto::agent::v1::ListAgentsRequest { parent: "teams/-".into(), ..Default::default() };
        client.agents().list_agents(list).await.map(|_| json!(null))
    });
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(14)).await;
    let outcomes = load.finish().await;
    assert_ne!(first, read(), "the certificate was not renewed within {:?}", begun.elapsed());
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.failed()).collect();
    assert!(outcomes.len() > 100, "only {} calls", outcomes.len());
    assert!(failed.is_empty(), "{} of {} calls failed: {:?}", failed.len(), outcomes.len(), failed[0]);
    suite.stop().await;
}
