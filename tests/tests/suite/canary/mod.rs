//! A secret goes everywhere an agent can take it. Who calls gets it back as it is; nothing that is written,
//! shown or exported holds it.

mod agent;

use base64::Engine as _;
use serde_json::{Map, Value, json};
use sre_proto::gateway::v1::RunEvent;
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::observability::v1::ListEntriesRequest;
use sre_proto::observability::v1::log_client::LogClient;

use crate::harness::clients::{Client, json as parsed, run_request};
use crate::harness::forms::Forms;
use crate::harness::http_server::{HttpServer, Seen};
use crate::harness::otlp::Collector;
use crate::harness::{CANARY, Mode, Options, Suite, in_both_modes, process};

use agent::{NAME, REFERENCE, REFUSED, SKILL, TOLD};

in_both_modes!(exports);

/// What the runs get. It is no secret, so it is found where the secret must not be: the search works.
const TEXT: &str = "control-text-that-may-be-stored";
/// HMAC-SHA-256 of the text under the secret.
const SIGNATURE: &str = "800c68db8c1c4b67dd716f3d23143ad8ee8a818f691c06e1f9a5d39f01139b01";

async fn exports(mode: Mode) {
    let (server, collector) = (HttpServer::start().await, Collector::start().await);
    let options = Options::default()
        .set("egress.allow", format!("[\"{}\"]", server.address()))
        .set("telemetry.level", "debug")
        .set("telemetry.otlp_endpoint", collector.endpoint());
    let suite = Suite::start("canary-exports", mode, options).await;
    let dev = suite.client("user/dev");
    dev.put_canary().await;
    dev.put(NAME, &agent::document_for(&server)).await.unwrap();

    let forms = Forms::of(CANARY);
    let answered = the_caller_gets_it(&dev, &server).await;
    nobody_else_sees_it(&dev, &forms, &answered).await;
    let started = dev.start(NAME, SKILL, &json!({ "text": TEXT })).await.unwrap();
    nobody_else_sees_it(&dev, &forms, &started.name).await;
    the_server_saw_it(&server, 2, &json!(started.name));

    let mut log = LogClient::new(suite.channel("user/dev", "edge"));
    let list = ListEntriesRequest { parent: NAME.into(), page_size: 1_000, ..ListEntriesRequest::default() };
    let lines = log.list_entries(list).await.unwrap().into_inner();
    forms.assert_absent("the agent's log", format!("{lines:?}").as_bytes());

    let folder = suite.folder().to_owned();
    suite.stop().await;
    let exported = collector.save(&folder.join("exports.bin"));
    assert!(exported.logs > 0 && exported.traces > 0 && exported.metrics > 0, "{exported:?}");
    let control = Forms::of(TEXT).found_under(&folder);
    assert!(!control.is_empty(), "the text that is no secret is not found either: the search is blind");
    let leaks = forms.found_under(&folder);
    assert!(leaks.is_empty(), "the secret was written:\n{}", leaks.join("\n"));
    std::fs::write(process::kept().join("canary-used"), "").unwrap();
}

/// Runs the skill and gives the run's name. The answer is what the server said; a repeat gives the same
/// answer, without another call.
async fn the_caller_gets_it(dev: &Client, server: &HttpServer) -> String {
    let mut request = run_request(NAME, SKILL, &json!({ "text": TEXT }));
    request.request_id = "canary-once".into();
    let first = dev.runs().run_skill(request.clone()).await.unwrap().into_inner();
    let answers = parsed(&first.legacy_json);
    the_server_saw_it(server, 1, &answers);
    let answer = answer_in(&answers);
    assert_eq!(answer["echoed"], echo_of(&server.seen("/echo")[0]));
    assert_eq!(answer["signature"], SIGNATURE);
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{TEXT} {CANARY}"));
    assert_eq!(answer["encoded"], encoded);
    let failed = &answers[0]["result"];
    assert_eq!(failed["Response"], echo_of(&server.seen("/fail")[0]));
    assert_eq!(failed["Status"], 500);

    let again = dev.runs().run_skill(request).await.unwrap().into_inner();
    assert_eq!(again, first, "a repeated answer is the one that was given");
    the_server_saw_it(server, 1, &answers);
    first.run
}

/// What the agent's output gave; before it stands what nothing is connected to.
fn answer_in(answers: &Value) -> &Value {
    answers.as_array().and_then(|all| all.last()).unwrap_or_else(|| panic!("no list: {answers}"))
}

/// What the server answers to a first request.
fn echo_of(seen: &Seen) -> Value {
    let names = seen.headers.keys().map(|name| name.as_str());
    let headers: Map<String, Value> = names.map(|name| (name.into(), json!(seen.header(name)))).collect();
    json!({ "headers": headers, "body": seen.body, "count": 1 })
}

/// Both paths got it in headers and body, as it is.
fn the_server_saw_it(server: &HttpServer, times: usize, context: &Value) {
    for path in ["/echo", "/fail"] {
        let seen = server.seen(path);
        assert_eq!(seen.len(), times, "{path}: {context}");
        for request in seen {
            assert_eq!(request.header("x-canary"), CANARY, "{path}");
            assert_eq!(request.header("authorization"), format!("Bearer {CANARY}"), "{path}");
            assert_eq!(parsed(request.body.as_bytes()), json!({ "text": TEXT, "secret": CANARY }), "{path}");
        }
    }
}

/// Who watches or reads a run gets the reference instead.
async fn nobody_else_sees_it(dev: &Client, forms: &Forms, run: &str) {
    let events = dev.watch(run).await.unwrap();
    for id in TOLD {
        let output = output_of(&events, id);
        assert!(output.contains(REFERENCE), "{id} does not show the reference: {output}");
    }
    assert!(output_of(&events, "fail").contains("500"), "{events:?}");
    assert!(!output_of(&events, REFUSED).is_empty(), "{events:?}");
    for event in &events {
        if let Some(Event::ComponentFinished(done)) = &event.event {
            forms.assert_absent(&done.component, &done.output_json);
            forms.assert_absent(&done.component, done.error.as_bytes());
        }
        if let Some(Event::RunEnded(ended)) = &event.event {
            forms.assert_absent("the end of the run", &ended.legacy_json);
        }
        forms.assert_absent("an event", format!("{event:?}").as_bytes());
    }
    let Some(Event::RunEnded(_)) = events.last().and_then(|last| last.event.as_ref()) else {
        panic!("the run has no end: {events:?}");
    };

    let read = dev.get_run(run).await.unwrap();
    forms.assert_absent("the run", &read.legacy_json);
    forms.assert_absent("the run", format!("{read:?}").as_bytes());
    let answers = parsed(&read.legacy_json);
    let answer = answer_in(&answers);
    assert!(answer["echoed"].to_string().contains(REFERENCE), "{answer}");
    assert_eq!(answer["signature"], SIGNATURE, "what is no secret stays");
}

/// What a component gave, as a watcher is told.
fn output_of(events: &[RunEvent], id: &str) -> String {
    let output = events.iter().find_map(|event| match &event.event {
        Some(Event::ComponentFinished(done)) if done.component == id => {
            Some(String::from_utf8_lossy(&done.output_json).into_owned())
        }
        _ => None,
    });
    output.unwrap_or_else(|| panic!("{id} did not finish: {events:?}"))
}
