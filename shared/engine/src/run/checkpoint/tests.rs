//! A restored run is the run, whatever the graph and wherever it was.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::support::{Agent, execute};
use crate::testing::{Driver, Start, agents};
use crate::{Activation, ActivationKind, Run};

fn through_bytes(checkpoint: &Checkpoint) -> Checkpoint {
    Checkpoint::decode(&checkpoint.encode()).unwrap()
}

fn restored(start: &Start, chain: &[Checkpoint]) -> Run {
    let Start { plan, entry, request, options } = start.clone();
    Run::restore(plan, entry, request, options, chain.to_vec()).unwrap()
}

/// What a run hands out, in a form that can be compared.
fn handed(activations: Vec<Activation>) -> Vec<String> {
    let mut texts: Vec<String> = activations
        .iter()
        .map(|it| format!("{} {} {:?}", it.key, Value::object((*it.input).clone()).to_json_text(), it.kind))
        .collect();
    texts.sort();
    texts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_run_is_the_run(
        agent in agents(), seed in 1u64..u64::MAX, cuts in proptest::collection::vec(0usize..12, 1..5),
    ) {
        let start = Start::of(&agent);
        let mut run = start.run();
        let mut driver = Driver::new(seed);
        let mut chain = Vec::new();
        for (at, cut) in cuts.iter().enumerate() {
            for _ in 0..*cut {
                if driver.step(&mut run).is_none() {
                    break;
                }
            }
            chain.push(through_bytes(&run.checkpoint()));
            let mut again = restored(&start, &chain);
            prop_assert_eq!(again.status(), run.status());
            prop_assert_eq!(again.answer(), run.answer());
            let mut keys: Vec<String> = run.under_way().map(ToString::to_string).collect();
            keys.sort();
            let given = again.ready();
            let mut names: Vec<String> = given.iter().map(|it| it.key.to_string()).collect();
            names.sort();
            prop_assert_eq!(names, keys);
            prop_assert_eq!(handed(given), handed(driver.under_way(&mut run)));
            if at % 2 == 1 {
                // Another engine goes on with it, and with its checkpoints.
                run = restored(&start, &chain);
                driver = Driver::new(seed.rotate_left(9));
            }
        }
        let mut again = restored(&start, &chain);
        driver.finish(&mut run);
        Driver::new(!seed).finish(&mut again);
        prop_assert_eq!(again.answer(), run.answer());
        let mut whole = start.run();
        Driver::new(3).finish(&mut whole);
        prop_assert_eq!(again.answer(), whole.answer());
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..400) {
        prop_assert!(Checkpoint::decode(&bytes).is_err());
        let agent = Agent::new().ep(&["x"]).add("A", "E").link("e.x", "A.Input");
        let mut whole = Start::of(&agent).run().checkpoint().encode();
        whole.truncate(cut.min(whole.len() - 1));
        prop_assert!(Checkpoint::decode(&whole).is_err());
    }
}

fn looped() -> Agent {
    let agent = Agent::new().ep(&["x"]).for_each("F", "results-array").add("A", "PICKY");
    let ports = json!([{"name": "p"}, {"name": "q"}]);
    let agent = agent.with_inputs("Z", "E", ports);
    // Z waits behind the loop, with something from every element.
    agent.links(&[("e.x", "F.Input"), ("F.Loop", "A.Input"), ("A.Output", "Z.p"), ("F.Result", "Z.q")])
}

/// Checkpoint bytes of a loop over so many elements, and how many checkpoints there were.
fn bytes_of(count: usize, every: usize) -> (usize, Vec<Checkpoint>, Run, Start) {
    let mut start = Start::of(&looped());
    let list: Vec<String> = (0..count).map(|at| format!("element {at}")).collect();
    start.request = crate::RequestData::post("/api/e", json!({ "x": list }).into());
    let mut run = start.run();
    let (mut bytes, mut chain) = (0, Vec::new());
    for at in 1..=count {
        for activation in run.ready() {
            run.complete(&activation.key, execute(&activation)).unwrap();
        }
        if at % every == 0 {
            let checkpoint = run.checkpoint();
            bytes += checkpoint.encode().len();
            chain.push(checkpoint);
        }
    }
    (bytes, chain, run, start)
}

