use std::sync::Arc;
use std::time::{Duration, Instant};

use sre_proto::compute::v1::ExecuteCodeRequest;
use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::error::reason;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_proto::llm::v1::{GenerateRequest, GenerateStreamRequest};
use sre_proto::types::v1::Reason;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::Link;
use crate::Role;
use crate::testing::TestSuite;
use crate::testing::scripted::{Script, Scripted, Streaming};

/// Where the calls of a test go.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Local,
    Remote,
}

struct Setup {
    suite: TestSuite,
    /// The calling side of a remote test: another process, as far as links can tell.
    caller: Option<TestSuite>,
    script: Arc<Script>,
}

impl Setup {
    async fn new(way: Way, config: impl Fn(&mut crate::Config)) -> Self {
        let script = Arc::new(Script::default());
        let (unary, streaming) = (Arc::clone(&script), Arc::clone(&script));
        let mut builder = TestSuite::builder()
            .role(Role::Compute, move |host| Scripted::start(host, Arc::clone(&unary)))
            .role(Role::Llm, move |host| Streaming::start(host, Arc::clone(&streaming)))
            .config(&config);
        if way == Way::Remote {
            builder = builder.listen();
        }
        let suite = builder.build().await.unwrap();
        let caller = match way {
            Way::Local => None,
            Way::Remote => {
                let endpoints = suite.running().endpoints();
                let caller = TestSuite::builder()
                    .config(|config| {
                        for role in [Role::Compute, Role::Llm] {
                            let address = endpoints[role.name()].to_string();
                            config.endpoints.0.insert(role, vec![address]);
                        }
                    })
                    .build();
                Some(caller.await.unwrap())
            }
        };
        Self { suite, caller, script }
    }

    fn link(&self, role: Role) -> Link {
        match &self.caller {
            None => self.suite.link_as("user/dev", role),
            Some(caller) => Link::new(caller.running().process(), &self.suite.identity("user/dev"), role),
        }
    }

    async fn run(&self, source: &str) -> Result<String, Status> {
        run(&self.link(Role::Compute), request(source)).await
    }
}

fn request(source: &str) -> Request<ExecuteCodeRequest> {
    let parent = "teams/default/agents/helper".to_owned();
    Request::new(ExecuteCodeRequest { parent, source: source.to_owned(), ..Default::default() })
}

async fn run(link: &Link, request: Request<ExecuteCodeRequest>) -> Result<String, Status> {
    let answer = CodeClient::new(link.clone()).execute_code(request).await?.into_inner();
    Ok(String::from_utf8(answer.result_json.to_vec()).unwrap())
}

#[tokio::test]
async fn both_ways_carry_the_callers_identity() {
    for way in [Way::Local, Way::Remote] {
        let setup = Setup::new(way, |_| {}).await;
        assert_eq!(setup.run("who").await.unwrap(), "spiffe://sre.local/user/dev user/dev");
        let token =
            setup.suite.token("user/dev", Role::Engine, Role::Compute, &["sre.compute.v1.Code:write"]);
        let engine = match &setup.caller {
            None => setup.suite.link_as("service/engine", Role::Compute),
            Some(caller) => {
                Link::new(caller.running().process(), &setup.suite.identity("service/engine"), Role::Compute)
            }
        };
        let acting = run(&engine.with_jwt(&token), request("who")).await.unwrap();
        assert_eq!(acting, "spiffe://sre.local/service/engine user/dev");
        let bare = run(&engine, request("who")).await.unwrap_err();
        assert_eq!((bare.code(), reason(&bare)), (Code::Unauthenticated, Some(Reason::CredentialsMissing)));
    }
}

#[tokio::test]
async fn a_deadline_is_enforced_and_handed_on() {
    for way in [Way::Local, Way::Remote] {
        let setup = Setup::new(way, |_| {}).await;
        let mut hanging = request("hang");
        hanging.set_timeout(Duration::from_millis(50));
        let status = run(&setup.link(Role::Compute), hanging).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let mut asking = request("left");
        asking.set_timeout(Duration::from_secs(9));
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let parent = format!("00-{trace}-b7ad6b7169203331-01");
        asking.metadata_mut().insert("traceparent", parent.parse().unwrap());
        let answer = run(&setup.link(Role::Compute), asking).await.unwrap();
        let (left, seen) = answer.split_once(' ').unwrap();
        assert!((5_000..=9_000).contains(&left.parse::<u64>().unwrap()), "{left}");
        assert_eq!(seen, trace);
        let answer = setup.run("left").await.unwrap();
        let left: u64 = answer.split_once(' ').unwrap().0.parse().unwrap();
        // What code may take, and the default of other calls.
        assert!((80_000..=90_000).contains(&left), "the default deadline applies: {left}");
    }
}

