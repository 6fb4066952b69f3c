//! What ended runs leave: steps, forks, recordings.

use futures::TryStreamExt as _;
use serde_json::{Value, json};
use sre_proto::error::{Reason, reason};
use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::gateway::v1::{ExportRunRequest, ForkRunRequest, ListStepsRequest, RunState};
use tonic::Code;

use super::documents::{component, document, endpoint, post};
use super::world::{World, at};
use crate::recording::replay;

async fn agent(world: &World) -> String {
    let agent = document(
        "told",
        vec![
            endpoint(),
            post("first", &world.server.url("/first"), json!({})),
            post("second", &world.server.url("/second"), json!({})),
            component("out", "APIOutput", json!({"format": "minimal"}), &["v"], &["Output"]),
        ],
        &["go.x > first.v", "first.Response > second.v", "second.Response > out.v"],
    );
    world.put(&agent).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_steps_of_a_run_are_listed_page_by_page() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let run = world.start(0, &agent, json!("x")).await;
    world.done(&run.name).await;
    let mut request = ListStepsRequest { name: run.name.clone(), page_size: 3, ..Default::default() };
    let mut steps = Vec::new();
    loop {
        let page = world.runs("user/dev").list_steps(at(1, request.clone())).await.unwrap().into_inner();
        assert!(page.steps.len() <= 3);
        steps.extend(page.steps);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let ran: Vec<&str> = steps.iter().map(|step| step.component.as_str()).collect();
    assert_eq!(ran, ["go", "first", "second", "out"]);
    assert!(steps.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    let first = &steps[1];
    assert_eq!(first.idempotency_key, world.server.keys("/first")[0]);
    assert!(first.start_time.is_some() && steps[0].idempotency_key.is_empty());
    let refused = world.runs("user/eve").list_steps(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_runs_its_step_again_and_keeps_what_was_before() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let run = world.start(0, &agent, json!("x")).await;
    let request = |at: &str, set: &str| ForkRunRequest {
        agent: agent.clone(),
        run: run.name.clone(),
        at: at.into(),
        set_json: set.to_owned().into(),
        request_id: format!("fork at {at} with {set}"),
        ..ForkRunRequest::default()
    };
    let mut client = RunsClient::new(world.running_as(&agent, "user/dev"));
    world.done(&run.name).await;
    let fork = client.fork_run(request("second", r#"{"v":"changed"}"#)).await.unwrap().into_inner();
    assert_ne!(fork.name, run.name);
    let answer = world.done(&fork.name).await;
    assert_eq!(answer, json!({"v": {"path": "/second", "count": 2}}));
    assert_eq!((world.server.count("/first"), world.server.count("/second")), (1, 2));
    let keys = world.server.keys("/second");
    assert_ne!(keys[0], keys[1], "another run, another key");
    // The same request is the same fork, another is another.
    let same = client.fork_run(request("second", r#"{"v":"changed"}"#)).await.unwrap().into_inner();
    assert_eq!(same.name, fork.name);
    let list = ListStepsRequest { name: fork.name.clone(), ..Default::default() };
    let steps = world.runs("user/dev").list_steps(list).await.unwrap().into_inner().steps;
    let kept = steps.iter().find(|step| step.component == "first").unwrap();
    assert_eq!(kept.idempotency_key, world.server.keys("/first")[0]);
    let missing = client.fork_run(request("nope", "{}")).await.unwrap_err();
    assert_eq!(missing.code(), Code::InvalidArgument);
    let mut eve = RunsClient::new(world.running_as(&agent, "user/alice"));
    assert_eq!(eve.fork_run(request("first", "{}")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_ended_runs_are_forked_and_exported() {
    let world = World::new().await;
    world.server.hold("/first");
    let agent = agent(&world).await;
    let run = world.start(0, &agent, json!("x")).await;
    world.server.called("/first", 1).await;
    let request = ForkRunRequest {
        agent: agent.clone(),
        run: run.name.clone(),
        at: "first".into(),
        ..ForkRunRequest::default()
    };
    let mut client = RunsClient::new(world.running_as(&agent, "user/dev"));
    assert_eq!(reason(&client.fork_run(request).await.unwrap_err()), Some(Reason::RunState));
    let export = ExportRunRequest { name: run.name.clone() };
    let refused = world.runs("user/dev").export_run(export).await.err().unwrap();
    assert_eq!(reason(&refused), Some(Reason::RunState));
    world.server.release("/first");
    world.until(&run.name, RunState::Done).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exported_run_and_its_fork_replay_to_the_same_answer() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let run = world.start(0, &agent, json!("x")).await;
    let answer = world.done(&run.name).await;
    let export = async |name: &str| {
        let request = ExportRunRequest { name: name.to_owned() };
        let parts = world.runs("user/dev").export_run(at(1, request)).await.unwrap().into_inner();
        let parts: Vec<_> = parts.try_collect().await.unwrap();
        parts.into_iter().flat_map(|part| part.data).collect::<Vec<u8>>()
    };
    let recording = export(&run.name).await;
    let replayed = replay(&recording).unwrap();
    assert!(replayed.same, "{:?}", replayed.differences);
    assert_eq!(replayed.legacy, answer);
    let text: Value = serde_json::from_slice(&recording).unwrap();
    assert_eq!(text["components"]["first"], "APICall");
    let mut client = RunsClient::new(world.running_as(&agent, "user/dev"));
    let fork = ForkRunRequest {
        agent: agent.clone(),
        run: run.name.clone(),
        at: "go".into(),
        set_json: r#"{"x":"changed"}"#.into(),
        ..ForkRunRequest::default()
    };
    let fork = client.fork_run(fork).await.unwrap().into_inner();
    world.done(&fork.name).await;
    let replayed = replay(&export(&fork.name).await).unwrap();
    assert!(replayed.same, "{:?}", replayed.differences);
    assert_eq!(world.server.count("/first"), 2);
}
