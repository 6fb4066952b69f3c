//! Cancelling and pausing, from any engine.

use std::time::{Duration, Instant};

use serde_json::json;
use sre_proto::error::{Reason, reason};
use sre_proto::gateway::v1::{
    CancelRunRequest, ListRunsRequest, PauseRunRequest, ResumeRunRequest, RunKind, RunState,
};
use sre_proto::memory::v1::{PendingSignal, RecordKind, SignalRequest};

use super::documents::{component, document, endpoint, post};
use super::world::{World, at};

/// Posts twice, one after the other.
async fn two_calls(world: &World) -> String {
    let agent = document(
        "caller",
        vec![
            endpoint(),
            post("first", &world.server.url("/first"), json!({})),
            post("second", &world.server.url("/second"), json!({})),
        ],
        &["go.x > first.v", "first.Response > second.v"],
    );
    world.put(&agent).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_reaches_components_in_flight_from_another_engine() {
    let world = World::new().await;
    world.server.hold("/first");
    let agent = two_calls(&world).await;
    let run = world.start(0, &agent, json!("x")).await;
    world.server.called("/first", 1).await;
    let id = run.name.rsplit('/').next().unwrap().to_owned();
    let live = world.engines[0].live.get(&id).expect("the first engine runs it");
    let began = Instant::now();
    let request = CancelRunRequest { name: run.name.clone(), reason: "enough".into() };
    let mut client = world.runs("user/dev");
    let cancelling = client.cancel_run(at(1, request));
    let heard = async {
        live.cancel.token().cancelled().await;
        began.elapsed()
    };
    let (cancelled, heard) = tokio::join!(cancelling, heard);
    // A hundred milliseconds on an idle machine; tests share it with others.
    assert!(heard < Duration::from_millis(1_000), "{heard:?}");
    let cancelled = cancelled.unwrap().into_inner();
    assert_eq!(cancelled.state(), RunState::Cancelled);
    let answer: serde_json::Value = serde_json::from_slice(&cancelled.legacy_json).unwrap();
    assert_eq!(answer, json!({"error": "AGENT_KILLED", "reason": "enough"}));
    assert_eq!(world.server.count("/second"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_takes_the_jobs_along_and_wakes_who_sleeps() {
    let world = World::new().await;
    world.server.hold("/job");
    let agent = document(
        "parent",
        vec![
            endpoint(),
            component("fork", "Async", json!({}), &["v"], &["JobID"]),
            post("job", &world.server.url("/job"), json!({})),
            component("nap", "FSleep", json!({"delay": "600"}), &["Input"], &["Output"]),
        ],
        &["go.x > fork.v", "fork.v > job.v", "fork.JobID > nap.Input"],
    );
    let mut agent = agent;
    agent["components"][1]["outputs"].as_array_mut().unwrap().push(json!({"name": "v"}));
    let agent = world.put(&agent).await;
    let run = world.start(0, &agent, json!("x")).await;
    world.server.called("/job", 1).await;
    world.until(&run.name, RunState::Waiting).await;
    let request = CancelRunRequest { name: run.name.clone(), reason: "stop".into() };
    world.runs("user/dev").cancel_run(at(1, request)).await.unwrap();
    let ended = world.until(&run.name, RunState::Cancelled).await;
    assert_eq!(ended.result.unwrap().failure.unwrap().message, "stop");
    let list = ListRunsRequest { parent: agent.clone(), ..ListRunsRequest::default() };
    let runs = world.runs("user/dev").list_runs(list).await.unwrap().into_inner().runs;
    let job = runs.iter().find(|run| run.kind() == RunKind::Job).expect("the job is listed");
    assert_eq!(job.parent, run.name);
    world.until(&job.name, RunState::Cancelled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_run_finishes_what_is_under_way_and_stands_until_it_is_resumed() {
    let world = World::new().await;
    world.server.hold("/first");
    let agent = two_calls(&world).await;
    let run = world.start(0, &agent, json!("x")).await;
    world.server.called("/first", 1).await;
    let pause = PauseRunRequest { name: run.name.clone() };
    let mut client = world.runs("user/dev");
    let pausing = client.pause_run(at(1, pause.clone()));
    let release = async {
        // Its owner has heard of it before what is under way ends.
        let id = run.name.rsplit('/').next().unwrap();
        let mut pages = world.engines[0].journal.tail(id, 0).await.unwrap();
        while world.count(&run.name, RecordKind::Signal).await == 0 {
            futures::StreamExt::next(&mut pages).await.unwrap().unwrap();
        }
        world.server.release("/first");
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(20), async { tokio::try_join!(pausing, release) })
        .await
        .expect("its owner hears of it")
        .unwrap();
    world.until(&run.name, RunState::Paused).await;
    assert!(world.nothing_lives(&run.name).await, "a paused run is in memory");
    assert_eq!((world.server.count("/first"), world.server.count("/second")), (1, 0));
    // Twice is once.
    let again = world.runs("user/dev").pause_run(at(0, pause.clone())).await.unwrap().into_inner();
    assert_eq!(again.state(), RunState::Paused);
    let resume = ResumeRunRequest { name: run.name.clone() };
    world.runs("user/dev").resume_run(at(0, resume.clone())).await.unwrap();
    world.done(&run.name).await;
    assert_eq!((world.server.count("/first"), world.server.count("/second")), (1, 1));
    for refused in [
        world.runs("user/dev").pause_run(pause).await.unwrap_err(),
        world.runs("user/dev").resume_run(resume).await.unwrap_err(),
    ] {
        assert_eq!(reason(&refused), Some(Reason::RunState), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_of_an_unknown_kind_does_not_keep_a_run_from_leaving_memory() {
    let world = World::new().await;
    world.server.hold("/first");
    let nap = component("nap", "FSleep", json!({"delay": "600"}), &["Input"], &["Output"]);
    let agent = document(
        "strange",
        vec![endpoint(), post("first", &world.server.url("/first"), json!({})), nap],
        &["go.x > first.v", "first.Response > nap.Input"],
    );
    let agent = world.put(&agent).await;
    let run = world.start(0, &agent, json!("x")).await;
    world.server.called("/first", 1).await;
    let signal = PendingSignal { signal_id: "s".into(), kind: "news".into(), ..PendingSignal::default() };
    let run_id = run.name.rsplit('/').next().unwrap().to_owned();
    let journal = &world.engines[1].journal;
    journal.signal(SignalRequest { run_id, signal: Some(signal) }).await.unwrap();
    world.server.release("/first");
    world.until(&run.name, RunState::Waiting).await;
    assert!(world.nothing_lives(&run.name).await);
}
