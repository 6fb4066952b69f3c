//! Code in the sandbox: a warm call, the first call of a new process, and two teams with a hundred calls at once.

use std::time::{Duration, Instant};

use serde_json::json;
use sre_compute::workers::{Owner, Silent, Workers};
use sre_proto::compute::v1::ExecuteCodeRequest;
use sre_proto::compute::v1::code_client::CodeClient;
use sre_sandbox::Limits;
use sre_sandbox::protocol::{CallFrame, Outcome};
use sre_service::config::Compute;
use tokio::task::JoinSet;

use super::suite::{Mode, Running};
use super::{load, micros, seconds, suite};

const TRIVIAL: &str = "async function main(x) { return x }";
/// About a millisecond of the processor.
const WORK: &str = "async function main(n) { let x = 0; for (let i = 0; i < 2e4; i++) x += i; return n }";
/// Processes that are started, and calls of each of the two teams.
const COLD: usize = 30;
const CALLS: usize = 100;

/// Measures, and prints.
pub async fn measure() {
    println!("\n## Sandbox\n");
    println!("| | p50 | p99 | calls/s |");
    println!("|---|---|---|---|");
    warm().await;
    over_the_suite().await;
    cold().await;
    two_teams().await;
}

fn workers() -> Workers {
    Workers::new(&Compute { worker: Some(suite::binary()), ..Compute::default() }).unwrap()
}

fn frame(source: &str, n: usize) -> CallFrame {
    CallFrame {
        program: sre_sandbox::protocol::Program::Script(source.to_owned()),
        arguments: json!({"x": n, "n": n}).to_string(),
        limits: Limits::DEFAULT,
        http_requests: 0,
    }
}

async fn call(workers: &Workers, owner: &Owner, source: &str) {
    let ended = workers.call(owner, frame(source, 1), &mut Silent).await.unwrap();
    assert_eq!(ended.outcome, Outcome::Returned(Some("1".to_owned())));
}

fn owner(team: &str, agent: &str) -> Owner {
    Owner { team: team.to_owned(), agent: agent.to_owned() }
}

async fn warm() {
    let workers = workers();
    let figures = load::run(1, seconds(), move || {
        let workers = workers.clone();
        async move { call(&workers, &owner("red", "a"), TRIVIAL).await }
    })
    .await;
    row("a warm call, at the process", &figures);
}

/// The same through the suite: identity, policy, audit.
async fn over_the_suite() {
    let suite = Running::start(Mode::AllInOne).await;
    let client = CodeClient::new(suite.connect().await);
    let figures = load::run(1, seconds(), move || {
        let mut client = client.clone();
        async move {
            let request = ExecuteCodeRequest {
                parent: "teams/default/agents/trivial".to_owned(),
                source: TRIVIAL.to_owned(),
                arguments_json: r#"{"x":1}"#.into(),
                ..ExecuteCodeRequest::default()
            };
            assert_eq!(client.execute_code(request).await.unwrap().into_inner().result_json, "1");
        }
    })
    .await;
    row("a warm call, through the edge", &figures);
}

fn row(what: &str, figures: &load::Figures) {
    println!("| {what} | {} | {} | {:.0} |", micros(figures.p50), micros(figures.p99), figures.rate);
}

async fn cold() {
    let mut took = Vec::new();
    for n in 0..COLD {
        let workers = workers();
        let started = Instant::now();
        call(&workers, &owner("red", &format!("agent-{n}")), TRIVIAL).await;
        took.push(started.elapsed());
    }
    took.sort_unstable();
    println!(
        "| the first call of a new process | {} | {} | |",
        micros(took[COLD / 2]),
        micros(took[COLD - 1])
    );
}

async fn two_teams() {
    let workers = workers();
    let mut calls = JoinSet::new();
    let started = Instant::now();
    for n in 0..2 * CALLS {
        let workers = workers.clone();
        calls.spawn(async move {
            let team = if n < CALLS { "red" } else { "blue" };
            call(&workers, &owner(team, &format!("agent-{}", n % 4)), &WORK.replace("return n", "return 1"))
                .await;
            (team, started.elapsed())
        });
    }
    let ended = calls.join_all().await;
    println!("\n{} calls at once, one team's hundred first, then the other's:\n", 2 * CALLS);
    println!("| team | half of its calls done after | all done after |");
    println!("|---|---|---|");
    for team in ["red", "blue"] {
        let mut took: Vec<Duration> =
            ended.iter().filter(|(of, _)| *of == team).map(|(_, took)| *took).collect();
        took.sort_unstable();
        println!("| {team} | {} | {} |", micros(took[CALLS / 2]), micros(took[CALLS - 1]));
    }
}
