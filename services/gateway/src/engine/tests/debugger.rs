//! Debug sessions: commands from any engine, effects as the agent, what survives.

use serde_json::{Value, json};
use sre_proto::error::{Reason, reason};
use sre_proto::gateway::v1::debugger_client::DebuggerClient;
use sre_proto::gateway::v1::{
    ContinueDebugSessionRequest, DebugInjection, DebugMock, DebugStep, GetDebugSessionRequest,
    InjectDebugSessionRequest, ListDebugSessionsRequest, SkillCall, StartDebugSessionRequest,
    StepDebugSessionRequest, StopDebugSessionRequest, UpdateDebugSessionRequest, start_debug_session_request,
};
use tonic::Code;

use super::documents::{component, document, endpoint, post};
use super::world::{World, at};

/// go -> first -> second -> out, where the two in the middle post.
async fn agent(world: &World) -> String {
    let agent = document(
        "debugged",
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

fn asked(agent: &str, id: &str) -> StartDebugSessionRequest {
    let call = SkillCall { skill: "go".into(), input_json: r#"{"x":"v"}"#.into() };
    StartDebugSessionRequest {
        agent: agent.into(),
        call: Some(start_debug_session_request::Call::Skill(call)),
        debug_session_id: id.into(),
        ..StartDebugSessionRequest::default()
    }
}

async fn start(world: &World, agent: &str, request: StartDebugSessionRequest) -> DebugStep {
    let mut client = DebuggerClient::new(world.running_as(agent, "user/dev"));
    client.start_debug_session(request).await.unwrap().into_inner()
}

async fn step(world: &World, engine: usize, name: &str) -> DebugStep {
    let request = StepDebugSessionRequest { name: name.into(), ..StepDebugSessionRequest::default() };
    world.debugger("user/dev").step_debug_session(at(engine, request)).await.unwrap().into_inner()
}

fn ran(step: &DebugStep) -> Vec<&str> {
    step.executed.iter().map(|it| it.component.as_str()).collect()
}

fn name(step: &DebugStep) -> String {
    step.session.as_ref().unwrap().name.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_stepped_from_any_engine_to_its_end() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let started = start(&world, &agent, asked(&agent, "")).await;
    let session = name(&started);
    assert!(session.starts_with(&format!("{agent}/debugSessions/dbg-")), "{session}");
    assert_eq!(ran(&started), ["go"]);
    assert_eq!(started.executed[0].activated, ["first"]);
    assert_eq!(world.server.count("/first"), 0);

    assert_eq!(ran(&step(&world, 1, &session).await), ["first"]);
    assert_eq!((world.server.count("/first"), world.server.count("/second")), (1, 0));
    assert_eq!(ran(&step(&world, 0, &session).await), ["second"]);
    let last = step(&world, 1, &session).await;
    assert_eq!(ran(&last), ["out"]);
    assert!(last.session.as_ref().unwrap().closed);
    let answer: Value = serde_json::from_slice(&last.legacy_json).unwrap();
    assert_eq!(answer["sessionClosed"], json!(true));
    assert_eq!(answer["finalResult"], json!({"v": {"path": "/second", "count": 1}}));
    assert_eq!(last.result.unwrap().results.len(), 1);
    assert!(world.engines.iter().all(|engine| engine.live.get("x").is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_survives_the_engines_and_an_engine_that_dies_during_a_step() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let session = name(&start(&world, &agent, asked(&agent, "dbg-1")).await);
    world.kill(0).await;
    world.kill(1).await;
    world.server.hold("/first");
    let mut client = world.debugger("user/dev");
    let request = StepDebugSessionRequest { name: session.clone(), ..StepDebugSessionRequest::default() };
    let stepping = client.step_debug_session(at(0, request));
    let killing = async {
        world.server.called("/first", 1).await;
        world.kill(0).await;
    };
    let (broken, ()) = tokio::join!(stepping, killing);
    assert_eq!(broken.unwrap_err().code(), Code::Unavailable);
    world.server.release("/first");
    // What was there before the command is there, and the effect is repeated with its key.
    let again = step(&world, 1, &session).await;
    assert_eq!(ran(&again), ["first"]);
    let keys = world.server.keys("/first");
    assert!(keys.len() == 2 && keys[0] == keys[1] && !keys[0].is_empty(), "{keys:?}");
    assert_eq!(ran(&step(&world, 0, &session).await), ["second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_continued_session_stops_where_it_is_told() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let breakpoints = vec!["out".to_owned()];
    let request = StartDebugSessionRequest { breakpoints, ..asked(&agent, "dbg-2") };
    let session = name(&start(&world, &agent, request).await);
    let go_on = async |until: &str, steps: i32| {
        let request = ContinueDebugSessionRequest {
            name: session.clone(),
            until_component: until.into(),
            max_steps: steps,
        };
        world.debugger("user/dev").continue_debug_session(request).await.unwrap().into_inner()
    };
    let at_second = go_on("second", 0).await;
    assert_eq!((at_second.stopped_by.as_str(), ran(&at_second)), ("component", vec!["first"]));
    let at_break = go_on("", 0).await;
    assert_eq!((at_break.stopped_by.as_str(), ran(&at_break)), ("breakpoint", vec!["second"]));
    let done = go_on("", 5).await;
    assert_eq!((done.stopped_by.as_str(), ran(&done)), ("closed", vec!["out"]));
    assert!(done.result.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mocks_and_injections_stand_for_executions() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let mocks = vec![DebugMock { component: "first".into(), output_json: r#"{"Response":"MOCK"}"#.into() }];
    let request = StartDebugSessionRequest { mocks, ..asked(&agent, "dbg-3") };
    let session = name(&start(&world, &agent, request).await);
    let mocked = step(&world, 1, &session).await;
    assert!(mocked.executed[0].mocked && world.server.count("/first") == 0);
    let inject = InjectDebugSessionRequest {
        name: session.clone(),
        injections: vec![DebugInjection {
            component: "second".into(),
            active: true,
            input_json: Some(r#"{"v":5}"#.into()),
            output_json: Some(r#"{"Response":"INJ"}"#.into()),
        }],
    };
    let injected = world.debugger("user/dev").inject_debug_session(inject).await.unwrap().into_inner();
    assert_eq!(
        (ran(&injected), injected.executed[0].activated.clone()),
        (vec!["second"], vec!["out".to_owned()])
    );
    assert_eq!(world.server.count("/second"), 0);
    let get = GetDebugSessionRequest { name: session.clone() };
    let state = world.debugger("user/dev").get_debug_session(at(1, get)).await.unwrap().into_inner();
    let out = state.components.iter().find(|it| it.component == "out").unwrap();
    assert!(out.active);
    assert_eq!(serde_json::from_slice::<Value>(&out.input_json).unwrap(), json!({"v": "INJ"}));
    assert_eq!((state.mocks.len(), state.step), (1, 3));
    let update = UpdateDebugSessionRequest {
        name: session.clone(),
        breakpoints: vec!["out".into()],
        mocks: Vec::new(),
    };
    let updated = world.debugger("user/dev").update_debug_session(update).await.unwrap().into_inner();
    assert_eq!((updated.mocks.len(), updated.breakpoints), (0, vec!["out".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_writers_start_and_only_the_starter_goes_on() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let mut alice = DebuggerClient::new(world.running_as(&agent, "user/alice"));
    let refused = alice.start_debug_session(asked(&agent, "")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let session = name(&start(&world, &agent, asked(&agent, "dbg-4")).await);
    for who in ["user/alice", "user/eve"] {
        let request = StepDebugSessionRequest { name: session.clone(), ..Default::default() };
        let refused = world.debugger(who).step_debug_session(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{who}");
    }
    let mut again = DebuggerClient::new(world.running_as(&agent, "user/dev"));
    let open = again.start_debug_session(asked(&agent, "dbg-4")).await.unwrap_err();
    assert_eq!(reason(&open), Some(Reason::AlreadyExists));
    let list = ListDebugSessionsRequest { parent: agent.clone(), ..Default::default() };
    let listed = world.debugger("user/dev").list_debug_sessions(list.clone()).await.unwrap().into_inner();
    assert_eq!(listed.sessions.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), [session.as_str()]);
    let seen = world.debugger("user/alice").list_debug_sessions(list.clone()).await.unwrap().into_inner();
    assert!(seen.sessions.is_empty());
    assert!(world.debugger("user/eve").list_debug_sessions(list).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_session_is_gone_and_its_id_is_free() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let session = name(&start(&world, &agent, asked(&agent, "dbg-5")).await);
    let stop = StopDebugSessionRequest { name: session.clone() };
    let stopped = world.debugger("user/dev").stop_debug_session(stop).await.unwrap().into_inner();
    assert!(stopped.closed);
    let get = GetDebugSessionRequest { name: session.clone() };
    // Nothing is stored for it any more: what follows from its name counts, and the agent's admin may know.
    let gone = world.debugger("user/dev").get_debug_session(get).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert_eq!(name(&start(&world, &agent, asked(&agent, "dbg-5")).await), session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_at_the_same_time_follow_each_other() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let session = name(&start(&world, &agent, asked(&agent, "dbg-6")).await);
    let (one, two) = tokio::join!(step(&world, 0, &session), step(&world, 1, &session));
    let mut both = [ran(&one), ran(&two)];
    both.sort();
    assert_eq!(both, [["first"], ["second"]]);
}
