//! The header protocol of the reference, over `RunSkill` with a raw request.

use serde_json::{Value, json};
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::gateway::v1::{RawRequest, RunSkillRequest, RunSkillResponse, run_skill_request};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::documents::{component, document, endpoint, post};
use super::world::{World, at};

async fn agent(world: &World) -> String {
    let agent = document(
        "debugged",
        vec![
            endpoint(),
            post("A", &world.server.url("/a"), json!({})),
            component("B", "APIOutput", json!({"format": "minimal"}), &["v"], &["Output"]),
        ],
        &["go.x > A.v", "A.Response > B.v"],
    );
    world.put(&agent).await
}

struct Call<'a> {
    world: &'a World,
    agent: &'a str,
    who: &'a str,
}

impl Call<'_> {
    async fn send(
        &self,
        engine: usize,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Result<RunSkillResponse, Status> {
        let raw = RawRequest {
            method: "POST".into(),
            path: path.into(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body_json: body.to_string().into(),
            ..RawRequest::default()
        };
        let request = RunSkillRequest {
            agent: self.agent.into(),
            call: Some(run_skill_request::Call::Raw(raw)),
            ..RunSkillRequest::default()
        };
        let mut client = RunsClient::new(self.world.running_as(self.agent, self.who));
        Ok(client.run_skill(at(engine, request)).await?.into_inner())
    }

    async fn answer(&self, engine: usize, path: &str, header: (&str, &str), body: Value) -> Value {
        let response = self.send(engine, path, &[header], body).await.unwrap();
        assert_eq!(response.http_status, 200);
        serde_json::from_slice(&response.legacy_json).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_and_steps_run_the_components_one_by_one() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let call = Call { world: &world, agent: &agent, who: "user/dev" };
    let started = call.answer(0, "/api/go", ("X-DEBUG-RUN", ""), json!({"x": "v"})).await;
    let id = started["dbgSession"].as_str().unwrap().to_owned();
    assert!(id.starts_with("dbg-"), "{started}");
    assert_eq!(started["state"][1]["id"], "go");
    assert_eq!(
        (&started["state"][0]["id"], &started["state"][0]["inputs"]),
        (&json!("A"), &json!({"v": "v"}))
    );
    let first = call.answer(1, "/api/", ("X-DEBUG-RUN", &id), json!({})).await;
    assert_eq!((&first["state"][1]["id"], &first["sessionClosed"]), (&json!("A"), &json!(false)));
    let read = call.answer(0, "/api/", ("X-DEBUG-READ", &id), json!({})).await;
    assert_eq!((&read["step"], read["state"]["A"]["active"].as_bool()), (&json!(2), Some(false)));
    let last = call.answer(0, "/api/", ("X-DEBUG-RUN", &id), json!({})).await;
    assert_eq!(last["sessionClosed"], json!(true));
    assert_eq!(last["finalResult"], json!({"v": {"path": "/a", "count": 1}}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_sessions_are_expired_unless_there_is_an_endpoint_to_call() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let call = Call { world: &world, agent: &agent, who: "user/dev" };
    let expired = json!({"state": {"sessionClosed": true}, "dbgSession": null, "expiredDbgSession": "dbg-x",
        "sessionClosed": true, "finalResult": []});
    assert_eq!(call.answer(0, "/api/", ("X-DEBUG-RUN", "dbg-x"), json!({})).await, expired);
    let named = call.answer(0, "/api/go", ("X-DEBUG-RUN", "dbg-x"), json!({"x": 1})).await;
    assert_eq!(named["dbgSession"], "dbg-x");
    // On the endpoint's own path a step calls it again, beside what is next.
    let again = call.answer(1, "/api/go", ("X-DEBUG-RUN", "dbg-x"), json!({"x": 2})).await;
    assert_eq!(again["state"].as_array().unwrap().len(), 2, "{again}");
    let missing = call.send(0, "/api/nope", &[("X-DEBUG-RUN", "dbg-y")], json!({})).await.unwrap_err();
    let metadata = missing.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata["legacy_json"], r#"{"error":"Endpoint POST /api/nope Not Found"}"#);
    let stopped = call.answer(0, "/api/", ("X-DEBUG-STOP", "dbg-x"), json!({})).await;
    assert_eq!(stopped, json!({"sessionClosed": true, "dbgSession": null, "expiredDbgSession": "dbg-x"}));
    assert_eq!(call.answer(0, "/api/", ("X-DEBUG-RUN", "dbg-x"), json!({})).await, expired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_put_into_sessions() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let call = Call { world: &world, agent: &agent, who: "user/dev" };
    let list = json!([{"id": "A", "ctx": {"active": true, "input": {"v": 5},
        "output": {"Response": "INJ"}}}]);
    let injected = call.answer(0, "/api/", ("X-DEBUG-INJ", ""), list.clone()).await;
    let id = injected["dbgSession"].as_str().unwrap().to_owned();
    assert!(id.starts_with("inj-"), "{injected}");
    assert_eq!(injected["state"][0], json!({"id": "B", "name": "APIOutput", "inputs": {"v": "INJ"}}));
    assert_eq!(world.server.count("/a"), 0);
    let again = call.answer(1, "/api/", ("X-DEBUG-INJ", &id), list).await;
    assert_eq!(again["state"][1]["id"], "A");
    for bad in [json!({"id": "A"}), json!([{"id": "NOPE", "ctx": {"active": true}}]), json!([1])] {
        let refused = call.send(0, "/api/", &[("X-DEBUG-INJ", &id)], bad.clone()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mocks_stand_for_executions_of_a_session() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let call = Call { world: &world, agent: &agent, who: "user/dev" };
    call.answer(0, "/api/go", ("X-DEBUG-RUN", "dbg-m"), json!({"x": 1})).await;
    let mocks = json!([{"id": "A", "ctx": {"active": false, "output": {"Response": "MOCK"}}}]);
    let headers = [("X-DEBUG-RUN", "dbg-m"), ("X-MOCK-DATA-INJ", "")];
    let step = call.send(1, "/api/", &headers, mocks).await.unwrap();
    let step: Value = serde_json::from_slice(&step.legacy_json).unwrap();
    assert_eq!(step["state"][0]["inputs"], json!({"v": "MOCK"}));
    assert_eq!(world.server.count("/a"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_told_that_debugging_is_not_supported_and_tags_run_plainly() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let alice = Call { world: &world, agent: &agent, who: "user/alice" };
    let refused = alice.send(0, "/api/go", &[("X-DEBUG-RUN", "")], json!({"x": 1})).await.unwrap_err();
    let metadata = refused.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata["http_status"], "403");
    assert_eq!(metadata["legacy_json"], r#"{"error":"Debug functions are not supported"}"#);
    let headers = [("X-DEBUG-RUN", ""), ("X-REQUEST-TAG", "t")];
    let plain = alice.send(0, "/api/go", &headers, json!({"x": 1})).await.unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&plain.legacy_json).unwrap(),
        json!({"v": {"path": "/a", "count": 1}})
    );
}
