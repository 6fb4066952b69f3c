//! Requests to triggers: what they collect is what the run is about, and stays so.

use serde_json::{Value, json};
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::gateway::v1::{
    RawRequest, RunSkillRequest, RunSkillResponse, StartRunRequest, run_skill_request, start_run_request,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::world::{World, at};

const ONE: &str = "c4ca4238a0b923820dcc509a6f75849b";
const TWO: &str = "c81e728d9d4c2f636f067f89cc14862c";

/// A webhook whose numbers are hashed and sent on.
async fn agent(world: &World, settings: Value) -> String {
    agent_called(world, "hooked", settings).await
}

/// It has two triggers: `t` and `second`.
async fn agent_called(world: &World, id: &str, settings: Value) -> String {
    let trigger = |id: &str, endpoint: &str| {
        let mut data = json!({"triggerEndpoint": endpoint, "unsigned": true, "idHeader": "X-Delivery"});
        data.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        json!({"id": id, "name": "WebhookTrigger", "displayName": "T", "title": "t", "data": data, "inputs": [],
            "outputs": [{"name": "Payload", "default": true}, {"name": "Result", "default": true},
                {"name": "Payload.body.n", "expression": "Payload.body.n", "default": false}]})
    };
    let document = json!({
        "version": "1.0.0", "id": id, "name": id, "variables": {},
        "components": [
            trigger("T", "t"),
            trigger("S", "second"),
            {"id": "H", "name": "FHash", "displayName": "H", "title": "h", "data": {"algorithm": "md5", "encoding": "hex"},
                "inputs": [{"name": "Data", "type": "Text"}], "outputs": [{"name": "Hash", "default": true}]},
        ],
        "connections": [
            {"sourceId": "T", "sourceIndex": "Payload.body.n", "targetId": "H", "targetIndex": "Data"},
            {"sourceId": "S", "sourceIndex": "Payload.body.n", "targetId": "H", "targetIndex": "Data"},
        ],
    });
    world.put(&document).await
}

fn raw(method: &str, delivery: &str, body: &Value) -> RawRequest {
    RawRequest {
        method: method.into(),
        path: "/trigger/t".into(),
        headers: [("X-Delivery".to_owned(), delivery.to_owned())].into(),
        body_json: body.to_string().into(),
        body: body.to_string().into(),
        ..RawRequest::default()
    }
}

async fn call(
    world: &World,
    engine: usize,
    agent: &str,
    raw: RawRequest,
) -> Result<RunSkillResponse, Status> {
    let call = Some(run_skill_request::Call::Raw(raw));
    let request = RunSkillRequest { agent: agent.into(), call, ..RunSkillRequest::default() };
    let mut client = RunsClient::new(world.running_as(agent, "user/dev"));
    Ok(client.run_skill(at(engine, request)).await?.into_inner())
}

fn answer(response: &RunSkillResponse) -> Value {
    serde_json::from_slice(&response.legacy_json).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_runs_what_follows_once_for_each_payload() {
    let world = World::new().await;
    let agent = agent(&world, json!({})).await;
    let many = call(&world, 0, &agent, raw("POST", "", &json!([{"n": 1}, {"n": 2}]))).await.unwrap();
    assert_eq!(answer(&many)["result"], json!([{"Hash": ONE}, {"Hash": TWO}]));
    let one = call(&world, 1, &agent, raw("POST", "", &json!({"n": 1}))).await.unwrap();
    assert_eq!(answer(&one)["result"], json!([{"Hash": ONE}]));
    // Nobody makes payloads up.
    let forged =
        call(&world, 0, &agent, raw("POST", "", &json!({"payloads": [{"body": {"n": 1}}]}))).await.unwrap();
    assert_eq!(answer(&forged)["result"], json!([]), "{:?}", answer(&forged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_comes_again_is_not_run_again() {
    let world = World::new().await;
    let agent = agent(&world, json!({})).await;
    let first = call(&world, 0, &agent, raw("POST", "d-1", &json!({"n": 1}))).await.unwrap();
    let mut again = raw("POST", "d-1", &json!({"n": 1}));
    again.headers.insert("X-Attempt".into(), "2".into());
    let again = call(&world, 1, &agent, again).await.unwrap();
    assert_eq!((&again.run, answer(&again)), (&first.run, answer(&first)));
    let other = call(&world, 0, &agent, raw("POST", "d-2", &json!({"n": 1}))).await.unwrap();
    assert_ne!(other.run, first.run);
    // Another trigger has deliveries of its own, here and at another agent.
    let mut at_second = raw("POST", "d-1", &json!({"n": 2}));
    at_second.path = "/trigger/second".into();
    let second = call(&world, 0, &agent, at_second).await.unwrap();
    assert_eq!(answer(&second)["result"], json!([{"Hash": TWO}]));
    let elsewhere = agent_called(&world, "elsewhere", json!({})).await;
    let elsewhere = call(&world, 0, &elsewhere, raw("POST", "d-1", &json!({"n": 2}))).await.unwrap();
    assert_eq!(answer(&elsewhere)["result"], json!([{"Hash": TWO}]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_may_hear_at_once_and_the_run_goes_on() {
    let world = World::new().await;
    let agent = agent(&world, json!({"respond": "atOnce"})).await;
    let taken = call(&world, 0, &agent, raw("POST", "d-1", &json!({"n": 2}))).await.unwrap();
    assert_eq!((answer(&taken), taken.http_status), (json!({"run": taken.run}), 200));
    assert_eq!(world.done(&taken.run).await["result"], json!([{"Hash": TWO}]));
    let call = Some(start_run_request::Call::Raw(raw("POST", "", &json!({"n": 1}))));
    let request = StartRunRequest { agent: agent.clone(), call, ..StartRunRequest::default() };
    let mut client = RunsClient::new(world.running_as(&agent, "user/dev"));
    let started = client.start_run(at(1, request)).await.unwrap().into_inner();
    assert_eq!(world.done(&started.name).await["result"], json!([{"Hash": ONE}]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_taken_runs_nothing_and_says_why() {
    let world = World::new().await;
    let agent = agent(&world, json!({"unsigned": false})).await;
    for (method, http, code) in
        [("GET", "405", Code::InvalidArgument), ("POST", "500", Code::FailedPrecondition)]
    {
        let refused = call(&world, 0, &agent, raw(method, "", &json!({"n": 1}))).await.unwrap_err();
        let told = refused.get_details_error_info().unwrap().metadata;
        assert_eq!((refused.code(), told["http_status"].as_str()), (code, http), "{refused:?}");
    }
    let mut elsewhere = raw("POST", "", &json!({}));
    elsewhere.path = "/trigger/other".into();
    let missing = call(&world, 0, &agent, elsewhere).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}
