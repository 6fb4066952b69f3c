//! A process that dies in the middle of a run: the next one ends the run.

use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::gateway::v1::RunState;
use sre_proto::gateway::v1::run_event::Event;

use crate::harness::agents::{api_call, component, document, endpoint, output};
use crate::harness::clients::json;
use crate::harness::http_server::HttpServer;
use crate::harness::{Mode, Options, Suite, eventually};

const AGENT: &str = "teams/default/agents/traveller";

/// Posts before a nap and after it, and answers what both said.
fn traveller(server: &HttpServer) -> Value {
    let post = |id: &str| {
        api_call(id, &server.url(&format!("/{id}")), json!({}), json!({ "text": "{{text}}" }), &["text"])
    };
    document(
        "traveller",
        json!({}),
        &[
            endpoint("travel", "POST", &[("text", "Text")]),
            post("before"),
            component("nap", "FSleep", json!({ "delay": "3" }), &["Input", "Wait"], &["Output"]),
            post("after"),
            output("answer", &["first", "second"]),
        ],
        &[
            "travel.text > before.text",
            "travel.text > nap.Input",
            "before.Response > nap.Wait",
            "nap.Output > after.text",
            "before.Response > answer.first",
            "after.Response > answer.second",
        ],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_in_the_next_process() {
    let server = HttpServer::start().await;
    let options = Options::default()
        .set("egress.allow", format!("[\"{}\"]", server.address()))
        .set("journal.session_ttl_ms", 2_000);
    let mut suite = Suite::start("takeover", Mode::AllInOne, options.clone()).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &traveller(&server)).await.unwrap();
    let run = dev.start(AGENT, "travel", &json!({ "text": "far" })).await.unwrap();
    // The first effect is done and the nap has begun.
    eventually("the first effect", Duration::from_secs(10), async || {
        (!server.seen("/before").is_empty()).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(server.seen("/after").is_empty(), "the run was not killed in the middle");
    suite.crash();
    drop(suite);

    let suite = Suite::start("takeover", Mode::AllInOne, options.again()).await;
    let dev = suite.client("user/dev");
    let ended = eventually("the run ends", Duration::from_secs(30), async || {
        let run = dev.get_run(&run.name).await.unwrap();
        (run.state() != RunState::Running
            && run.state() != RunState::Waiting
            && run.state() != RunState::Queued)
            .then_some(run)
    })
    .await;
    assert_eq!(ended.state(), RunState::Done, "{ended:?}");
    let answer = json(&ended.legacy_json);
    for place in ["first", "second"] {
        assert!(answer[place].to_string().contains("far"), "{place}: {answer}");
    }

    // Finished components were not run again, and each effect has one key.
    for path in ["/before", "/after"] {
        let seen = server.seen(path);
        let mut keys: Vec<&str> = seen.iter().map(|request| request.header("idempotency-key")).collect();
        keys.dedup();
        assert!(keys.len() == 1 && !keys[0].is_empty(), "{path}: {keys:?}");
    }
    assert_eq!(server.seen("/before").len(), 1, "a finished effect was repeated");
    let (before, after) = (server.seen("/before"), server.seen("/after"));
    assert_ne!(before[0].header("idempotency-key"), after[0].header("idempotency-key"));

    // Who watches from the beginning sees every component once.
    let events = dev.watch(&run.name).await.unwrap();
    for id in ["before", "nap", "after"] {
        let finished = |event: &&sre_proto::gateway::v1::RunEvent| matches!(&event.event, Some(Event::ComponentFinished(done)) if done.component == id);
        assert_eq!(events.iter().filter(finished).count(), 1, "{id}: {events:?}");
    }
    suite.stop().await;
}
