//! Code over the wire.

use prost_types::Duration;
use serde_json::{Value, json};
use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::compute::v1::execution_event::Event;
use sre_proto::compute::v1::*;
use sre_proto::error::{Reason, reason};
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::support::program;

const PARENT: &str = "teams/red/agents/helper";
const CODE: &str = "teams/red/agents/helper/code/greeter";

async fn suite() -> TestSuite {
    TestSuite::builder()
        .role(Role::Compute, sre_compute::start)
        .member("agent/helper", "red", TeamRole::Member)
        .member("user/alice", "red", TeamRole::Member)
        .member("user/boss", "red", TeamRole::Admin)
        .member("agent/other", "blue", TeamRole::Member)
        .config(|config| config.compute.worker = Some(program()))
        .build()
        .await
        .unwrap()
}

fn client(suite: &TestSuite, who: &str) -> CodeClient<Link> {
    CodeClient::new(suite.link_as(who, Role::Compute))
}

fn once(source: &str, arguments: Value) -> ExecuteCodeRequest {
    ExecuteCodeRequest {
        parent: PARENT.to_owned(),
        source: source.to_owned(),
        arguments_json: arguments.to_string().into(),
        ..ExecuteCodeRequest::default()
    }
}

fn limit(status: &Status) -> Option<String> {
    assert_eq!((status.code(), reason(status)), (Code::ResourceExhausted, Some(Reason::LimitExceeded)));
    status.get_details_error_info()?.metadata.remove("limit")
}

#[tokio::test]
async fn only_who_may_run_code_runs_it() {
    let suite = suite().await;
    let execute = async |who: &str| {
        let done =
            client(&suite, who).execute_code(once("async function main() { return 1 }", json!({}))).await;
        done.map(|done| done.into_inner().result_json).map_err(|status| (status.code(), reason(&status)))
    };
    assert_eq!(execute("agent/helper").await.as_deref(), Ok(&b"1"[..]));
    assert_eq!(execute("user/boss").await.as_deref(), Ok(&b"1"[..]));
    for who in ["user/alice", "agent/other", "user/stranger"] {
        assert_eq!(execute(who).await, Err((Code::PermissionDenied, Some(Reason::AclDenied))), "{who}");
    }
    assert_eq!(
        execute("service/engine").await,
        Err((Code::Unauthenticated, Some(Reason::CredentialsMissing)))
    );
    let records = suite.audit_records().await;
    assert_eq!(records.iter().filter(|record| record.method.ends_with("/ExecuteCode")).count(), 6);
    assert!(suite.stop().await);
}

#[tokio::test]
async fn what_is_wrong_has_its_words_and_its_name() {
    let suite = suite().await;
    let helper = client(&suite, "agent/helper");
    let run = async |request: ExecuteCodeRequest| helper.clone().execute_code(request).await;
    for (source, message) in [
        ("const x = 1", "No main function found at root level"),
        ("function main() {}", "Main function exists but is not async"),
    ] {
        let status = run(once(source, json!({}))).await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, Some(Reason::CodeInvalid)));
        assert_eq!(status.message(), message);
    }
    let status = run(once("async function main( {", json!({}))).await.unwrap_err();
    assert!(status.message().starts_with("Failed to parse code: "), "{}", status.message());

    let thrown =
        run(once("async function main(x) { throw new TypeError('no ' + x) }", json!({"x": 1}))).await;
    let thrown = thrown.unwrap().into_inner();
    let error = thrown.error.unwrap();
    assert_eq!((error.name.as_str(), error.message.as_str()), ("TypeError", "no 1"));
    assert!(thrown.result_json.is_empty() && error.stack.contains("main"), "{}", error.stack);

    let hang = once("async function main() { for (;;); }", json!({}));
    let seconds = |seconds| Some(Duration { seconds, nanos: 0 });
    let short = |wall, cpu| Some(CodeLimits { wall, cpu, ..CodeLimits::default() });
    for (limits, name) in [(short(seconds(1), None), "wall"), (short(seconds(40), seconds(1)), "cpu")] {
        let status = run(ExecuteCodeRequest { limits, ..hang.clone() }).await.unwrap_err();
        assert_eq!(limit(&status).as_deref(), Some(name));
    }
    let timeout = ExecuteCodeRequest { timeout: seconds(1), ..hang.clone() };
    assert_eq!(limit(&run(timeout).await.unwrap_err()).as_deref(), Some("wall"));
    let large = once("async function main() { return 'x'.repeat(2 ** 21) }", json!({}));
    assert_eq!(limit(&run(large).await.unwrap_err()).as_deref(), Some("result"));
    let beyond = ExecuteCodeRequest { limits: short(seconds(61), None), ..hang.clone() };
    assert_eq!(run(beyond).await.unwrap_err().code(), Code::InvalidArgument);
    let wrong = ExecuteCodeRequest { arguments_json: "[1]".into(), ..hang };
    assert_eq!(run(wrong).await.unwrap_err().code(), Code::InvalidArgument);

    let logs = "async function main() { console.warn('a', 1); return undefined }";
    let done = run(once(logs, json!({}))).await.unwrap().into_inner();
    assert_eq!(done.logs, [CodeLogLine { level: "warn".to_owned(), text: "a 1".to_owned() }]);
    assert!(done.result_json.is_empty() && done.error.is_none());
    assert!(suite.stop().await);
}

