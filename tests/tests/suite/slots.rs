//! Slots are given back while a run waits: eight parents that each await a child finish with eight slots.

use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::gateway::v1::RunState;

use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::clients::{json as parsed, run_request};
use crate::harness::gateways::Gateway;
use crate::harness::{Mode, Options, Suite, in_both_modes};

const AGENT: &str = "teams/default/agents/parent";
const SLOTS: usize = 8;

/// `go` awaits a job that sleeps and encodes; `begin` answers the id of one; `collect` awaits the one it is told.
fn parent() -> Value {
    let nap = |id: &str| component(id, "FSleep", json!({ "delay": "1" }), &["Input"], &["Output"]);
    let job = |id: &str| {
        let outputs = json!([{ "name": "JobID", "default": true }, { "name": "text" }]);
        let mut job = component(id, "Async", json!({}), &["text"], &[]);
        job["outputs"] = outputs;
        job
    };
    let wait = |id: &str| {
        component(id, "Await", json!({ "jobs_count": "1", "max_time": "60" }), &["Jobs"], &["Results"])
    };
    document(
        "parent",
        json!({}),
        &[
            endpoint("go", "POST", &[("text", "Text")]),
            job("child"),
            nap("nap"),
            wait("wait"),
            output("answer", &["results"]),
            endpoint("begin", "POST", &[("text", "Text")]),
            job("later"),
            nap("later_nap"),
            output("begun", &["job"]),
            endpoint("collect", "POST", &[("job", "Text")]),
            wait("wait_for_it"),
            output("collected", &["results"]),
        ],
        &[
            "go.text > child.text",
            "child.text > nap.Input",
            "child.JobID > wait.Jobs",
            "wait.Results > answer.results",
            "begin.text > later.text",
            "later.text > later_nap.Input",
            "later.JobID > begun.job",
            "collect.job > wait_for_it.Jobs",
            "wait_for_it.Results > collected.results",
        ],
    )
}

in_both_modes!(parents_that_await_their_children_all_finish);

async fn parents_that_await_their_children_all_finish(mode: Mode) {
    let options = Options::default()
        .set("gateway.max_running", SLOTS)
        .set("journal.team_running", SLOTS)
        .set("gateway.park_grace_ms", 50);
    let suite = Suite::start("slots", mode, options).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &parent()).await.unwrap();
    let mut runs = Vec::new();
    for n in 0..SLOTS {
        runs.push(dev.start(AGENT, "go", &json!({ "text": format!("child {n}") })).await.unwrap());
    }
    for (n, run) in runs.iter().enumerate() {
        let ended = dev.reached(&run.name, &[RunState::Done]).await;
        let answer = parsed(&ended.legacy_json).to_string();
        assert!(answer.contains(&format!("child {n}")), "{answer}");
    }
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_can_be_awaited_from_any_gateway() {
    let suite = Suite::start("jobs-anywhere", Mode::Split, Options::default()).await;
    let other = Gateway::start(&suite, "gateway-b").await;
    let (here, there) = (suite.client("user/dev"), other.client(&suite, "user/dev"));
    here.put(AGENT, &parent()).await.unwrap();
    let begun = here.answer(AGENT, "begin", &json!({ "text": "one job" })).await.unwrap();
    let job = begun["job"].as_str().unwrap_or_else(|| panic!("no job in {begun}")).to_owned();
    let mut request = run_request(AGENT, "collect", &json!({ "job": job }));
    request.timeout = Some(Duration::from_secs(30).try_into().unwrap());
    let collected = there.runs().run_skill(request).await.unwrap().into_inner();
    let answer = parsed(&collected.legacy_json);
    assert!(answer.to_string().contains("one job"), "{answer}");
    other.stop();
    suite.stop().await;
}
