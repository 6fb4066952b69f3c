//! Two teams with many calls at once.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use sre_compute::workers::Workers;
use sre_sandbox::limits::Limit;
use sre_service::config::Compute;

use super::support::{Said, call, owner, settings};

const WORK: &str = "async function main(n) { let x = 0; for (let i = 0; i < 2e4; i++) x += i; return n }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_teams_with_a_hundred_calls_each_get_on_side_by_side() {
    let workers = Workers::new(&Compute { max_workers: 4, ..settings() }).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut calls = Vec::new();
    // All of one team's first.
    for n in 0..200 {
        let (workers, order) = (workers.clone(), Arc::clone(&order));
        calls.push(sre_service::task::spawn("call", async move {
            let team = if n < 100 { "red" } else { "blue" };
            let gave = call(&workers, &owner(team, &format!("agent-{}", n % 2)), WORK, json!({"n": n})).await;
            assert_eq!(gave, Said::Gave(json!(n)));
            order.lock().push(team);
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    let order = order.lock();
    assert_eq!(order.len(), 200);
    // They take turns: whoever looks while both have work finds both served.
    let first = &order[..100];
    let red = first.iter().filter(|team| **team == "red").count();
    assert!((35..=65).contains(&red), "{red} of the first hundred");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_that_holds_everything_up_holds_up_itself() {
    let settings = Compute { max_workers: 4, concurrent_per_team: 2, waiting_per_team: 3, ..settings() };
    let workers = Workers::new(&settings).unwrap();
    let sleep =
        "async function main() { await new Promise((done) => setTimeout(done, 2500)); return 'slept' }";
    let mut held = Vec::new();
    for _ in 0..6 {
        let workers = workers.clone();
        held.push(sre_service::task::spawn("held", async move {
            call(&workers, &owner("red", "sleeper"), sleep, json!({})).await
        }));
    }
    // Meanwhile another team is served.
    for n in 0..5 {
        let gave = call(&workers, &owner("blue", "quick"), WORK, json!({"n": n})).await;
        assert_eq!(gave, Said::Gave(json!(n)));
    }
    assert!(held.iter().any(|held| !held.is_finished()), "red still waits");
    let mut refused = 0;
    for held in held {
        match held.await.unwrap() {
            Said::Exceeded(Limit::Concurrency) => refused += 1,
            other => assert_eq!(other, Said::Gave(json!("slept"))),
        }
    }
    assert_eq!(refused, 1, "two run, three wait, the sixth is refused");
}
