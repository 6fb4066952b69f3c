//! Debug sessions: over gRPC, on the command line, and by the reference's headers over HTTP. They are kept in
//! the journal: a restart between two steps changes nothing.

use serde_json::{Value, json};
use sre_proto::gateway::v1::start_debug_session_request::Call;
use sre_proto::gateway::v1::{
    ContinueDebugSessionRequest, DebugInjection, DebugMock, DebugStep, GetDebugSessionRequest,
    InjectDebugSessionRequest, ListDebugSessionsRequest, SkillCall, StartDebugSessionRequest,
    StepDebugSessionRequest, StopDebugSessionRequest, UpdateDebugSessionRequest,
};
use tonic::Code;

use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::clients::{Client, json as parsed};
use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(sessions, by_headers);

const AGENT: &str = "teams/default/agents/stepped";
const HELLO_MD5: &str = "5d41402abc4b2a76b9719d911017c592";

/// `go` hashes `text`, and the hash again.
fn stepped() -> Value {
    let hash = |id: &str| {
        component(id, "FHash", json!({ "algorithm": "md5", "encoding": "hex" }), &["Data"], &["Hash"])
    };
    document(
        "stepped",
        json!({}),
        &[endpoint("go", "POST", &[("text", "Text")]), hash("one"), hash("two"), output("answer", &["hash"])],
        &["go.text > one.Data", "one.Hash > two.Data", "two.Hash > answer.hash"],
    )
}

fn ran(step: &DebugStep) -> Vec<&str> {
    step.executed.iter().map(|done| done.component.as_str()).collect()
}

fn active(step: &DebugStep) -> Vec<&str> {
    let session = step.session.as_ref().unwrap();
    session.components.iter().filter(|c| c.active).map(|c| c.component.as_str()).collect()
}

fn name(step: &DebugStep) -> String {
    step.session.as_ref().unwrap().name.clone()
}

fn start(text: &str) -> StartDebugSessionRequest {
    let input = json!({ "text": text }).to_string();
    StartDebugSessionRequest {
        agent: AGENT.into(),
        call: Some(Call::Skill(SkillCall { skill: "go".into(), input_json: input.into() })),
        ..StartDebugSessionRequest::default()
    }
}

async fn step(client: &Client, name: &str) -> DebugStep {
    let request = StepDebugSessionRequest { name: name.into(), call: None };
    client.debugger().step_debug_session(request).await.unwrap().into_inner()
}

async fn go_on(client: &Client, name: &str, until: &str) -> DebugStep {
    let request = ContinueDebugSessionRequest {
        name: name.into(),
        until_component: until.into(),
        ..ContinueDebugSessionRequest::default()
    };
    client.debugger().continue_debug_session(request).await.unwrap().into_inner()
}

async fn sessions(mode: Mode) {
    let suite = Suite::start("debugger", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &stepped()).await.unwrap();

    let first = dev.debugger().start_debug_session(start("hello")).await.unwrap().into_inner();
    assert_eq!((ran(&first), active(&first)), (vec!["go"], vec!["one"]));
    let session = name(&first);
    let second = step(&dev, &session).await;
    assert_eq!((ran(&second), active(&second)), (vec!["one"], vec!["two"]));
    assert!(String::from_utf8_lossy(&second.executed[0].output_json).contains(HELLO_MD5), "{second:?}");

    // In another process it goes on where it stood.
    suite.stop().await;
    let suite = Suite::start("debugger", mode, Options::default().again()).await;
    let dev = suite.client("user/dev");
    let request = GetDebugSessionRequest { name: session.clone() };
    let state = dev.debugger().get_debug_session(request.clone()).await.unwrap().into_inner();
    let one = state.components.iter().find(|c| c.component == "one").unwrap();
    assert!(String::from_utf8_lossy(&one.output_json).contains(HELLO_MD5), "{one:?}");
    let list = ListDebugSessionsRequest { parent: AGENT.into(), ..ListDebugSessionsRequest::default() };
    let listed = dev.debugger().list_debug_sessions(list).await.unwrap().into_inner().sessions;
    assert_eq!(listed.iter().map(|session| session.name.as_str()).collect::<Vec<_>>(), [session.as_str()]);
    let last = go_on(&dev, &session, "").await;
    assert_eq!((ran(&last), last.stopped_by.as_str()), (vec!["two", "answer"], "closed"));
    assert!(last.result.is_some() && last.session.as_ref().unwrap().closed, "{last:?}");
    let plain = dev.answer(AGENT, "go", &json!({ "text": "hello" })).await.unwrap();
    assert_eq!(parsed(&last.legacy_json)["finalResult"], plain);

    stops_and_values(&dev).await;
    not_for_everybody(&suite, &session).await;
    on_the_command_line(&suite).await;
    suite.stop().await;
}

