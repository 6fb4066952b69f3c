//! Pausing, resuming and cancelling runs, over restarts too; and what waits without holding memory.

use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{CancelRunRequest, PauseRunRequest, ResumeRunRequest, RunState};
use tonic::Code;

use crate::harness::agents::{api_call, component, document, endpoint, output, sender, sleeper};
use crate::harness::clients::json as parsed;
use crate::harness::http_server::HttpServer;
use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite, eventually, in_both_modes};

in_both_modes!(pause_and_resume, cancel_in_flight, parked_sleep, awaited_elsewhere);

const NAPPER: &str = "teams/default/agents/napper";

/// Sleeps, then tells a server.
fn napper(seconds: u32, url: &str) -> Value {
    document(
        "napper",
        json!({}),
        &[
            endpoint("nap", "POST", &[("text", "Text")]),
            component("sleep", "FSleep", json!({ "delay": seconds.to_string() }), &["Input"], &["Output"]),
            api_call("tell", url, json!({}), json!({ "text": "{{text}}" }), &["text"]),
            output("answer", &["told"]),
        ],
        &["nap.text > sleep.Input", "sleep.Output > tell.text", "tell.Response > answer.told"],
    )
}

fn allowing(server: &HttpServer) -> Options {
    Options::default().set("egress.allow", format!("[\"{}\"]", server.address()))
}

async fn pause_and_resume(mode: Mode) {
    let server = HttpServer::start().await;
    let suite = Suite::start("pause", mode, allowing(&server)).await;
    let dev = suite.client("user/dev");
    dev.put(NAPPER, &napper(1, &server.url("/told"))).await.unwrap();
    let run = dev.start(NAPPER, "nap", &json!({ "text": "hello" })).await.unwrap().name;

    let paused = dev.runs().pause_run(PauseRunRequest { name: run.clone() }).await.unwrap().into_inner();
    assert_eq!(paused.name, run);
    dev.reached(&run, &[RunState::Paused]).await;
    // The timer is over; nothing new starts all the same, not in the next suite either.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(dev.get_run(&run).await.unwrap().state(), RunState::Paused);
    suite.stop().await;
    let suite = Suite::start("pause", mode, allowing(&server).again()).await;
    let dev = suite.client("user/dev");
    assert_eq!(dev.get_run(&run).await.unwrap().state(), RunState::Paused);
    assert!(server.seen("/told").is_empty());

    let said = say(suite.folder(), &["runs", "resume", &run]).await.ok();
    assert!(said.out.contains(&run), "{said:?}");
    let done = dev.reached(&run, &[RunState::Done]).await;
    assert!(parsed(&done.legacy_json).to_string().contains("hello"), "{done:?}");
    assert_eq!(server.seen("/told").len(), 1);
    let states: Vec<RunState> = dev
        .watch(&run)
        .await
        .unwrap()
        .into_iter()
        .filter_map(|event| match event.event {
            Some(Event::RunStateChanged(changed)) => Some(changed.state()),
            _ => None,
        })
        .collect();
    assert!(states.contains(&RunState::Paused), "{states:?}");

    // What has ended is neither paused nor resumed.
    let request = PauseRunRequest { name: run.clone() };
    let late = dev.runs().pause_run(request).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition, "{late:?}");
    let late = dev.runs().resume_run(ResumeRunRequest { name: run }).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition, "{late:?}");

    // A paused run can be cancelled.
    let run = dev.start(NAPPER, "nap", &json!({ "text": "never" })).await.unwrap().name;
    say(suite.folder(), &["runs", "pause", &run]).await.ok();
    dev.reached(&run, &[RunState::Paused]).await;
    say(suite.folder(), &["runs", "cancel", &run]).await.ok();
    dev.reached(&run, &[RunState::Cancelled]).await;
    assert_eq!(server.seen("/told").len(), 1);
    suite.stop().await;
}