async fn run_deployment(
    client: &CodeClient<Link>,
    name: &str,
    arguments: Value,
) -> Result<Vec<Event>, Status> {
    let request = ExecuteDeploymentRequest {
        name: name.to_owned(),
        arguments_json: arguments.to_string().into(),
        ..ExecuteDeploymentRequest::default()
    };
    let mut events = client.clone().execute_deployment(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(event) = events.message().await? {
        all.push(event.event.unwrap());
    }
    Ok(all)
}

#[tokio::test]
async fn code_is_prepared_deployed_run_and_deleted() {
    let suite = suite().await;
    let mut helper = client(&suite, "agent/helper");
    let source = "import x from 'left-pad'; async function main(name, {a}, [b]) {}";
    let prepared = helper
        .prepare_code(PrepareCodeRequest {
            name: CODE.to_owned(),
            source: source.to_owned(),
            ..PrepareCodeRequest::default()
        })
        .await;
    let revision = prepared.unwrap().into_inner();
    assert_eq!(revision.parameters, ["name", "[object]", "[array]"]);
    assert_eq!(revision.dependencies, ["left-pad"]);
    assert_eq!(revision.warnings.len(), 2);
    let bad = PrepareCodeRequest {
        name: CODE.to_owned(),
        source: "function main() {}".to_owned(),
        ..PrepareCodeRequest::default()
    };
    let status = helper.prepare_code(bad).await.unwrap_err();
    assert_eq!(status.message(), "Main function exists but is not async");

    let source =
        "async function main(name) { console.log('for', name); return `Hello, ${name}!` }".to_owned();
    let prepare =
        PrepareCodeRequest { name: CODE.to_owned(), source: source.clone(), ..PrepareCodeRequest::default() };
    let first = helper.prepare_code(prepare.clone()).await.unwrap().into_inner();
    let again = helper.prepare_code(prepare).await.unwrap().into_inner();
    assert_eq!(first, again, "the same source is the same revision");
    let digest = first.name.strip_prefix(&format!("{CODE}/revisions/")).unwrap().to_owned();
    assert_eq!(digest.len(), 64);

    let deploy = |revision: &str| DeployCodeRequest {
        name: CODE.to_owned(),
        revision: revision.to_owned(),
        limits: Some(CodeLimits { heap_bytes: 32 << 20, ..CodeLimits::default() }),
        http_hosts: vec!["api.example.com".to_owned()],
        ..DeployCodeRequest::default()
    };
    assert_eq!(helper.deploy_code(deploy(&"0".repeat(64))).await.unwrap_err().code(), Code::NotFound);
    let deployment = helper.deploy_code(deploy(&digest)).await.unwrap().into_inner();
    assert_eq!(deployment.revision, first.name);
    let get = GetDeploymentRequest { name: deployment.name.clone() };
    let found = helper.get_deployment(get.clone()).await.unwrap().into_inner();
    assert_eq!(found, deployment);
    assert_eq!((found.limits.unwrap().heap_bytes, found.last_use_time), (32 << 20, None));
    let list = ListDeploymentsRequest { parent: CODE.to_owned(), ..ListDeploymentsRequest::default() };
    let listed = helper.list_deployments(list.clone()).await.unwrap().into_inner();
    assert_eq!((listed.deployments.len(), listed.next_page_token.as_str()), (1, ""));

    let events = run_deployment(&helper, &deployment.name, json!({"name": "World"})).await.unwrap();
    let [Event::Log(line), Event::Result(result)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((line.level.as_str(), line.text.as_str()), ("log", "for World"));
    assert_eq!(&result.result_json[..], b"\"Hello, World!\"");
    assert!(result.logs.is_empty() && result.wall_time.is_some());
    assert!(helper.get_deployment(get.clone()).await.unwrap().into_inner().last_use_time.is_some());

    let delete = DeleteDeploymentRequest { name: deployment.name.clone(), ..Default::default() };
    helper.delete_deployment(delete.clone()).await.unwrap();
    assert_eq!(helper.delete_deployment(delete).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(helper.get_deployment(get).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(
        run_deployment(&helper, &deployment.name, json!({})).await.unwrap_err().code(),
        Code::NotFound
    );
    let records = suite.audit_records().await;
    let of = |method: &str| records.iter().filter(|record| record.method.ends_with(method)).count();
    assert!(of("/PrepareCode") >= 3 && of("/DeployCode") >= 1 && of("/ExecuteDeployment") >= 1);
    assert_eq!(of("/DeleteDeployment"), 2);
    assert!(suite.stop().await);
}

#[tokio::test]
async fn its_list_says_who_may_run_it() {
    let suite = suite().await;
    let (mut helper, mut alice) = (client(&suite, "agent/helper"), client(&suite, "user/alice"));
    let source = "async function main() { return 1 }".to_owned();
    let prepare = PrepareCodeRequest { name: CODE.to_owned(), source, ..PrepareCodeRequest::default() };
    let denied = alice.prepare_code(prepare.clone()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let revision = helper.prepare_code(prepare.clone()).await.unwrap().into_inner();
    let revision = revision.name.rsplit('/').next().unwrap().to_owned();
    let deploy = DeployCodeRequest { name: CODE.to_owned(), revision, ..DeployCodeRequest::default() };
    let deployment = helper.deploy_code(deploy.clone()).await.unwrap().into_inner();
    let refused = run_deployment(&alice, &deployment.name, json!({})).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    let mut acl =
        helper.get_code_acl(GetCodeAclRequest { name: CODE.to_owned() }).await.unwrap().into_inner();
    let mut shared = sre_identity::Acl::try_from(&acl).unwrap();
    shared.grant(&sre_identity::Candidate::user("alice").unwrap(), &[sre_identity::Level::Read]).unwrap();
    acl = sre_proto::types::v1::Acl { etag: acl.etag, ..sre_proto::types::v1::Acl::from(&shared) };
    let set = SetCodeAclRequest { name: CODE.to_owned(), acl: Some(acl) };
    helper.set_code_acl(set.clone()).await.unwrap();
    assert_eq!(helper.set_code_acl(set).await.unwrap_err().code(), Code::Aborted, "made over an older list");
    assert_eq!(run_deployment(&alice, &deployment.name, json!({})).await.unwrap().len(), 1);
    // To run it is not to change it.
    assert_eq!(alice.deploy_code(deploy).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(alice.prepare_code(prepare).await.unwrap_err().code(), Code::PermissionDenied);
    assert!(suite.stop().await);
}

#[tokio::test]
async fn without_a_sandbox_the_role_does_not_start_unless_it_is_told_to() {
    let build = async |enabled: bool| {
        TestSuite::builder()
            .role(Role::Compute, sre_compute::start)
            .member("agent/helper", "red", TeamRole::Member)
            .config(move |config| {
                config.compute.worker = Some("/bin/true".into());
                config.compute.enabled = enabled;
            })
            .build()
            .await
    };
    let refused = format!("{:#}", build(true).await.err().unwrap());
    assert!(refused.contains("the sandbox for code cannot start"), "{refused}");
    let suite = build(false).await.unwrap();
    let status = client(&suite, "agent/helper").execute_code(once("x", json!({}))).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::FailedPrecondition, Some(Reason::FeatureDisabled)));
    assert!(suite.stop().await);
}