/// Breakpoints, mocks, injections.
async fn stops_and_values(dev: &Client) {
    let begun = dev.debugger().start_debug_session(start("hello")).await.unwrap().into_inner();
    let session = name(&begun);
    let mock = DebugMock { component: "one".into(), output_json: r#"{"Hash":"hello"}"#.into() };
    let request = UpdateDebugSessionRequest {
        name: session.clone(),
        breakpoints: vec!["answer".into()],
        mocks: vec![mock],
    };
    dev.debugger().update_debug_session(request).await.unwrap();
    let stopped = go_on(dev, &session, "two").await;
    assert_eq!((ran(&stopped), stopped.stopped_by.as_str()), (vec!["one"], "component"));
    assert!(stopped.executed[0].mocked, "{stopped:?}");
    let stopped = go_on(dev, &session, "").await;
    assert_eq!((ran(&stopped), stopped.stopped_by.as_str()), (vec!["two"], "breakpoint"));
    // What is injected replaces what the component held.
    let injection = DebugInjection {
        component: "two".into(),
        active: true,
        input_json: Some(r#"{"Data":"other"}"#.into()),
        output_json: None,
    };
    let request = InjectDebugSessionRequest { name: session.clone(), injections: vec![injection] };
    let injected = dev.debugger().inject_debug_session(request).await.unwrap().into_inner();
    assert_eq!(ran(&injected), ["two"]);
    let md5 = "795f3202b17cb6bc3d4b771d8c6c9eaf";
    assert!(String::from_utf8_lossy(&injected.executed[0].output_json).contains(md5), "{injected:?}");
    let stop = StopDebugSessionRequest { name: session };
    let stopped = dev.debugger().stop_debug_session(stop).await.unwrap().into_inner();
    assert!(stopped.closed, "{stopped:?}");
}

/// Starting needs `write` on the definition; a session is for whoever started it.
async fn not_for_everybody(suite: &Suite, session: &str) {
    for who in ["user/mallory", "agent/other"] {
        let client = suite.client(who);
        let refused = client.debugger().start_debug_session(start("x")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{who}: {refused:?}");
        let request = GetDebugSessionRequest { name: session.into() };
        let refused = client.debugger().get_debug_session(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{who}: {refused:?}");
    }
}

async fn on_the_command_line(suite: &Suite) {
    let sre = async |words: &[&str]| say(suite.folder(), &[words, &["--json"]].concat()).await.ok().json();
    let begun = sre(&["debug", "start", "stepped", "go", "text=hello", "--break", "answer"]).await;
    assert_eq!(
        (&begun["active"], &begun["executed"][0]["component"]),
        (&json!(["one"]), &json!("go")),
        "{begun}"
    );
    let session = begun["session"].as_str().unwrap();
    sre(&["debug", "step", session]).await;
    sre(&["debug", "mock", session, r#"two={"Hash":"mocked"}"#]).await;
    let stopped = sre(&["debug", "continue", session]).await;
    assert_eq!(stopped["stopped by"], "breakpoint", "{stopped}");
    let state = sre(&["debug", "state", session]).await;
    assert_eq!(state["breakpoints"], json!(["answer"]), "{state}");
    assert_eq!(state["mocks"], json!({ "two": { "Hash": "mocked" } }));
    sre(&["debug", "breakpoints", session]).await;
    let closed = sre(&["debug", "continue", session]).await;
    assert_eq!(closed["answer"], json!({ "hash": "mocked" }), "{closed}");
    let begun = sre(&["debug", "start", "stepped"]).await;
    let session = begun["session"].as_str().unwrap();
    let injected = sre(&["debug", "inject", session, "two", "Data=hello"]).await;
    assert_eq!(injected["executed"][0]["output"]["Hash"], HELLO_MD5, "{injected}");
    assert_eq!(sre(&["debug", "stop", session]).await["closed"], true);
}

/// The reference's protocol: one request is one cycle.
async fn by_headers(mode: Mode) {
    let suite = Suite::start("debug-headers", mode, Options::default()).await;
    suite.client("user/dev").put(AGENT, &stepped()).await.unwrap();
    let begun = post(&suite, "/api/go", "X-DEBUG-RUN", "", json!({ "text": "hello" })).await;
    let session = begun["dbgSession"].as_str().unwrap_or_else(|| panic!("{begun}")).to_owned();
    assert_eq!(begun["sessionClosed"], false, "{begun}");
    assert_eq!(
        (&begun["state"][0]["id"], &begun["state"][1]["id"]),
        (&json!("one"), &json!("go")),
        "{begun}"
    );

    suite.stop().await;
    let suite = Suite::start("debug-headers", mode, Options::default().again()).await;
    let next = post(&suite, "/api/", "X-DEBUG-RUN", &session, json!({})).await;
    assert_eq!(next["state"][1]["result"]["Hash"], HELLO_MD5, "{next}");
    let read = post(&suite, "/api/", "X-DEBUG-READ", &session, json!({})).await;
    assert_eq!((&read["dbgSession"], &read["sessionClosed"]), (&json!(session), &json!(false)), "{read}");
    assert!(read["state"]["one"].is_object(), "{read}");
    let injection = json!([{ "id": "two", "ctx": { "active": true, "input": { "Data": "hello" } } }]);
    let injected = post(&suite, "/api/", "X-DEBUG-INJ", &session, injection).await;
    assert_eq!(injected["state"][1]["result"]["Hash"], HELLO_MD5, "{injected}");
    let last = post(&suite, "/api/", "X-DEBUG-RUN", &session, json!({})).await;
    assert_eq!(
        (&last["sessionClosed"], &last["finalResult"]),
        (&json!(true), &json!({ "hash": HELLO_MD5 })),
        "{last}"
    );
    suite.stop().await;
}

async fn post(suite: &Suite, path: &str, header: &str, session: &str, body: Value) -> Value {
    let request = reqwest::Client::new()
        .post(format!("http://{}{path}", suite.address("http")))
        .bearer_auth(suite.dev_key())
        .header("x-agent-id", "stepped")
        .header("content-type", "application/json")
        .header(header, session)
        .body(body.to_string());
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(status, 200, "{path} {header}: {session}: {text}");
    serde_json::from_str(&text).unwrap()
}
