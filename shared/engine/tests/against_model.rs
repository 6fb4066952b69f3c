//! Random graphs against a sequential model of the spec (`model/`): fan-in, optional inputs, defaults, circles,
//! loops and loops in loops, failures and their handlers, jobs. Components take random times; the answer is the
//! model's, whatever ends first. A run that is folded again from any part of its journal, or goes on from any
//! checkpoint, comes to the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

mod model;
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::document::{Document, Entry};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use sre_engine::{
    Activation, ActivationKey, ActivationKind, Checkpoint, EntryId, Map, Outcome, Plan, RequestData, Run,
    RunOptions, Status, Value, compile, value::map_from_json,
};
use support::Doubles;

/// Executions of one component before a run is stopped: low, so that circles end early.
const CIRCULAR: u32 = 6;

#[derive(Clone, Debug)]
struct Gene {
    kind: u8,
    parent: u8,
    source: u8,
    optional: bool,
    default: bool,
}

#[derive(Clone, Debug)]
struct LinkGene {
    from: u8,
    output: u8,
    to: u8,
    input: u8,
}

fn documents() -> impl Strategy<Value = Json> {
    let gene =
        (any::<u8>(), any::<u8>(), any::<u8>(), any::<bool>(), proptest::bool::weighted(0.15)).prop_map(
            |(kind, parent, source, optional, default)| Gene { kind, parent, source, optional, default },
        );
    let link = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>())
        .prop_map(|(from, output, to, input)| LinkGene { from, output, to, input });
    let order = any::<u64>();
    (proptest::collection::vec(gene, 1..11), proptest::collection::vec(link, 0..12), order)
        .prop_map(|(genes, links, order)| document(&genes, &links, order))
}

const KINDS: [&str; 22] = [
    "E",
    "E",
    "E",
    "E",
    "E",
    "PICKY",
    "PICKY",
    "FAIL",
    "HARD",
    "IS",
    "RAW",
    "ForEach",
    "ForEach",
    "ForEach",
    "ForEach",
    "Async",
    "Map",
    "Map",
    "Map",
    "Loop",
    "Retry",
    "ErrorHandler",
];

/// The outputs that may be connected, by type.
fn outputs(kind: &str) -> &'static [&'static str] {
    match kind {
        "APIEndpoint" => &["x", "y", "z"],
        "IS" => &["Yes", "No"],
        "ForEach" => &["Result"],
        "Map" => &["Result", "Errors", "_error"],
        "Loop" => &["Result", "Iterations", "_error"],
        "Retry" => &["Result", "Attempts", "_error"],
        "ErrorHandler" => &["Result", "Message"],
        "Async" => &["JobID", "Input", "JobID"],
        "E" => &["Output", "Input"],
        "FAIL" | "HARD" => &["_error"],
        _ => &["Output", "_error"],
    }
}

/// What a component with a body hands to it.
fn hands(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "ForEach" => "Loop",
        "Map" => "Item",
        "Loop" => "State",
        "Retry" => "Attempt",
        "ErrorHandler" => "Try",
        _ => return None,
    })
}

fn document(genes: &[Gene], links: &[LinkGene], order: u64) -> Json {
    // Place 0 is the endpoint. A loop may hold later components.
    let mut kinds = vec!["APIEndpoint"];
    let mut parents: Vec<Option<usize>> = vec![None];
    let mut records =
        vec![json!({"id": "e", "name": "APIEndpoint", "displayName": "ep", "data": {"endpoint": "e"},
        "inputs": [{"name": "x"}, {"name": "y"}, {"name": "z"}],
        "outputs": [{"name": "body", "default": true}, {"name": "x", "expression": "body.x"},
                    {"name": "y", "expression": "body.y"}, {"name": "z", "expression": "body.z"}]})];
    let mut wires: Vec<(usize, &str, usize, &str)> = Vec::new();
    for (at, gene) in genes.iter().enumerate().map(|(index, gene)| (index + 1, gene)) {
        let kind = KINDS[usize::from(gene.kind) % KINDS.len()];
        let loops: Vec<usize> = (1..at).filter(|at| hands(kinds[*at]).is_some()).collect();
        let parent = (!loops.is_empty() && gene.parent % 4 != 0)
            .then(|| loops[usize::from(gene.parent) % loops.len()]);
        records.push(component(at, kind, gene));
        // Everything gets its input from something before it: of its own scope, or the loop around it.
        let siblings: Vec<usize> = (1..at).filter(|other| parents[*other] == parent).collect();
        let pick = usize::from(gene.source);
        let (from, output) = match parent {
            Some(around) if siblings.is_empty() || pick % 2 == 0 => {
                (around, hands(kinds[around]).unwrap_or_default())
            }
            None if siblings.is_empty() || pick % 3 == 0 => (0, outputs("APIEndpoint")[pick % 2]),
            _ => {
                let from = siblings[pick % siblings.len()];
                (from, outputs(kinds[from])[pick / 7 % outputs(kinds[from]).len()])
            }
        };
        kinds.push(kind);
        parents.push(parent);
        wires.push((from, output, at, "Input"));
    }
    for gene in links {
        let (from, to) = (usize::from(gene.from) % kinds.len(), 1 + usize::from(gene.to) % (kinds.len() - 1));
        let around =
            |at: usize| std::iter::successors(parents[at], |at| parents[*at]).collect::<BTreeSet<_>>();
        let output = outputs(kinds[from])[usize::from(gene.output) % outputs(kinds[from]).len()];
        if parents[from] == parents[to] {
            // Within a scope anything goes, circles too.
            wires.push((from, output, to, if gene.input % 2 == 0 { "Input" } else { "q" }));
        } else if around(from).is_subset(&around(to)) && !around(to).contains(&from) {
            // From outside a loop's body only to what is not fed by the loop.
            wires.push((from, output, to, "q"));
        }
    }
    let mut connections: Vec<Json> = wires
        .iter()
        .map(|(from, output, to, input)| {
            json!({"sourceId": records[*from]["id"], "sourceIndex": output, "targetId": records[*to]["id"],
                "targetIndex": input})
        })
        .collect();
    shuffle(&mut records, order);
    shuffle(&mut connections, order.rotate_left(32));
    json!({"version": "1", "id": "random", "components": records, "connections": connections})
}