#[tokio::test]
async fn a_call_within_a_call_gets_what_is_left_of_its_deadline() {
    let setup = Setup::new(Way::Local, |_| {}).await;
    let link = setup.link(Role::Compute);
    let deadline = Some(tokio::time::Instant::now() + Duration::from_secs(3));
    let context = crate::context::CallContext { deadline, ..Default::default() };
    let answer = context.scope(run(&link, request("left"))).await.unwrap();
    let left: u64 = answer.split_once(' ').unwrap().0.parse().unwrap();
    assert!(left <= 3_000, "{left}");
}

#[tokio::test]
async fn a_panic_is_an_internal_error_of_that_call_alone() {
    for way in [Way::Local, Way::Remote] {
        let setup = Setup::new(way, |_| {}).await;
        let status = setup.run("panic").await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::Internal, Some(Reason::Internal)));
        assert!(!status.message().contains("as told"), "{}", status.message());
        assert_eq!(setup.run("fine").await.unwrap(), "fine");
    }
}

#[tokio::test]
async fn the_excess_is_refused_as_overloaded() {
    for way in [Way::Local, Way::Remote] {
        let setup = Setup::new(way, |config| {
            config.limits.max_concurrent_by_role.insert(Role::Compute, 1);
        })
        .await;
        let link = setup.link(Role::Compute);
        let waiting = crate::task::spawn("waiting", async move { run(&link, request("wait")).await });
        setup.script.entered.notified().await;
        let status = setup.run("one too many").await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::ResourceExhausted, Some(Reason::Overloaded)));
        setup.script.go.notify_one();
        assert_eq!(waiting.await.unwrap().unwrap(), "waited");
        assert_eq!(setup.run("again").await.unwrap(), "again");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let setup = Setup::new(Way::Remote, |config| config.limits.max_message_bytes = 1_000).await;
    let status = setup.run(&"x".repeat(2_000)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::ResourceExhausted, Some(Reason::TooLarge)));
}

