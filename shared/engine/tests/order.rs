//! The order in which executions end has no influence, whatever the graph; a fold of a journal gives the
//! same answer as the run that wrote it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod support;

use proptest::prelude::*;
use serde_json::json;
use sre_engine::{Answer, RequestData, Run, Status};
use support::{Agent, drive, drive_run, execute, options};

const KINDS: [&str; 8] = ["E", "E", "E", "PICKY", "FAIL", "HARD", "IS", "ForEach"];

/// A random agent of up to 12 components: any connection between any two, cycles and loops included.
fn agents() -> impl Strategy<Value = Agent> {
    let component = (0..KINDS.len(), any::<bool>());
    let link = (0..14usize, 0..3usize, 0..12usize, 0..2usize);
    (proptest::collection::vec(component, 2..12), proptest::collection::vec(link, 1..24)).prop_map(
        |(components, links)| {
            let mut agent = Agent::new().ep(&["x", "y"]);
            for (index, (kind, optional)) in components.iter().enumerate() {
                let inputs = json!([{"name": "Input"}, {"name": "q", "optional": optional}]);
                let outputs = match KINDS[*kind] {
                    "ForEach" => {
                        json!([{"name": "Loop", "default": true}, {"name": "Result", "default": true},
                        {"name": "_error"}])
                    }
                    "IS" => json!([{"name": "Yes", "default": true}, {"name": "No", "default": true},
                        {"name": "_error"}]),
                    _ => {
                        json!([{"name": "Output", "default": true}, {"name": "Input", "expression": "Input"},
                        {"name": "_error"}])
                    }
                };
                agent = agent.full(&format!("N{index}"), KINDS[*kind], json!({}), inputs, outputs);
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

fn answer(agent: &Agent, seed: u64) -> Answer {
    let plan = agent.plan();
    let request = RequestData::post("/api/e", json!({"x": [1, "bad", [2, 3]], "y": "k"}).into());
    let mut options = options(&plan);
    // Circles end early enough to be tested often.
    options.limits.circular = 8;
    drive(&plan, &request, options, seed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_does_not_depend_on_the_order(agent in agents(), seed in 1u64..u64::MAX) {
        let first = answer(&agent, 0);
        prop_assert_eq!(&first, &answer(&agent, seed), "order {}", seed);
        prop_assert_eq!(&first, &answer(&agent, seed.rotate_left(17)), "order {}", seed.rotate_left(17));
    }

    #[test]
    fn a_fold_of_the_journal_gives_the_same_answer(agent in agents(), seed in 1u64..u64::MAX, cut in 0usize..40) {
        let plan = agent.plan();
        let request = RequestData::post("/api/e", json!({"x": [1, [2]], "y": "k"}).into());
        let entry = plan.route("POST", "/api/e").unwrap();
        let start = || {
            let mut options = options(&plan);
            options.limits.circular = 8;
            Run::start(plan.clone(), entry, request.clone(), options)
        };
        let mut run = start();
        let mut journal = Vec::new();
        let mut random = seed;
        let mut pool = Vec::new();
        loop {
            pool.extend(run.ready());
            if pool.is_empty() { break }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let activation: sre_engine::Activation = pool.remove((random >> 33) as usize % pool.len());
            let outcome = execute(&activation);
            run.complete(&activation.key, outcome.clone()).unwrap();
            journal.push((activation.key, outcome));
        }
        prop_assert_eq!(run.status(), Status::Finished);
        // A crash after some records: fold them, then go on. Keys and outcomes pass through their text form.
        let mut resumed = start();
        for (key, outcome) in journal.iter().take(cut) {
            let key = key.to_string().parse().unwrap();
            let outcome = serde_json::from_str(&serde_json::to_string(outcome).unwrap()).unwrap();
            resumed.complete(&key, outcome).unwrap();
        }
        drive_run(&mut resumed, seed);
        prop_assert_eq!(run.answer(), resumed.answer());
    }
}
