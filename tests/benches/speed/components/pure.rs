//! Every pure component in process: its example's input, again and again. What the engine settles itself is measured
//! as a run of its example without the components that are executed, for each component of it.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use sre_components::{Call, reference, registry};
use sre_engine::spec::{ComponentSpec, Flow};
use sre_engine::{
    Activation, ActivationKey, ActivationKind, Effect, Outcome, RequestData, Run, RunOptions, Status,
};

use super::context::{Suite, TestContext};
use super::driver::Agent;

const TIMES: usize = 2_000;
/// What is promised of each.
const TARGET: Duration = Duration::from_micros(10);

/// One table over all pure types.
pub async fn measure() {
    println!(
        "Pure components in process, the median of {TIMES} (the target is {} µs):\n",
        TARGET.as_micros()
    );
    println!("| type | median | p99 | |");
    println!("|---|---|---|---|");
    for spec in registry().specs().filter(|spec| spec.effect == Effect::Pure && spec.flow != Flow::Inert) {
        let Some(mut took) = of(spec).await else {
            println!("| {} | | | its example needs something from outside |", spec.name);
            continue;
        };
        took.sort_unstable();
        let (median, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        let how = if spec.flow == Flow::Plain { "executed" } else { "settled by the engine" };
        let met = if median < TARGET { "" } else { ", over the target" };
        println!("| {} | {:.2} µs | {:.2} µs | {how}{met} |", spec.name, micros(median), micros(p99));
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1_000.0
}

async fn of(spec: &ComponentSpec) -> Option<Vec<Duration>> {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let text = std::fs::read_to_string(root.join(reference::example(spec))).unwrap();
    let document: Json = serde_json::from_str(&text).unwrap();
    if document["needs"].is_string() {
        return None;
    }
    let agent = Agent::new(&document, Suite::new(&[]));
    let (activations, outcomes, count) = once(&agent).await;
    if spec.flow != Flow::Plain {
        return Some((0..TIMES / 4).map(|_| settled(&agent, &outcomes) / count).collect());
    }
    let activation = activations.into_iter().find(|it| it.node.type_name.as_ref() == spec.name)?;
    let component = registry().component(spec.name).unwrap();
    let context = TestContext::new(agent);
    let mut took = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let call = Call { input: &activation.input, node: &activation.node, context: &context };
        let began = Instant::now();
        black_box(component.process(call).await);
        took.push(began.elapsed());
    }
    Some(took)
}

fn start(agent: &Agent) -> Run {
    let request = RequestData::post(format!("/api/{}", reference::SKILL), json!({}).into());
    let entry = agent.plan.route(&request.method, &request.path).unwrap();
    let options = RunOptions { run_id: "run".into(), ..RunOptions::default() };
    Run::start(agent.plan.clone(), entry, request, options)
}

/// Runs an example once: what was executed, how it ended, and of how many components the run was.
async fn once(agent: &Agent) -> (Vec<Activation>, HashMap<ActivationKey, Outcome>, u32) {
    let (mut run, mut activations, mut outcomes) = (start(agent), Vec::new(), HashMap::new());
    while run.status() != Status::Finished {
        for activation in run.ready() {
            assert_eq!(activation.kind, ActivationKind::Execute, "examples are plain");
            let component = registry().component(&activation.node.type_name).unwrap();
            let context = TestContext::new(agent.clone());
            let call = Call { input: &activation.input, node: &activation.node, context: &context };
            let outcome = component.process(call).await;
            outcomes.insert(activation.key.clone(), outcome.clone());
            run.complete(&activation.key, outcome).unwrap();
            activations.push(activation);
        }
    }
    (activations, outcomes, u32::try_from(agent.plan.nodes().len()).unwrap())
}

fn settled(agent: &Agent, outcomes: &HashMap<ActivationKey, Outcome>) -> Duration {
    let began = Instant::now();
    let mut run = start(agent);
    while run.status() != Status::Finished {
        for activation in run.ready() {
            run.complete(&activation.key, outcomes[&activation.key].clone()).unwrap();
        }
    }
    black_box(run.answer());
    began.elapsed()
}
