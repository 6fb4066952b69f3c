//! Split mode under a stream of requests: each process is killed in turn, and only what needs it fails.

mod calls;

use std::collections::BTreeMap;
use std::process::Child;
use std::time::{Duration, Instant};

use sre_service::Role;
use tonic::Code;
use tonic_types::StatusExt as _;

use calls::Calls;

use crate::harness::http_server::HttpServer;
use crate::harness::load::{Load, Outcome};
use crate::harness::{Mode, Options, Suite, eventually, process};

/// A failure names the dead process within this time.
const FAILS_WITHIN: Duration = Duration::from_secs(1);
/// After the process is ready again, calls succeed within this time.
const RECOVERS_WITHIN: Duration = Duration::from_secs(2);
/// How long a process stays dead.
const DEAD: Duration = Duration::from_millis(2_500);
const PROCESSES: [&str; 8] =
    ["observability", "compute", "llm", "io", "agent", "memory", "security", "gateway"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_process_is_killed_in_turn() {
    let server = HttpServer::start().await;
    let mut options = Options::default()
        .set("egress.allow", format!("[\"{}\"]", server.address()))
        .set("journal.session_ttl_ms", 2_000);
    for (role, port) in Role::ALL.into_iter().zip(ports()) {
        options = options.set(&format!("listen.{role}"), format!("127.0.0.1:{port}"));
    }
    let suite = Suite::start("faults", Mode::Split, options).await;
    let calls = Calls::prepare(&suite, &server).await;
    let mut alive = process::pids(suite.folder());
    let mut children: Vec<Child> = Vec::new();
    let mut failures = Vec::new();
    for name in PROCESSES {
        let kept = calls.acknowledge().await;
        let (child, wrong) = kill(&suite, &calls, name, alive[name]).await;
        alive.insert(name.to_owned(), child.id());
        children.push(child);
        failures.extend(wrong.into_iter().map(|wrong| format!("{name} killed: {wrong}")));
        failures.extend(kept.check(&suite).await.err().map(|lost| format!("{name} killed: {lost}")));
        let gone = alive.iter().filter(|(_, pid)| !process::lives(**pid));
        failures.extend(gone.map(|(other, _)| format!("{name} killed: {other} ended or was restarted too")));
    }
    // The gateway first, as `sre up` does: what it works on needs the others.
    for child in children.iter_mut().rev() {
        process::signal(child.id(), "TERM");
        let status = child.wait().unwrap();
        assert!(status.success(), "a restarted process ended with {status}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    suite.stop().await;
}

/// Ports that nobody else gets: while a process is dead, the system gives a port of its own range to whoever
/// asks for one, and other tests ask all the time.
fn ports() -> std::ops::Range<u16> {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let first = (std::process::id() % 1000) as u16 * 10;
    let ranges = (0..1000).map(|step| 20_000 + (first + step * 10) % 10_000);
    let free = ranges.map(|from| from..from + 9).find(|range| range.clone().all(is_free));
    free.expect("no nine free ports in a row")
}

/// Kills a process under load, starts it again, and says what was not as it must be.
async fn kill(suite: &Suite, calls: &Calls<'_>, name: &str, pid: u32) -> (Child, Vec<String>) {
    let load = calls.load();
    settled(&load).await;
    process::signal(pid, "KILL");
    let killed = Instant::now();
    tokio::time::sleep(DEAD).await;
    let restarted = Instant::now();
    let child = restart(suite, name);
    ready(suite, name).await;
    let ready = Instant::now();
    tokio::time::sleep(RECOVERS_WITHIN + Duration::from_secs(1)).await;
    let outcomes = load.finish().await;

    let begun = |from: Instant, to: Instant| -> Vec<&Outcome> {
        outcomes.iter().filter(|outcome| outcome.begun >= from && outcome.begun < to).collect()
    };
    let end = ready + Duration::from_secs(3600);
    let mut wrong = while_down(name, &begun(killed, restarted), Naming::Required);
    // While it starts, and for a moment after, it may still fail who needs it, in words of its own.
    wrong.extend(while_down(name, &begun(restarted, ready + RECOVERS_WITHIN), Naming::Optional));
    wrong.extend(must_fail(name, &begun(killed, restarted - FAILS_WITHIN)));
    wrong.extend(recovered(&begun(ready + RECOVERS_WITHIN, end)));
    (child, wrong)
}

async fn settled(load: &Load) {
    let begun = Instant::now();
    eventually("every kind of call succeeds", Duration::from_secs(20), async || {
        let outcomes = load.since(begun).await;
        let latest = |what| outcomes.iter().rev().find(|outcome| outcome.what == what);
        let fine = calls::kinds().all(|what| latest(what).is_some_and(|outcome| !outcome.failed()));
        (fine && outcomes.len() > 30).then_some(())
    })
    .await;
}

/// Whether a failure must name the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    Required,
    Optional,
}

/// Only calls that need the process fail, and they say so in time.
fn while_down(name: &str, outcomes: &[&Outcome], naming: Naming) -> Vec<String> {
    // One example of each kind of mistake is enough.
    let mut wrong = BTreeMap::new();
    for outcome in outcomes {
        let Err(status) = &outcome.result else { continue };
        let mut note = |what: String| {
            wrong.entry(what).or_insert_with(|| format!("{outcome:?}"));
        };
        if !calls::may_need(outcome.what, name) {
            note(format!("`{}` does not need it and failed", outcome.what));
            continue;
        }
        if naming == Naming::Optional {
            continue;
        }
        if outcome.took > FAILS_WITHIN {
            note(format!("`{}` failed only after {:?}", outcome.what, outcome.took));
        }
        // Who calls a dead gateway has nobody between to name it.
        if name != "gateway" && !is_named(status, name) {
            note(format!("`{}` failed without UNAVAILABLE that names it", outcome.what));
        }
    }
    wrong.into_iter().map(|(what, example)| format!("{what}: {example}")).collect()
}

/// A call that cannot do without the process and succeeds shows that the test killed nothing.
fn must_fail(name: &str, outcomes: &[&Outcome]) -> Vec<String> {
    outcomes
        .iter()
        .filter(|outcome| calls::always_needs(outcome.what, name) && !outcome.failed())
        .map(|outcome| format!("`{}` needs it and succeeded", outcome.what))
        .collect()
}

fn recovered(outcomes: &[&Outcome]) -> Vec<String> {
    let failed = outcomes.iter().filter(|outcome| outcome.failed());
    let mut wrong: Vec<String> =
        failed.map(|outcome| format!("still failing after recovery: {outcome:?}")).collect();
    wrong.truncate(3);
    for what in calls::kinds() {
        if !outcomes.iter().any(|outcome| outcome.what == what) {
            wrong.push(format!("`{what}` did not come back"));
        }
    }
    wrong
}

/// Whether a failure is UNAVAILABLE and names the process, for people and for programs. A component that could
/// not reach it says so in the run's answer.
fn is_named(status: &tonic::Status, name: &str) -> bool {
    if let Some(error) = status.message().strip_prefix(calls::COMPONENT_ERROR) {
        return error.contains(&format!("role {name} is unavailable"));
    }
    let role = status.get_details_error_info().and_then(|info| info.metadata.get("role").cloned());
    status.code() == Code::Unavailable && role.as_deref() == Some(name) && status.message().contains(name)
}

/// Starts one process again as people do; it takes the address it had.
fn restart(suite: &Suite, name: &str) -> Child {
    let mut command = process::sre(suite.folder());
    for setting in suite.settings() {
        command.args(["--set", setting]);
    }
    command.args(["serve", name]);
    process::spawn(command, &suite.folder().join("logs").join(format!("{name}.log")))
}

/// Waits until the process's admin port says that it is ready.
async fn ready(suite: &Suite, name: &str) {
    let http = reqwest::Client::new();
    let (role, admin) = match name {
        "gateway" => (Role::Edge, "admin-edge-engine".to_owned()),
        other => (other.parse().unwrap(), format!("admin-{other}")),
    };
    eventually(&format!("{name} is ready"), Duration::from_secs(30), async || {
        let address = process::endpoints(suite.folder()).get(&admin)?.clone();
        let answer = http.get(format!("http://{address}/readyz")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    assert_eq!(process::endpoints(suite.folder())[role.name()], suite.address(role.name()), "{name} moved");
}