#[test]
fn checkpoints_of_a_loop_do_not_grow_with_it() {
    let (few, ..) = bytes_of(1_000, 500);
    let (many, chain, mut run, start) = bytes_of(10_000, 500);
    assert_eq!(chain.len(), 20);
    let (few, many) = (few / 1_000, many / 10_000);
    assert!(many <= few + 2, "{few} and {many} bytes per element");
    let mut again = restored(&start, &chain);
    Driver::new(1).finish(&mut again);
    Driver::new(1).finish(&mut run);
    assert_eq!(again.answer(), run.answer());
}

#[test]
fn a_big_value_is_written_once() {
    let agent = Agent::new().ep(&["x"]).add("A", "E").add("B", "E").add("C", "E");
    let agent =
        agent.links(&[("e.x", "A.Input"), ("e.x", "B.Input"), ("A.Output", "C.Input"), ("e.x", "C.Input")]);
    let mut start = Start::of(&agent);
    let next = |at: &u64| Some(at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let noise = std::iter::successors(Some(1u64), next).take(20_000);
    let noise: String = noise.map(|at| char::from(33 + ((at >> 33) % 90) as u8)).collect();
    start.request = crate::RequestData::post("/api/e", json!({"x": [noise]}).into());
    let mut run = start.run();
    let mut driver = Driver::new(1);
    let mut chain = vec![run.checkpoint()];
    assert!(chain[0].encode().len() > 8_000);
    // Before and after a restore.
    for again in [false, true] {
        if again {
            run = restored(&start, &chain);
            driver = Driver::new(1);
        }
        chain.push(run.checkpoint());
        let bytes = chain.last().unwrap().encode().len();
        assert!(bytes < 2_000, "{bytes} bytes");
    }
    driver.finish(&mut run);
    let mut expected = start.run();
    Driver::new(2).finish(&mut expected);
    assert_eq!(run.answer(), expected.answer());
}

#[test]
fn values_can_be_redacted_and_put_back() {
    let agent = Agent::new().ep(&["x"]).with_inputs("A", "E", json!([{"name": "Input", "type": "Binary"}]));
    let mut start = Start::of(&agent.link("e.x", "A.Input"));
    start.request = crate::RequestData::post("/api/e", json!({"x": "https://secret.example.com/a"}).into());
    let mut checkpoint = start.run().checkpoint();
    let swap = |checkpoint: &mut Checkpoint, from: &str, to: &str| {
        checkpoint.each_value(&mut |value| {
            if let Some(text) = value.as_str() {
                *value = Value::from(text.replace(from, to));
            }
        });
    };
    swap(&mut checkpoint, "secret", "*");
    let json = serde_json::to_string(&checkpoint.state).unwrap();
    assert!(!json.contains("secret") && !format!("{:?}", checkpoint.values).contains("secret"));
    swap(&mut checkpoint, "*", "secret");
    let ready = restored(&start, &[checkpoint]).ready();
    let ActivationKind::Resolve(needs) = &ready[0].kind else { panic!("{ready:?}") };
    assert!(format!("{needs:?}").contains("https://secret.example.com/a"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let start = Start::of(&looped());
    let mut run = start.run();
    let chain = [run.checkpoint(), run.checkpoint()];
    let restore = |start: &Start, chain: &[Checkpoint]| {
        let Start { plan, entry, request, options } = start.clone();
        Run::restore(plan, entry, request, options, chain.to_vec()).map(|_| ())
    };
    assert_eq!(restore(&start, &chain), Ok(()));
    assert_eq!(restore(&start, &[]), Err(RestoreError::None));
    assert_eq!(restore(&start, &chain[1..]), Err(RestoreError::Chain { expected: 0, found: 1 }));
    let other = Start::of(&Agent::new().ep(&["x"]).add("B", "E").link("e.x", "B.Input"));
    assert!(matches!(restore(&other, &chain), Err(RestoreError::Misfit(_))));
    let mut bytes = chain[0].encode();
    bytes[3] = 9;
    assert_eq!(Checkpoint::decode(&bytes).unwrap_err(), CheckpointError::Format(9));
}