fn component(at: usize, kind: &str, gene: &Gene) -> Json {
    let formats = ["minimal", "full", "results-array"];
    let mut q = json!({"name": "q", "optional": gene.optional});
    if gene.default {
        q["defaultVal"] = json!("dv");
    }
    let ports = match kind {
        "IS" => json!([{"name": "Yes", "default": true}, {"name": "No", "default": true}]),
        "ForEach" => json!([{"name": "Loop", "default": true}, {"name": "Result", "default": true}]),
        "Async" => json!([{"name": "JobID", "default": true}, {"name": "Input"}, {"name": "q"}]),
        kind if hands(kind).is_some() => {
            let names = hands(kind).into_iter().chain(outputs(kind).iter().copied());
            names.map(|name| json!({"name": name, "default": name != "_error"})).collect()
        }
        _ => {
            json!([{"name": "Output", "default": true}, {"name": "Input", "expression": "Input"}, {"name": "_error"}])
        }
    };
    let values = [
        json!({"Output": 1, "_error": "soft"}),
        json!({"Output": [1, [2]]}),
        json!({"Output": null}),
        json!({}),
    ];
    let (one, other) = (usize::from(gene.source), usize::from(gene.parent));
    let data = match kind {
        "Map" => {
            let format = ["value", "full", "minimal", "results-array"][other % 4];
            let on_error = ["collect", "stop"][other / 4 % 2];
            json!({"concurrency": 1 + one % 4, "format": format, "onError": on_error})
        }
        "Loop" => {
            let (operator, test) =
                (["truthy", "falsy", "exists"][other % 3], ["before", "after"][one / 3 % 2]);
            let (on_limit, on_error) = (["error", "stop"][other / 3 % 2], ["stop", "continue"][one / 6 % 2]);
            json!({"maxIterations": 1 + one % 3, "operator": operator, "test": test, "onLimit": on_limit,
                "onError": on_error})
        }
        "Retry" => json!({"maxAttempts": 1 + one % 3, "delay": other % 2}),
        "ErrorHandler" if one % 2 == 0 => json!({"fallback": [one, "none"]}),
        "ErrorHandler" => json!({}),
        _ => json!({"format": formats[one % 3], "v": values[other % 4]}),
    };
    json!({"id": format!("N{at}"), "name": kind, "displayName": format!("{kind} label"), "title": format!("no {at}"),
        "data": data, "inputs": [{"name": "Input"}, q], "outputs": ports})
}

fn shuffle(list: &mut [Json], mut seed: u64) {
    for at in (1..list.len()).rev() {
        seed = random(seed);
        list.swap(at, (seed >> 33) as usize % (at + 1));
    }
}

