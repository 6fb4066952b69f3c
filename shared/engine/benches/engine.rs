//! Time per component of pure graphs: `cargo bench -p sre-engine`.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark may stop")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use serde_json::json;
use sre_engine::{Limits, RequestData, Run};
use support::{Agent, drive_run, options};

fn chain(length: usize) -> Agent {
    let agent = (0..length)
        .fold(Agent::new().ep(&["x"]), |agent, at| agent.raw(&format!("N{at}"), json!({"Output": 1})));
    let agent = agent.link("e.x", "N0.Input");
    (1..length).fold(agent, |agent, at| agent.link(&format!("N{}.Output", at - 1), &format!("N{at}.Input")))
}

fn wide(width: usize) -> Agent {
    (0..width).fold(Agent::new().ep(&["x"]), |agent, at| {
        agent.raw(&format!("N{at}"), json!({"Output": 1})).link("e.x", &format!("N{at}.Input"))
    })
}

fn looped() -> Agent {
    let agent = Agent::new().ep(&["x"]).for_each("F", "results-array").raw("A", json!({"Output": 1}));
    agent.links(&[("e.x", "F.Input"), ("F.Loop", "A.Input")])
}

fn measure(name: &str, agent: &Agent, body: serde_json::Value, components: usize) {
    let plan = agent.plan();
    let entry = plan.entry("e").unwrap();
    let request = RequestData::post("/api/e", body.into());
    let repeat = (200_000 / components).max(1);
    let started = Instant::now();
    for _ in 0..repeat {
        let mut options = options(&plan);
        options.limits = Limits { loop_iterations: 1_000_000, ..Limits::default() };
        let mut run = Run::start(plan.clone(), entry, request.clone(), options);
        drive_run(&mut run, 0);
        assert!(run.answer().aborted.is_none());
    }
    let nanos = started.elapsed().as_nanos() as f64 / (repeat * components) as f64;
    println!("{name:<24} {:8.2} us per component", nanos / 1000.0);
}

fn main() {
    for length in [1, 10, 100, 1000, 5000] {
        measure(&format!("chain of {length}"), &chain(length), json!({"x": 1}), length);
    }
    for width in [10, 100, 1000] {
        measure(&format!("{width} side by side"), &wide(width), json!({"x": 1}), width);
    }
    for count in [100, 10_000, 100_000] {
        let list: Vec<usize> = (0..count).collect();
        measure(&format!("loop over {count}"), &looped(), json!({"x": list}), count);
    }
}
