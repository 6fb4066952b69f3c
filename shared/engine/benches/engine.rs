//! Engine time per pure component, on one thread: `cargo bench -p sre-engine`. Components take no time here:
//! what is measured is scheduling, inputs, delivery and results. Also: bytes and time of checkpoints.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark may stop")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use sre_engine::{Limits, Outcome, Plan, RequestData, Run, RunOptions, Status};
use support::{Agent, options};

/// How long one line is measured.
const TIME: Duration = Duration::from_millis(500);
/// Records between two checkpoints of a run.
const CHECKPOINT_EVERY: usize = 10_000;

fn chain(length: usize) -> Agent {
    let agent = (0..length).fold(Agent::new().ep(&["x"]), |agent, at| agent.add(&format!("N{at}"), "E"));
    let agent = agent.link("e.x", "N0.Input");
    (1..length).fold(agent, |agent, at| agent.link(&format!("N{}.Output", at - 1), &format!("N{at}.Input")))
}

/// Fan-out to `width` components and fan-in to one.
fn fan(width: usize) -> Agent {
    let agent = Agent::new().ep(&["x"]).add("Z", "E");
    (0..width).fold(agent, |agent, at| {
        let id = format!("N{at}");
        agent.add(&id, "E").link("e.x", &format!("{id}.Input")).link(&format!("{id}.Output"), "Z.Input")
    })
}

fn looped() -> Agent {
    let agent = Agent::new().ep(&["x"]).for_each("F", "results-array").add("A", "E");
    agent.links(&[("e.x", "F.Input"), ("F.Loop", "A.Input")])
}

/// Time that this thread has had a processor: what others do on the machine does not count. Where the
/// system does not tell, time on the clock.
fn cpu_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat");
    let nanos = told.ok().and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

struct Case {
    name: String,
    plan: Arc<Plan>,
    request: RequestData,
    options: RunOptions,
    components: usize,
}

impl Case {
    fn new(name: String, agent: &Agent, body: Json, components: usize) -> Self {
        let plan = agent.plan();
        let mut options = options(&plan);
        options.limits = Limits { loop_iterations: 1_000_000, ..Limits::default() };
        Self { name, request: RequestData::post("/api/e", body.into()), options, components, plan }
    }

    fn start(&self) -> Run {
        let entry = self.plan.entry("e").unwrap();
        Run::start(self.plan.clone(), entry, self.request.clone(), self.options.clone())
    }

    fn once(&self, outcome: &Outcome) {
        let mut run = self.start();
        while run.status() != Status::Finished {
            for activation in run.ready() {
                run.complete(&activation.key, outcome.clone()).unwrap();
            }
        }
        assert!(run.answer().aborted.is_none());
    }

    fn measure(&self) {
        let outcome = Outcome::output([("Output".into(), 1.into())].into());
        self.once(&outcome);
        let (started, mut runs) = (cpu_time(), 0);
        while cpu_time() - started < TIME {
            self.once(&outcome);
            runs += 1;
        }
        let nanos = (cpu_time() - started).as_nanos() as f64 / f64::from(runs);
        let micros = nanos / self.components as f64 / 1000.0;
        println!("{:<28} {micros:7.2} us per component ({runs} runs)", self.name);
    }

    /// What checkpoints cost per element of a loop.
    fn checkpoints(&self) {
        let outcome = Outcome::output([("Output".into(), 1.into())].into());
        let (mut run, mut chain, mut taken) = (self.start(), Vec::new(), Duration::ZERO);
        let (mut records, mut bytes) = (0, 0);
        while run.status() != Status::Finished {
            for activation in run.ready() {
                run.complete(&activation.key, outcome.clone()).unwrap();
                records += 1;
                if records % CHECKPOINT_EVERY == 0 {
                    let started = cpu_time();
                    let checkpoint = run.checkpoint();
                    bytes += checkpoint.encode().len();
                    taken += cpu_time() - started;
                    chain.push(checkpoint);
                }
            }
        }
        let (count, started) = (chain.len(), cpu_time());
        let entry = self.plan.entry("e").unwrap();
        let restored =
            Run::restore(self.plan.clone(), entry, self.request.clone(), self.options.clone(), chain);
        assert!(restored.is_ok());
        println!(
            "{:<28} {:7.2} bytes per component, {:.1} ms per checkpoint, {:.1} ms to restore from {count}",
            self.name,
            bytes as f64 / self.components as f64,
            taken.as_secs_f64() * 1000.0 / count.max(1) as f64,
            (cpu_time() - started).as_secs_f64() * 1000.0,
        );
    }
}

fn main() {
    // `cargo bench -p sre-engine -- ForEach` measures the lines that contain a word.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let measure = |case: Case| {
        if case.name.contains(&only) {
            case.measure();
        }
    };
    let over = |count: usize| {
        let list: Vec<usize> = (0..count).collect();
        Case::new(format!("ForEach over {count}"), &looped(), json!({ "x": list }), count)
    };
    for length in [1, 10, 50, 1000] {
        measure(Case::new(format!("chain of {length}"), &chain(length), json!({"x": 1}), length));
    }
    for width in [10, 100, 1000] {
        let name = format!("fan-out and fan-in of {width}");
        measure(Case::new(name, &fan(width), json!({"x": 1}), width + 1));
    }
    for count in [1000, 10_000, 100_000] {
        measure(over(count));
    }
    for count in [100_000, 200_000] {
        let case = over(count);
        if format!("checkpoints of {}", case.name).contains(&only) {
            case.checkpoints();
        }
    }
}