#[tokio::test]
async fn streams_have_no_deadline_unless_asked() {
    for way in [Way::Local, Way::Remote] {
        let setup = Setup::new(way, |config| config.deadlines.default_ms = 40).await;
        let mut client = InferenceClient::new(setup.link(Role::Llm));
        let ask = |model: &str| {
            let inner = GenerateRequest { model: model.to_owned(), ..Default::default() };
            Request::new(GenerateStreamRequest { request: Some(inner) })
        };
        let mut stream = client.generate_stream(ask("patient")).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        let mut bounded = ask("endless");
        bounded.set_timeout(Duration::from_millis(60));
        let mut cut = client.generate_stream(bounded).await.unwrap().into_inner();
        assert!(cut.message().await.unwrap().is_some());
        assert_eq!(cut.message().await.unwrap_err().code(), Code::DeadlineExceeded);
        // By now the patient one has outlived the default deadline.
        setup.script.go.notify_one();
        assert!(stream.message().await.unwrap().is_some());
        assert!(stream.message().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_server_with_another_identity_is_refused() {
    let setup = Setup::new(Way::Remote, |_| {}).await;
    let llm = setup.suite.running().endpoints()["llm"].to_string();
    let liar = TestSuite::builder()
        .config(|config| {
            config.endpoints.0.insert(Role::Compute, vec![llm.clone()]);
        })
        .build()
        .await
        .unwrap();
    let link = Link::new(liar.running().process(), &setup.suite.identity("user/dev"), Role::Compute);
    let status = run(&link, request("who")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, Some(Reason::RoleUnavailable)));
    assert!(status.message().contains("service/llm"), "{}", status.message());
}

#[tokio::test]
async fn several_instances_share_the_calls_and_one_that_goes_is_not_missed() {
    let instance = |builder: crate::testing::Builder| {
        let builder = builder.role(Role::Compute, |host| Scripted::start(host, Arc::default()));
        builder.listen().build()
    };
    let first = instance(TestSuite::builder()).await.unwrap();
    let second = instance(TestSuite::builder().authority_of(&first)).await.unwrap();
    let mut config = crate::Config::default();
    let address = |suite: &TestSuite| suite.running().endpoints()["compute"].to_string();
    config.endpoints.0.insert(Role::Compute, vec![address(&first), address(&second)]);
    let link = Link::client(config.shared(), &first.identity("user/dev"), Role::Compute);
    let mut seen = std::collections::BTreeSet::new();
    // Connections beside the first open in the background: calls find them one by one.
    while seen.len() < 2 {
        seen.insert(run(&link, request("where")).await.unwrap());
    }
    let left = format!("{:?}", Some(first.running().endpoints()["compute"]));
    assert!(second.stop().await);
    for _ in 0..50 {
        assert_eq!(run(&link, request("where")).await.unwrap(), left);
    }
}

#[tokio::test]
async fn connections_that_are_old_are_replaced_without_failing_calls() {
    let setup = Setup::new(Way::Remote, |config| config.deadlines.connection_age_ms = 5).await;
    let link = setup.link(Role::Compute);
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(300) {
        assert_eq!(run(&link, request("fine")).await.unwrap(), "fine");
    }
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused_in_the_handshake() {
    let setup = Setup::new(Way::Remote, |_| {}).await;
    let caller = setup.caller.as_ref().unwrap();
    // The caller's suite has an authority of its own.
    let link = caller.link_as("user/dev", Role::Compute);
    let status = run(&link, request("who")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_dead_role_is_named_within_a_second() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap().to_string();
    drop(listener);
    let suite = TestSuite::builder()
        .config(|config| {
            config.endpoints.0.insert(Role::Compute, vec![closed.clone()]);
        })
        .build()
        .await
        .unwrap();
    for (role, address) in [(Role::Compute, closed.as_str()), (Role::Llm, "")] {
        let started = Instant::now();
        let status = run(&suite.link_as("user/dev", role), request("who")).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!((status.code(), reason(&status)), (Code::Unavailable, Some(Reason::RoleUnavailable)));
        assert!(status.message().contains(&format!("role {role}")) && status.message().contains(address));
        let details = status.get_details_error_info().unwrap();
        assert_eq!(details.metadata["role"], role.name());
    }
}

/// A machine that is too busy for a handshake within the wait for a role that is away is no role that is away.
#[tokio::test]
async fn a_slow_handshake_is_waited_for() {
    let setup = Setup::new(Way::Remote, |_| {}).await;
    let there = setup.suite.running().endpoints()["compute"];
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = slow.local_addr().unwrap().to_string();
    let relay = crate::task::spawn("slow relay", async move {
        let (mut near, _) = slow.accept().await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut far = tokio::net::TcpStream::connect(there).await.unwrap();
        tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
    });
    let mut config = crate::Config::default();
    config.endpoints.0.insert(Role::Compute, vec![address]);
    config.deadlines.unavailable_ms = 50;
    config.deadlines.connect_ms = 900;
    let link = Link::client(config.shared(), &setup.suite.identity("user/dev"), Role::Compute);
    assert_eq!(run(&link, request("fine")).await.unwrap(), "fine");
    relay.abort();
}

#[tokio::test]
async fn a_restarted_role_is_found_at_the_address_it_had() {
    let script = Arc::new(Script::default());
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let script = Arc::clone(&script);
        let role =
            crate::RoleStart::new(Role::Compute, move |host| Scripted::start(host, Arc::clone(&script)));
        let mut config = crate::Config::in_dir(folder.path());
        config.admin.enabled = false;
        config.deadlines.drain_ms = 1_000;
        crate::run(vec![role], config)
    };
    let first = start().await.unwrap();
    let address = first.endpoints()["compute"];
    // Another process of the same data folder: it finds the role by the run file.
    let config = crate::Config::in_dir(folder.path()).shared();
    let identities = crate::first_start::Identities::new(&config);
    identities.issue_to_files(&"service/engine".parse().unwrap()).unwrap();
    let engine = identities.load(Role::Engine).unwrap();
    let link = Link::client(config, &engine, Role::Compute);
    let alive = run(&link, request("who")).await.unwrap_err();
    assert_eq!(alive.code(), Code::Unauthenticated, "the role answers: {alive:?}");
    first.shutdown().await;
    let dead = run(&link, request("who")).await.unwrap_err();
    assert_eq!(reason(&dead), Some(Reason::RoleUnavailable));
    let second = start().await.unwrap();
    assert_eq!(second.endpoints()["compute"], address);
    let again = run(&link, request("who")).await.unwrap_err();
    assert_eq!(again.code(), Code::Unauthenticated, "{again:?}");
    second.shutdown().await;
}
