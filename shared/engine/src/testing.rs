//! Random agents, and runs of them that leave a journal.

#[path = "../tests/support/mod.rs"]
pub mod support;

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use crate::{
    Activation, ActivationKey, ActivationKind, EntryId, Plan, Report, RequestData, Run, RunOptions, Status,
};
use support::{Agent, execute, resolve};

const KINDS: [&str; 14] = [
    "E",
    "E",
    "E",
    "PICKY",
    "FAIL",
    "HARD",
    "IS",
    "ForEach",
    "ForEach",
    "APIOutput",
    "Map",
    "Loop",
    "Retry",
    "ErrorHandler",
];

/// A random agent of up to 12 components: any connection between any two, cycles, loops, handlers, optional
/// and binary inputs included.
pub fn agents() -> impl Strategy<Value = Agent> {
    let component = (0..KINDS.len(), any::<bool>(), 0..8usize);
    let link = (0..14usize, 0..3usize, 0..12usize, 0..2usize);
    (proptest::collection::vec(component, 2..12), proptest::collection::vec(link, 1..24)).prop_map(
        |(components, links)| {
            let mut agent = Agent::new().ep(&["x", "y"]);
            for (index, (kind, optional, kind_of_input)) in components.iter().enumerate() {
                let input_type = if *kind_of_input == 0 { "Binary" } else { "Any" };
                let inputs =
                    json!([{"name": "Input", "type": input_type}, {"name": "q", "optional": optional}]);
                let outputs = match KINDS[*kind] {
                    "ForEach" => {
                        json!([{"name": "Loop", "default": true}, {"name": "Result", "default": true},
                        {"name": "_error"}])
                    }
                    "Map" => json!([{"name": "Item", "default": true}, {"name": "Result", "default": true},
                        {"name": "_error"}]),
                    "Loop" => json!([{"name": "State", "default": true}, {"name": "Result", "default": true},
                        {"name": "_error"}]),
                    "Retry" => {
                        json!([{"name": "Attempt", "default": true}, {"name": "Result", "default": true},
                        {"name": "_error"}])
                    }
                    "ErrorHandler" => {
                        json!([{"name": "Try", "default": true}, {"name": "Message", "default": true},
                        {"name": "Result", "default": true}])
                    }
                    "IS" => json!([{"name": "Yes", "default": true}, {"name": "No", "default": true},
                        {"name": "_error"}]),
                    _ => {
                        json!([{"name": "Output", "default": true}, {"name": "Input", "expression": "Input"},
                        {"name": "_error"}])
                    }
                };
                let data = match KINDS[*kind] {
                    "APIOutput" => json!({"format": "full"}),
                    "Map" => json!({"concurrency": 1 + kind_of_input % 3}),
                    "Loop" => json!({"maxIterations": 1 + kind_of_input % 3}),
                    "Retry" => json!({"maxAttempts": 1 + kind_of_input % 3, "delay": kind_of_input % 2}),
                    _ => json!({}),
                };
                agent = agent.full(&format!("N{index}"), KINDS[*kind], data, inputs, outputs);
            }
            for (from, output, to, input) in links {
                let to = to % components.len();
                let from = match from % (components.len() + 2) {
                    0 | 1 => format!("e.{}", 3 + output % 2),
                    node => format!("N{}.{output}", node - 2),
                };
                agent = agent.link(&from, &format!("N{to}.{input}"));
            }
            agent
        },
    )
}

/// How to start a run of an agent, again and again.
#[derive(Clone)]
pub struct Start {
    pub plan: Arc<Plan>,
    pub entry: EntryId,
    pub request: RequestData,
    pub options: RunOptions,
}

impl Start {
    pub fn of(agent: &Agent) -> Self {
        let plan = agent.plan();
        let entry = plan.entry("e").unwrap();
        let body = json!({"x": [1, "bad", "https://example.com/a", [2, 3]], "y": "k"});
        let mut options = support::options(&plan);
        // Circles end early enough to be tested often.
        options.limits.circular = 8;
        Self { request: RequestData::post("/api/e", body.into()), entry, options, plan }
    }

    pub fn run(&self) -> Run {
        Run::start(self.plan.clone(), self.entry, self.request.clone(), self.options.clone())
    }
}

/// Reports about what is under way, one at a time and in random order.
pub struct Driver {
    random: u64,
    pool: Vec<Activation>,
}

impl Driver {
    pub fn new(seed: u64) -> Self {
        Self { random: seed, pool: Vec::new() }
    }

    /// One report; `None` once the run is over.
    pub fn step(&mut self, run: &mut Run) -> Option<(ActivationKey, Report)> {
        self.pool.extend(run.ready());
        if self.pool.is_empty() {
            assert_eq!(run.status(), Status::Finished);
            return None;
        }
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let activation = self.pool.remove((self.random >> 33) as usize % self.pool.len());
        let report = report(&activation);
        give(run, &activation.key, &report).unwrap();
        Some((activation.key, report))
    }

    /// What is handed out and not reported, and what is ready.
    pub fn under_way(&mut self, run: &mut Run) -> Vec<Activation> {
        self.pool.extend(run.ready());
        self.pool.clone()
    }

    /// All reports to the end.
    pub fn finish(&mut self, run: &mut Run) -> Vec<(ActivationKey, Report)> {
        std::iter::from_fn(|| self.step(run)).collect()
    }
}

fn report(activation: &Activation) -> Report {
    match &activation.kind {
        ActivationKind::Execute => Report::Finished(execute(activation)),
        ActivationKind::Resolve(needs) => Report::Resolved(needs.iter().map(resolve).collect()),
    }
}

pub fn give(run: &mut Run, key: &ActivationKey, report: &Report) -> Result<(), crate::RunError> {
    match report {
        Report::Finished(outcome) => run.complete(key, outcome.clone()),
        Report::Resolved(values) => run.resolve(key, values.clone()),
    }
}
