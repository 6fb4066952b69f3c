//! What code reaches of the network: the hosts of its call, within the deployment's policy.

use axum::Router;
use axum::http::HeaderMap;
use axum::response::Redirect;
use axum::routing::{get, post};
use serde_json::{Value, json};
use sre_proto::compute::v1::ExecuteCodeRequest;
use sre_proto::compute::v1::code_client::CodeClient;
use sre_service::Role;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;

use super::support::program;

async fn serve() -> String {
    let routes = Router::new()
        .route(
            "/echo",
            post(|headers: HeaderMap, body: String| async move {
                let given = headers.get("x-given").map(|value| value.to_str().unwrap().to_owned());
                axum::Json(json!({"body": body, "given": given}))
            }),
        )
        .route("/away", get(|| async { Redirect::temporary("http://127.0.0.1:1/secret") }))
        .route("/large", get(|| async { "x".repeat(2 << 20) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(sre_service::task::spawn("server", async move { axum::serve(listener, routes).await.unwrap() }));
    address
}

#[tokio::test]
async fn code_reaches_what_is_named_and_allowed_and_nothing_else() {
    let (here, other) = (serve().await, serve().await);
    let allow = here.clone();
    let suite = TestSuite::builder()
        .role(Role::Compute, sre_compute::start)
        .member("agent/helper", "red", TeamRole::Member)
        .config(move |config| {
            config.compute.worker = Some(program());
            config.egress.allow = vec![allow];
        })
        .build()
        .await
        .unwrap();
    let client = CodeClient::new(suite.link_as("agent/helper", Role::Compute));
    let run = async |body: &str, hosts: &[&String]| -> Result<Value, String> {
        let request = ExecuteCodeRequest {
            parent: "teams/red/agents/helper".to_owned(),
            source: format!("async function main(here, other) {{ {body} }}"),
            arguments_json: json!({"here": here, "other": other}).to_string().into(),
            http_hosts: hosts.iter().map(|host| (*host).clone()).collect(),
            ..ExecuteCodeRequest::default()
        };
        let answer = client.clone().execute_code(request).await.unwrap().into_inner();
        match answer.error {
            Some(error) => Err(format!("{}: {}", error.name, error.message)),
            None => Ok(serde_json::from_slice(&answer.result_json).unwrap()),
        }
    };
    let post = "const answer = await fetch(`http://${here}/echo`, {method: 'POST', body: 'b', headers: {'X-Given': 'g'}});
        return [answer.status, answer.ok, answer.headers.get('content-type'), await answer.json()]";
    let given = json!([200, true, "application/json", {"body": "b", "given": "g"}]);
    assert_eq!(run(post, &[&here]).await, Ok(given));
    assert_eq!(run("return typeof fetch", &[]).await, Ok(json!("undefined")));
    // Not named for the call.
    let elsewhere = run("return (await fetch(`http://${other}/echo`)).status", &[&here]).await.unwrap_err();
    assert!(elsewhere.starts_with("TypeError: 127.0.0.1 is not among the hosts"), "{elsewhere}");
    // Named, and not within the policy.
    let refused = run("return (await fetch(`http://${other}/echo`)).status", &[&other]).await.unwrap_err();
    assert!(refused.contains("not allowed by the egress policy"), "{refused}");
    // A way to elsewhere is told, not followed.
    let away = "const answer = await fetch(`http://${here}/away`); return [answer.status, answer.headers.get('location')]";
    assert_eq!(run(away, &[&here]).await, Ok(json!([307, "http://127.0.0.1:1/secret"])));
    let large = run("return (await (await fetch(`http://${here}/large`)).text()).length", &[&here])
        .await
        .unwrap_err();
    assert!(large.contains("exceeded"), "{large}");
    let scheme = run("return (await fetch('file:///etc/passwd')).status", &[&here]).await.unwrap_err();
    assert!(scheme.starts_with("TypeError: "), "{scheme}");
    assert!(suite.stop().await);
}
