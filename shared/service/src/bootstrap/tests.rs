use std::sync::Arc;

use prost::Message as _;
use sre_identity::{Kind, Principal, Svid, TrustRoots};
use sre_proto::compute::v1::ExecuteCodeRequest;
use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::error::reason;
use sre_proto::types::v1::Reason;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::{RoleStart, Running, run};
use crate::first_start::{DEV_USER, Identities};
use crate::testing::TestSuite;
use crate::testing::scripted::{Script, Scripted};
use crate::{Config, Link, Role, Routes};

async fn execute(link: &Link, source: &str) -> Result<String, Status> {
    let parent = "teams/default/agents/helper".to_owned();
    let request = ExecuteCodeRequest { parent, source: source.to_owned(), ..Default::default() };
    let answer = CodeClient::new(link.clone()).execute_code(request).await?.into_inner();
    Ok(String::from_utf8(answer.result_json.to_vec()).unwrap())
}

fn scripted(script: &Arc<Script>) -> RoleStart {
    let script = Arc::clone(script);
    RoleStart::new(Role::Compute, move |host| Scripted::start(host, Arc::clone(&script)))
}

/// A suite as `sre serve` starts it: certificates on disk, sockets, no stand-in of the test suite.
async fn on_disk(
    folder: &std::path::Path,
    script: &Arc<Script>,
    change: impl Fn(&mut Config),
) -> (Running, Arc<Config>) {
    let mut config = Config::in_dir(folder);
    config.deadlines.drain_ms = 2_000;
    config.certs.reload_interval_ms = 20;
    change(&mut config);
    let shared = config.clone().shared();
    (run(vec![scripted(script)], config).await.unwrap(), shared)
}

/// `user/dev` over TLS, without the process's own switchboard.
fn dev(config: &Arc<Config>) -> Link {
    let identities = Identities::new(config);
    let user = Principal::new(Kind::User, DEV_USER).unwrap();
    identities.issue_to_files(&user).unwrap();
    Link::client(Arc::clone(config), &identities.source(&user).unwrap(), Role::Compute)
}

#[tokio::test]
async fn drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let suite = TestSuite::builder();
    let script = Arc::new(Script::default());
    let for_role = Arc::clone(&script);
    let suite = suite
        .role(Role::Compute, move |host| Scripted::start(host, Arc::clone(&for_role)))
        .listen()
        .build()
        .await
        .unwrap();
    let endpoints = suite.running().endpoints();
    let outside = |principal: &str| {
        let mut config = Config::default();
        config.endpoints.0.insert(Role::Compute, vec![endpoints["compute"].to_string()]);
        Link::client(config.shared(), &suite.identity(principal), Role::Compute)
    };
    let (waiting, late) = (outside("user/dev"), outside("user/dev"));
    let call = crate::task::spawn("waiting", async move { execute(&waiting, "wait").await });
    script.entered.notified().await;
    let draining = suite.host(Role::Compute).draining();
    let stopping = crate::task::spawn("stopping", suite.stop());
    draining.cancelled().await;
    let refused = execute(&late, "fine").await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::RoleUnavailable), "{refused:?}");
    script.go.notify_one();
    assert_eq!(call.await.unwrap().unwrap(), "waited");
    assert!(stopping.await.unwrap(), "everything in flight finished");
}

#[tokio::test]
async fn drain_has_a_deadline() {
    let script = Arc::new(Script::default());
    let suite = TestSuite::builder().config(|config| config.deadlines.drain_ms = 50);
    let for_role = Arc::clone(&script);
    let suite = suite.role(Role::Compute, move |host| Scripted::start(host, Arc::clone(&for_role)));
    let suite = suite.build().await.unwrap();
    let link = suite.link_as("user/dev", Role::Compute);
    let hanging = crate::task::spawn("hanging", async move { execute(&link, "hang").await });
    script.entered.notified().await;
    assert!(!suite.stop().await);
    hanging.abort();
}

#[tokio::test]
async fn certificates_are_reloaded_without_dropping_connections() {
    let script = Arc::new(Script::default());
    let folder = tempfile::tempdir().unwrap();
    let (running, config) = on_disk(folder.path(), &script, |_| {}).await;
    let link = dev(&config);
    // Accounts cannot be resolved here, which is after authentication: the connection stands.
    let before = execute(&link, "fine").await.unwrap_err();
    assert_eq!(before.code(), Code::Unavailable);
    assert!(before.message().contains("role security"), "{before:?}");
    let identities = Identities::new(&config);
    let host = running.host(Role::Compute).unwrap().clone();
    let old_end = host.identity().svid().not_after();
    let service = Principal::service("compute").unwrap();
    // Another lifetime, because certificates count whole seconds.
    let mut longer = Config::clone(&config);
    longer.certs.lifetime_seconds *= 2;
    let look = Arc::clone(&running.certificates);
    let (looked, mut reloaded) = (look.done.notified(), false);
    tokio::pin!(looked);
    looked.as_mut().enable();
    Identities::new(&longer.shared()).issue_to_files(&service).unwrap();
    // The first look may have begun before the files were whole.
    for _ in 0..3 {
        look.wanted.notify_one();
        looked.as_mut().await;
        looked.set(look.done.notified());
        looked.as_mut().enable();
        reloaded |= host.identity().svid().not_after() > old_end;
    }
    assert!(reloaded, "the listener's identity follows the files");
    let (cert, key) = identities.files(&service);
    let on_disk = Svid::load(&cert, &key, &identities.patterns().unwrap()).unwrap();
    assert_eq!(on_disk.not_after(), host.identity().svid().not_after());
    // The old connection and new ones both work.
    for link in [link, dev(&config)] {
        let status = execute(&link, "fine").await.unwrap_err();
        assert!(status.message().contains("role security"), "{status:?}");
    }
    assert!(TrustRoots::load(identities.bundle()).is_ok());
    running.shutdown().await;
}

