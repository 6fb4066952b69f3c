//! Deployments in accounts of agents' own, at a server that answers as AWS Lambda's reference says. It runs no
//! function: it tells by whose keys it was called.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::compute::v1::execution_event::Event;
use sre_proto::compute::v1::*;
use sre_proto::error::{Reason, reason};
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::{Code, Status};

use super::support::program;

const CODE: &str = "teams/red/agents/helper/code/greeter";

/// Functions by the key that made them and their name.
type Functions = Arc<Mutex<BTreeMap<(String, String), Value>>>;

/// The id of the key that signed a call, where it is one of ours.
fn signer(headers: &HeaderMap) -> Option<String> {
    let signed = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = signed.strip_prefix("AWS4-HMAC-SHA256 Credential=").and_then(|rest| rest.split('/').next());
    match key {
        Some(key @ ("AKIDONE" | "AKIDTWO")) if signed.contains("/eu-central-1/lambda/aws4_request") => {
            Some(key.to_owned())
        }
        _ => None,
    }
}

fn refused(status: u16, message: &str) -> Response {
    let body = json!({"Type": "User", "message": message}).to_string();
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

async fn create(State(functions): State<Functions>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(key) = signer(&headers) else {
        return refused(403, "The security token included in the request is invalid.");
    };
    let function: Value = serde_json::from_slice(&body).unwrap();
    let name = function["FunctionName"].as_str().unwrap().to_owned();
    let mut functions = functions.lock();
    if functions.contains_key(&(key.clone(), name.clone())) {
        return refused(409, "Function already exist");
    }
    functions.insert((key, name), function.clone());
    (StatusCode::CREATED, function.to_string()).into_response()
}

async fn configuration(
    State(functions): State<Functions>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(key) = signer(&headers) else { return refused(403, "no") };
    match functions.lock().get(&(key, name)) {
        Some(function) => {
            let mut function = function.clone();
            function["State"] = "Active".into();
            function.to_string().into_response()
        }
        None => refused(404, "Function not found"),
    }
}

async fn invoke(
    State(functions): State<Functions>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(key) = signer(&headers) else { return refused(403, "no") };
    let arguments: Value = serde_json::from_slice(&body).unwrap();
    let Some(function) = functions.lock().get(&(key.clone(), name)).cloned() else {
        return refused(404, "Function not found");
    };
    json!({"result": {"by": key, "role": function["Role"], "got": arguments}}).to_string().into_response()
}

async fn remove(
    State(functions): State<Functions>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(key) = signer(&headers) else { return refused(403, "no") };
    match functions.lock().remove(&(key, name)) {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => refused(404, "Function not found"),
    }
}

struct World {
    suite: TestSuite,
    functions: Functions,
}

async fn world() -> World {
    let functions = Functions::default();
    let routes = Router::new()
        .route("/2015-03-31/functions", post(create))
        .route("/2015-03-31/functions/{name}", delete(remove))
        .route("/2015-03-31/functions/{name}/configuration", get(configuration).put(configuration))
        .route("/2015-03-31/functions/{name}/invocations", post(invoke))
        .with_state(functions.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(sre_service::task::spawn(
        "fake lambda",
        async move { axum::serve(listener, routes).await.unwrap() },
    ));
    let suite = TestSuite::builder()
        .role(Role::Compute, sre_compute::start)
        .member("agent/helper", "red", TeamRole::Member)
        .config(move |config| {
            config.compute.worker = Some(program());
            config.compute.lambda_endpoint = endpoint;
        })
        .build()
        .await
        .unwrap();
    World { suite, functions }
}

fn account(key: &str) -> CloudAccount {
    CloudAccount {
        access_key_id: key.into(),
        secret_access_key: format!("secret of {key}"),
        region: "eu-central-1".into(),
        role: "arn:aws:iam::123456789012:role/own".into(),
    }
}

impl World {
    fn helper(&self) -> CodeClient<Link> {
        CodeClient::new(self.suite.link_as("agent/helper", Role::Compute))
    }

    async fn deploy(&self, account: CloudAccount) -> Result<CodeDeployment, Status> {
        let source = "async function main(x) { return x }";
        let prepare =
            PrepareCodeRequest { name: CODE.into(), source: source.into(), ..PrepareCodeRequest::default() };
        let prepared = self.helper().prepare_code(prepare).await?.into_inner();
        let deploy = DeployCodeRequest {
            name: CODE.into(),
            revision: prepared.name.rsplit('/').next().unwrap().into(),
            account: Some(account),
            ..DeployCodeRequest::default()
        };
        Ok(self.helper().deploy_code(deploy).await?.into_inner())
    }

    async fn execute(
        &self,
        name: &str,
        account: Option<CloudAccount>,
    ) -> Result<ExecuteCodeResponse, Status> {
        let request = ExecuteDeploymentRequest {
            name: name.into(),
            arguments_json: r#"{"x":1}"#.into(),
            account,
            ..ExecuteDeploymentRequest::default()
        };
        let mut events = self.helper().execute_deployment(request).await?.into_inner();
        match events.message().await?.unwrap().event.unwrap() {
            Event::Result(result) => Ok(result),
            Event::Log(line) => panic!("{line:?}"),
        }
    }

    async fn delete(&self, name: &str, account: Option<CloudAccount>) -> Result<(), Status> {
        let request = DeleteDeploymentRequest { name: name.into(), account };
        self.helper().delete_deployment(request).await.map(|_| ())
    }
}

#[tokio::test]
async fn code_runs_in_the_account_whose_keys_come_with_the_call() {
    let world = world().await;
    let deployed = world.deploy(account("AKIDONE")).await.unwrap();
    assert!(deployed.instance.starts_with("account:") && !deployed.instance.contains("AKID"), "{deployed:?}");
    let ran = world.execute(&deployed.name, Some(account("AKIDONE"))).await.unwrap();
    let result: Value = serde_json::from_slice(&ran.result_json).unwrap();
    let role = "arn:aws:iam::123456789012:role/own";
    assert_eq!(result, json!({"by": "AKIDONE", "role": role, "got": {"x": 1}}));
    assert_eq!(ran.cost_micros, 0, "the agent pays by itself");
    // Without its keys, or with another's, it does not run anywhere.
    for other in [None, Some(account("AKIDTWO"))] {
        let refused = world.execute(&deployed.name, other).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused)),
            (Code::FailedPrecondition, Some(Reason::ProviderFailed))
        );
        assert!(refused.message().contains("account of the agent's own"), "{refused}");
    }
    // Deployed to another account, it runs there.
    let moved = world.deploy(account("AKIDTWO")).await.unwrap();
    assert_eq!(moved.name, deployed.name);
    let ran = world.execute(&moved.name, Some(account("AKIDTWO"))).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&ran.result_json).unwrap()["by"], "AKIDTWO");
    // The function goes with its deployment where the keys are given, and stays where they are not.
    world.delete(&moved.name, Some(account("AKIDTWO"))).await.unwrap();
    let left: Vec<String> = world.functions.lock().keys().map(|(key, _)| key.clone()).collect();
    assert_eq!(left, ["AKIDONE"]);
    let again = world.deploy(account("AKIDONE")).await.unwrap();
    world.delete(&again.name, None).await.unwrap();
    assert_eq!(world.functions.lock().len(), 1);
    assert_eq!(
        world.execute(&again.name, Some(account("AKIDONE"))).await.unwrap_err().code(),
        Code::NotFound
    );
    assert!(world.suite.stop().await);
}

#[tokio::test]
async fn what_is_wrong_with_an_account_is_said_to_whose_it_is() {
    let world = world().await;
    let refused = world.deploy(account("AKIDNOBODY")).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::ProviderFailed));
    assert!(refused.message().contains("403") && refused.message().contains("security token"), "{refused}");
    for (change, word) in [
        (CloudAccount { region: String::new(), ..account("AKIDONE") }, "account.region"),
        (
            CloudAccount { secret_access_key: String::new(), ..account("AKIDONE") },
            "account.secret_access_key",
        ),
        (CloudAccount { region: "evil.example/".into(), ..account("AKIDONE") }, "region is none"),
        (CloudAccount { role: "own".into(), ..account("AKIDONE") }, "role is no ARN"),
    ] {
        let refused = world.deploy(change).await.unwrap_err();
        assert!(refused.message().contains(word), "{refused}");
        assert!(!refused.message().contains("secret of"), "{refused}");
    }
    assert!(world.functions.lock().is_empty());
    assert!(world.suite.stop().await);
}