fn random(seed: u64) -> u64 {
    seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

fn body() -> Json {
    json!({"x": ["a", "bad", [2, 3]], "y": "k"})
}

/// A document compiled for the engine and read by the model.
struct Both {
    plan: Arc<Plan>,
    doc: Document,
    text: Json,
}

/// Where a run starts: the endpoint, or a job with its input.
#[derive(Clone, Debug)]
enum From {
    Endpoint,
    Job(String, Json),
}

impl Both {
    fn of(text: Json) -> Self {
        let plan = compile(&text, &Doubles).unwrap_or_else(|issues| panic!("{issues:#?}\n{text}"));
        Self { plan: Arc::new(plan), doc: Document::read(&text), text }
    }

    fn modelled(&self, from: &From) -> model::Answer {
        let entry = match from {
            From::Endpoint => Entry {
                node: self.doc.place("e"),
                output: json!({"headers": {}, "body": body(), "query": {}, "params": {}}),
                is_job: false,
            },
            From::Job(id, input) => {
                let mut output = json!({ "JobID": "the-job" });
                output.as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
                Entry { node: self.doc.place(id), output, is_job: true }
            }
        };
        model::run(&self.doc, entry, CIRCULAR)
    }

    fn started(&self, from: &From) -> Run {
        let (entry, request, options) = self.entry(from);
        Run::start(self.plan.clone(), entry, request, options)
    }

    fn entry(&self, from: &From) -> (EntryId, RequestData, RunOptions) {
        let mut options = RunOptions { run_id: "r".into(), ..RunOptions::default() };
        options.limits.circular = CIRCULAR;
        let (entry, request): (EntryId, RequestData) = match from {
            From::Endpoint => (self.plan.entry("e").unwrap(), RequestData::post("/api/e", body().into())),
            From::Job(id, input) => {
                options.job_id = "the-job".into();
                let Json::Object(map) = input.clone() else { panic!("{input}") };
                options.job_input = map_from_json(map);
                (self.plan.fork(id).unwrap(), RequestData::default())
            }
        };
        (entry, request, options)
    }

    fn execute(&self, activation: &Activation) -> Outcome {
        assert_eq!(activation.kind, ActivationKind::Execute);
        let Json::Object(input) = Json::from(&Value::Object(activation.input.clone())) else {
            panic!("an object")
        };
        let node = &self.doc.nodes[self.doc.place(&activation.node.id)];
        Outcome::raw(Value::from(model::document::double(node, &input)))
    }

    /// Goes on with a run, every component taking a time drawn from the seed; notes what ended, in that order.
    fn drive(&self, run: &mut Run, mut seed: u64) -> Vec<(ActivationKey, Outcome)> {
        let (mut now, mut under_way, mut journal) = (0u64, Vec::new(), Vec::new());
        loop {
            for activation in run.ready() {
                seed = random(seed);
                under_way.push((now + (seed >> 33) % 10, activation));
            }
            let Some(first) = (0..under_way.len()).min_by_key(|at| under_way[*at].0) else { break };
            let (ends, activation) = under_way.remove(first);
            now = ends;
            let outcome = self.execute(&activation);
            run.complete(&activation.key, outcome.clone()).unwrap();
            journal.push((activation.key, outcome));
        }
        assert_eq!(run.status(), Status::Finished);
        journal
    }
}

fn starved(run: &Run) -> BTreeSet<(String, Vec<String>)> {
    let names = |missing: &[Arc<str>]| missing.iter().map(ToString::to_string).collect();
    run.answer().starved.iter().map(|it| (it.component.clone(), names(&it.missing))).collect()
}

fn check(both: &Both, from: &From, seed: u64) -> Result<model::Answer, TestCaseError> {
    let expected = both.modelled(from);
    // Where a Map stops at a failure, elements behind it may have gone in circles before it was known.
    let stops = both.text.to_string().contains("\"stop\"");
    for seed in [seed, seed.rotate_left(21), !seed] {
        let mut run = both.started(from);
        both.drive(&mut run, seed);
        if stops && run.answer().aborted.is_some() {
            continue;
        }
        prop_assert_eq!(
            &run.answer().legacy_json(),
            &expected.legacy,
            "{:?} order {} of {}",
            from,
            seed,
            both.text
        );
        prop_assert_eq!(&starved(&run), &expected.starved, "{:?} order {} of {}", from, seed, both.text);
    }
    Ok(expected)
}

fn config(cases: u32) -> ProptestConfig {
    let cases = std::env::var("MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, max_shrink_iters: 3000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn a_run_comes_to_what_the_spec_says(text in documents(), seed in any::<u64>()) {
        let both = Both::of(text);
        let answer = check(&both, &From::Endpoint, seed)?;
        // Each job by itself, as its own run; their jobs are like these.
        for (id, input) in answer.jobs.into_iter().take(3) {
            check(&both, &From::Job(id, input), seed)?;
        }
    }

    #[test]
    fn a_crash_anywhere_changes_nothing(text in documents(), seed in any::<u64>(), cuts in any::<[u16; 3]>()) {
        let both = Both::of(text);
        let mut whole = both.started(&From::Endpoint);
        let journal = both.drive(&mut whole, seed);
        let mut from = 0;
        // Three crashes, one after the other: each new owner folds what is there and goes on for a while.
        let mut known: Vec<(ActivationKey, Outcome)> = Vec::new();
        for cut in cuts {
            let take = usize::from(cut) % (journal.len() + 1);
            from = from.max(take);
            known.extend(journal[known.len().min(from)..from].iter().cloned());
            let mut run = both.started(&From::Endpoint);
            for (key, outcome) in &known {
                // Through their written form, as a journal holds them.
                let key: ActivationKey = key.to_string().parse().unwrap();
                let outcome: Outcome = serde_json::from_str(&serde_json::to_string(outcome).unwrap()).unwrap();
                run.complete(&key, outcome).unwrap();
            }
            let again = both.drive(&mut run, seed.rotate_left(u32::from(cut) % 64));
            if both.text.to_string().contains("\"stop\"") && run.answer().aborted.is_some() {
                return Ok(());
            }
            prop_assert_eq!(whole.answer(), run.answer(), "cut {} of {}", from, both.text);
            // What ended is not executed again.
            let before: BTreeSet<String> = known.iter().map(|(key, _)| key.to_string()).collect();
            prop_assert!(again.iter().all(|(key, _)| !before.contains(&key.to_string())));
        }
    }

    #[test]
    fn checkpoints_anywhere_change_nothing(
        text in documents(),
        seed in any::<u64>(),
        every in 1usize..6,
        stop in any::<u16>(),
    ) {
        let both = Both::of(text);
        let mut whole = both.started(&From::Endpoint);
        let journal = both.drive(&mut whole, seed);
        let stop = usize::from(stop) % (journal.len() + 1);
        // Owners write a checkpoint now and then and die, one after half of the way; the last goes on to the end.
        let (mut checkpoints, mut folded): (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
        let owner = |checkpoints: &[Vec<u8>]| {
            let read: Vec<Checkpoint> = checkpoints.iter().map(|it| Checkpoint::decode(it).unwrap()).collect();
            if read.is_empty() {
                return both.started(&From::Endpoint);
            }
            let (entry, request, options) = both.entry(&From::Endpoint);
            Run::restore(both.plan.clone(), entry, request, options, read).unwrap()
        };
        for end in [stop / 2, stop] {
            let mut run = owner(&checkpoints);
            for (index, (key, outcome)) in journal.iter().enumerate().take(end).skip(folded) {
                if index % 2 == 0 {
                    // Handed out or not makes no difference to what is written.
                    run.ready();
                }
                run.complete(key, outcome.clone()).unwrap();
                if index % every == 0 {
                    checkpoints.push(run.checkpoint().encode());
                    folded = index + 1;
                }
            }
        }
        let mut next = owner(&checkpoints);
        for (key, outcome) in &journal[folded..stop] {
            next.complete(key, outcome.clone()).unwrap();
        }
        let again = both.drive(&mut next, !seed);
        if both.text.to_string().contains("\"stop\"") && next.answer().aborted.is_some() {
            return Ok(());
        }
        prop_assert_eq!(whole.answer(), next.answer(), "stop {} every {} of {}", stop, every, both.text);
        let before: BTreeSet<String> = journal[..stop].iter().map(|(key, _)| key.to_string()).collect();
        prop_assert!(again.iter().all(|(key, _)| !before.contains(&key.to_string())));
    }
}

/// The graphs are what the tests are for: none of what they are to show is missing.
#[test]
fn the_graphs_have_what_they_are_for() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut circles, mut handled, mut nested, mut waited, mut jobs, mut results) = (0, 0, 0, 0, 0, 0);
    for _ in 0..400 {
        let both = Both::of(documents().new_tree(&mut runner).unwrap().current());
        let mut run = both.started(&From::Endpoint);
        let journal = both.drive(&mut run, 7);
        let text = run.answer().legacy_json().to_string();
        circles += usize::from(text.contains("Circular Calls"));
        results += usize::from(!run.answer().results.is_empty());
        waited += usize::from(!run.answer().starved.is_empty());
        nested += usize::from(journal.iter().any(|(key, _)| key.path.len() == 2));
        jobs += usize::from(journal.iter().any(|(_, outcome)| {
            let output: Option<Map> = outcome.output.as_ref().and_then(Value::as_object).cloned();
            output.is_some_and(|map| map.contains_key("JobID"))
        }));
        handled += usize::from(text.contains("\"boom\"") && !text.contains("\"_error\":\"boom\""));
    }
    let counts = [circles, handled, nested, waited, jobs, results];
    assert!(
        counts.iter().all(|count| *count >= 8),
        "circles, handled, nested, waited, jobs, results: {counts:?}"
    );
}