#[tokio::test]
async fn first_start_makes_identities_and_the_run_file() {
    let script = Arc::new(Script::default());
    let folder = tempfile::tempdir().unwrap();
    let (running, config) = on_disk(folder.path(), &script, |_| {}).await;
    let certs = folder.path().join("certs");
    for file in ["ca.pem", "ca.key", "service/compute.pem", "service/compute.key"] {
        assert!(certs.join(file).exists(), "{file}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    for key in ["ca.key", "service/compute.key"] {
        let mode = std::fs::metadata(certs.join(key)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{key}");
    }
    let endpoints = crate::endpoints::read(&config.data_dir);
    assert_eq!(endpoints["compute"], running.endpoints()["compute"].to_string());
    running.shutdown().await;
}

#[tokio::test]
async fn a_failing_role_is_named_and_stops_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let broken = RoleStart::new(Role::Io, |_| async { Err::<Routes, _>(anyhow::anyhow!("no disk")) });
    let error =
        run(vec![scripted(&Arc::default()), broken], Config::in_dir(folder.path())).await.unwrap_err();
    assert_eq!(format!("{error:#}"), "role io cannot start: no disk");
}

#[tokio::test]
async fn an_address_in_use_names_the_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::in_dir(folder.path());
    config.listen.0.insert(Role::Compute, taken.local_addr().unwrap());
    let error = run(vec![scripted(&Arc::default())], config).await.unwrap_err();
    assert!(format!("{error:#}").contains("listen.compute"), "{error:#}");
}

#[tokio::test]
async fn the_admin_port_has_four_paths_and_nothing_else() {
    let script = Arc::new(Script::default());
    let folder = tempfile::tempdir().unwrap();
    let (running, _) = on_disk(folder.path(), &script, |_| {}).await;
    let address = running.endpoints()["admin-compute"];
    for (path, expected) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/startupz", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/config", 404),
    ] {
        assert_eq!(get(address, path).await, expected, "{path}");
    }
    let guard = running.host(Role::Compute).unwrap().ready_guard("a test");
    assert_eq!((get(address, "/livez").await, get(address, "/readyz").await), (200, 503));
    drop(guard);
    assert_eq!(get(address, "/readyz").await, 200);
    running.shutdown().await;
}

async fn get(address: std::net::SocketAddr, path: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn reflected(link: &Link) -> Result<Vec<String>, Status> {
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let requests = tokio_stream::iter([ask(MessageRequest::ListServices(String::new()))]);
    let mut answers =
        ServerReflectionClient::new(link.clone()).server_reflection_info(requests).await?.into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await?.and_then(|answer| answer.message_response)
    else {
        return Ok(Vec::new());
    };
    Ok(list.service.into_iter().map(|service| service.name).collect())
}

#[tokio::test]
async fn reflection_shows_public_methods_and_health_follows_readiness() {
    let script = Arc::new(Script::default());
    let for_role = Arc::clone(&script);
    let suite =
        TestSuite::builder().role(Role::Compute, move |host| Scripted::start(host, Arc::clone(&for_role)));
    let suite = suite.build().await.unwrap();
    let link = suite.link_as("user/dev", Role::Compute);
    assert_eq!(reflected(&link).await.unwrap(), ["sre.compute.v1.Code", "sre.compute.v1.Connectors"]);
    let security = reflected(&suite.link_as("user/dev", Role::Security)).await.unwrap();
    assert!(security.contains(&"sre.security.v1.Account".to_owned()), "{security:?}");
    // Internal methods are not in the set: `ResolvePrincipal` is one.
    let ask = MessageRequest::FileContainingSymbol("sre.security.v1.Account".to_owned());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = ServerReflectionClient::new(suite.link_as("user/dev", Role::Security));
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{answer:?}") };
    let files = files.file_descriptor_proto.iter();
    let files = files.map(|bytes| prost_types::FileDescriptorProto::decode(bytes.as_slice()).unwrap());
    let methods: Vec<String> = files
        .flat_map(|file| file.service)
        .flat_map(|service| service.method)
        .map(|method| method.name().to_owned())
        .collect();
    assert!(
        methods.contains(&"GetSelf".to_owned()) && !methods.contains(&"ResolvePrincipal".to_owned()),
        "{methods:?}"
    );

    let mut health = HealthClient::new(link);
    let check = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "sre.compute.v1.Code"] {
        let answer = health.check(check(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let mut watch = health.watch(check("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let guard = suite.host(Role::Compute).ready_guard("a test");
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    drop(guard);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn production_has_no_reflection() {
    let script = Arc::new(Script::default());
    let suite = TestSuite::builder().config(|config| config.profile = crate::Profile::Production);
    let suite = suite.role(Role::Compute, move |host| Scripted::start(host, Arc::clone(&script)));
    let suite = suite.build().await.unwrap();
    let status = reflected(&suite.link_as("user/dev", Role::Compute)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}