/// Cancelling reaches a component in flight: the effect's server sees its caller go.
async fn cancel_in_flight(mode: Mode) {
    const SENDER: &str = "teams/default/agents/sender";
    let server = HttpServer::start().await;
    let suite = Suite::start("cancel", mode, allowing(&server)).await;
    let dev = suite.client("user/dev");
    dev.put(SENDER, &sender("sender", &server.url("/hang"))).await.unwrap();
    let run = dev.start(SENDER, "send", &json!({ "text": "x" })).await.unwrap().name;
    let hangs = async || (server.seen("/hang").len() == 1).then_some(());
    eventually("the effect is under way", Duration::from_secs(20), hangs).await;
    let request = CancelRunRequest { name: run.clone(), reason: "enough".into() };
    let cancelled = dev.runs().cancel_run(request).await.unwrap().into_inner();
    assert_eq!(cancelled.state(), RunState::Cancelled, "{cancelled:?}");
    // A tenth of a second is what it may take; a busy machine is given more.
    let left = async || (server.left() == 1).then_some(());
    eventually("the server's caller goes", Duration::from_secs(1), left).await;
    let failure = cancelled.result.unwrap().failure.unwrap();
    assert!(failure.message.contains("enough"), "{failure:?}");
    suite.stop().await;
}

/// A sleep that is long enough is parked, and survives a restart with the time that is left.
async fn parked_sleep(mode: Mode) {
    const SLEEPER: &str = "teams/default/agents/sleeper";
    let options = || Options::default().set("gateway.park_after_ms", 100);
    let suite = Suite::start("parked", mode, options()).await;
    let dev = suite.client("user/dev");
    dev.put(SLEEPER, &sleeper("sleeper", 3)).await.unwrap();
    let run = dev.start(SLEEPER, "sleep", &json!({ "text": "z" })).await.unwrap().name;
    dev.reached(&run, &[RunState::Waiting]).await;
    suite.stop().await;
    let suite = Suite::start("parked", mode, options().again()).await;
    let dev = suite.client("user/dev");
    let run = dev.reached(&run, &[RunState::Done]).await;
    assert_eq!(parsed(&run.legacy_json), json!({ "text": "z" }));
    let slept = seconds(run.end_time) - seconds(run.create_time);
    assert!(slept >= 3.0, "it woke after {slept} s");
    // The same in a call that is waited for.
    assert_eq!(dev.answer(SLEEPER, "sleep", &json!({ "text": "y" })).await.unwrap(), json!({ "text": "y" }));
    suite.stop().await;
}

fn seconds(time: Option<prost_types::Timestamp>) -> f64 {
    let time = time.unwrap();
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

/// A job is a run of its own: another run may wait for it.
async fn awaited_elsewhere(mode: Mode) {
    const STARTER: &str = "teams/default/agents/starter";
    let suite = Suite::start("jobs", mode, Options::default().set("gateway.park_after_ms", 100)).await;
    let dev = suite.client("user/dev");
    dev.put(STARTER, &starter()).await.unwrap();
    let started = dev.answer(STARTER, "begin", &json!({ "text": "hello" })).await.unwrap();
    let job = started["job"].as_str().unwrap_or_else(|| panic!("{started}")).to_owned();
    let waiting = dev.start(STARTER, "fetch", &json!({ "job": job })).await.unwrap().name;
    dev.reached(&waiting, &[RunState::Waiting]).await;
    let fetched = dev.reached(&waiting, &[RunState::Done]).await;
    assert!(parsed(&fetched.legacy_json).to_string().contains("hello"), "{fetched:?}");
    // Again: it is done already.
    let again = dev.answer(STARTER, "fetch", &json!({ "job": job })).await.unwrap();
    assert!(again.to_string().contains("hello"), "{again}");
    suite.stop().await;
}

/// `begin` answers the id of a job that sleeps; `fetch` waits for a job.
fn starter() -> Value {
    document(
        "starter",
        json!({}),
        &[
            endpoint("begin", "POST", &[("text", "Text")]),
            component("async", "Async", json!({}), &["text"], &["JobID", "text"]),
            component("nap", "FSleep", json!({ "delay": "2" }), &["Input"], &["Output"]),
            output("slept", &["text"]),
            output("begun", &["job"]),
            endpoint("fetch", "POST", &[("job", "Text")]),
            component(
                "await",
                "Await",
                json!({ "jobs_count": "1", "max_time": "60" }),
                &["Jobs"],
                &["Results"],
            ),
            output("fetched", &["results"]),
        ],
        &[
            "begin.text > async.text",
            "async.JobID > begun.job",
            "async.text > nap.Input",
            "nap.Output > slept.text",
            "fetch.job > await.Jobs",
            "await.Results > fetched.results",
        ],
    )
}
