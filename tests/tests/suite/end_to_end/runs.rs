//! Runs that are started, watched, cancelled, listed, deleted and repeated.

use serde_json::json;
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{
    CancelRunRequest, DeleteRunRequest, EventCursor, GetRunRequest, ListRunsRequest, RunState,
    WatchRunRequest,
};
use tonic::Code;

use crate::harness::agents::{hasher, sender, sleeper};
use crate::harness::clients::{json, run_request, start_request};
use crate::harness::http_server::HttpServer;
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(runs, request_ids);

const HASHER: &str = "teams/default/agents/hasher";
const SLEEPER: &str = "teams/default/agents/sleeper";
const SENDER: &str = "teams/default/agents/sender";
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

async fn runs(mode: Mode) {
    let suite = Suite::start("runs", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    dev.put(HASHER, &hasher("hasher")).await.unwrap();
    dev.put(SLEEPER, &sleeper("sleeper", 120)).await.unwrap();

    let started = dev.start(HASHER, "hash", &json!({ "text": "hello" })).await.unwrap();
    assert!(started.name.starts_with(&format!("{HASHER}/runs/")), "{started:?}");
    let events = dev.watch(&started.name).await.unwrap();
    let kinds: Vec<&Event> = events.iter().map(|event| event.event.as_ref().unwrap()).collect();
    assert!(matches!(kinds[0], Event::RunOpened(opened) if opened.skill == "hash"), "{events:?}");
    let Some(Event::RunEnded(ended)) = kinds.last() else { panic!("{events:?}") };
    assert_eq!(ended.state(), RunState::Done);
    assert_eq!(json(&ended.legacy_json), json!({ "sha256": HELLO }));
    let finished: Vec<&str> = kinds
        .iter()
        .filter_map(|kind| match kind {
            Event::ComponentFinished(finished) => Some(finished.component.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(finished.iter().filter(|id| **id == "sha").count(), 1, "{finished:?}");
    // Seen again, the journalled events are the same.
    let cursor = |event: &sre_proto::gateway::v1::RunEvent| {
        let EventCursor { sequence, sub } = event.cursor.unwrap();
        (sequence, sub)
    };
    let journalled: Vec<_> = events.iter().map(cursor).filter(|(_, sub)| *sub == 0).collect();
    let again = dev.watch(&started.name).await.unwrap();
    assert_eq!(again.iter().map(cursor).filter(|(_, sub)| *sub == 0).collect::<Vec<_>>(), journalled);
    // And from a place in the middle, the rest.
    let after = EventCursor { sequence: journalled[0].0, sub: 0 };
    let request = WatchRunRequest { name: started.name.clone(), after: Some(after) };
    let mut stream = dev.runs().watch_run(request).await.unwrap().into_inner();
    let mut rest = Vec::new();
    while let Some(event) = stream.message().await.unwrap() {
        rest.push(cursor(&event));
    }
    rest.retain(|(_, sub)| *sub == 0);
    assert_eq!(rest, journalled[1..]);

    let run = dev.get_run(&started.name).await.unwrap();
    assert_eq!((run.state(), json(&run.legacy_json)), (RunState::Done, json!({ "sha256": HELLO })));
    assert_eq!(run.caller, "user/dev");

    cancelled(&suite).await;
    let list = ListRunsRequest { parent: HASHER.into(), ..ListRunsRequest::default() };
    let listed = dev.runs().list_runs(list.clone()).await.unwrap().into_inner().runs;
    assert_eq!(listed.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(), [started.name.as_str()]);
    dev.runs().delete_run(DeleteRunRequest { name: started.name.clone() }).await.unwrap();
    assert!(dev.runs().list_runs(list).await.unwrap().into_inner().runs.is_empty());
    let gone = dev.get_run(&started.name).await.unwrap_err();
    assert!(matches!(gone.code(), Code::NotFound | Code::PermissionDenied), "{gone:?}");
    suite.stop().await;
}

async fn cancelled(suite: &Suite) {
    let dev = suite.client("user/dev");
    let run = dev.start(SLEEPER, "sleep", &json!({ "text": "zzz" })).await.unwrap();
    let request = DeleteRunRequest { name: run.name.clone() };
    let early = dev.runs().delete_run(request).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition, "a run that works is not deleted: {early:?}");
    let request = CancelRunRequest { name: run.name.clone(), reason: "enough".into() };
    let answer = dev.runs().cancel_run(request).await.unwrap().into_inner();
    assert_eq!(answer.state(), RunState::Cancelled, "{answer:?}");
    let events = dev.watch(&run.name).await.unwrap();
    let last = events.last().and_then(|event| event.event.clone());
    assert!(
        matches!(last, Some(Event::RunEnded(ended)) if ended.state() == RunState::Cancelled),
        "{events:?}"
    );
}

/// A repeated call attaches to the first; what it does happens once.
async fn request_ids(mode: Mode) {
    let server = HttpServer::start().await;
    let options = Options::default().set("egress.allow", format!("[\"{}\"]", server.address()));
    let suite = Suite::start("request-ids", mode, options).await;
    let dev = suite.client("user/dev");
    dev.put(SENDER, &sender("sender", &server.url("/once"))).await.unwrap();

    let mut request = run_request(SENDER, "send", &json!({ "text": "one" }));
    request.request_id = "order-1".into();
    let first = dev.runs().run_skill(request.clone()).await.unwrap().into_inner();
    let again = dev.runs().run_skill(request.clone()).await.unwrap().into_inner();
    assert_eq!((&first.run, &first.legacy_json), (&again.run, &again.legacy_json));
    assert_eq!(server.seen("/once").len(), 1, "the effect happened once");
    let answer = json(&first.legacy_json);
    assert!(answer.to_string().contains("one"), "{answer}");

    let mut other = run_request(SENDER, "send", &json!({ "text": "two" }));
    other.request_id = "order-1".into();
    let refused = dev.runs().run_skill(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused:?}");
    assert_eq!(server.seen("/once").len(), 1);

    let mut started = start_request(SENDER, "send", &json!({ "text": "three" }));
    started.request_id = "order-2".into();
    let first = dev.runs().start_run(started.clone()).await.unwrap().into_inner();
    let again = dev.runs().start_run(started).await.unwrap().into_inner();
    assert_eq!(first.name, again.name);
    dev.watch(&first.name).await.unwrap();
    assert_eq!(server.seen("/once").len(), 2);
    let run = dev.runs().get_run(GetRunRequest { name: first.name }).await.unwrap().into_inner();
    assert_eq!(run.state(), RunState::Done);
    suite.stop().await;
}
