//! Loops: one sub-run of the body per element, strictly one after the other (§5.1, rulings 19 and 20).

use std::sync::Arc;

use super::Run;
use super::answer::{clean, entry_value, posted};
use super::state::{Scope, Work};
use crate::data::permissive_json;
use crate::data::typing::split_commas;
use crate::key::LoopStep;
use crate::node::Node;
use crate::outcome::failure;
use crate::plan::compile::flow;
use crate::prepare::error_output;
use crate::spec::{Flow, Posted};
use crate::value::{Map, Value};

/// A loop under way.
#[derive(Debug)]
pub(super) struct Looping {
    pub elements: Arc<Vec<Value>>,
    pub next: usize,
    pub results: Vec<Value>,
    pub format: Format,
    /// Scope of the body.
    pub scope: u32,
    /// Round the loop itself is in.
    pub round: u32,
    /// Round it started in, which names it.
    pub started: u32,
    /// Tells it from other loops at the same place.
    pub id: u64,
    /// Results that the last checkpoint has.
    pub saved: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Full,
    Minimal,
    ResultsArray,
}

impl Format {
    /// What the record says.
    pub fn of(node: &Node) -> Self {
        match node.text_setting("format") {
            Some("minimal") => Self::Minimal,
            Some("results-array") => Self::ResultsArray,
            _ => Self::Full,
        }
    }
}

impl Run {
    pub(super) fn start_loop(&mut self, scope: u32, place: u32, round: u32, input: &Map) {
        let plan = self.plan.clone();
        let spot = self.place(scope, place);
        let node = &plan.nodes[spot.node as usize];
        let region = spot.body.as_ref().and_then(|body| body.region);
        let elements = elements(input.get("Input"));
        let is_trigger = flow(node) == Flow::Trigger;
        let limit = self.options.limits.loop_iterations;
        if elements.len() > limit {
            let message = format!("the loop has {} elements, the limit is {limit}", elements.len());
            self.settle(scope, place, round, error_output(message));
            return;
        }
        let Some(region) = region else {
            // Without a body every element is its own result.
            self.settle(scope, place, round, result(Value::Array(elements)));
            return;
        };
        let child = self.allocate(region, (scope, place));
        self.serial += 1;
        self.scopes[scope as usize].slots[place as usize].looping = Some(Box::new(Looping {
            elements,
            next: 0,
            results: Vec::new(),
            format: if is_trigger { Format::Minimal } else { Format::of(node) },
            scope: child,
            round,
            started: round,
            id: self.serial,
            saved: 0,
        }));
        self.work.push_back(Work::Advance { scope, place });
    }

    fn allocate(&mut self, region: u32, parent: (u32, u32)) -> u32 {
        let size = self.plan.entries[self.entry].regions[region as usize].nodes.len();
        match self.free_scopes.pop() {
            Some(free) => {
                let iteration = self.scopes[free as usize].iteration;
                self.scopes[free as usize] = Scope::new(region, size, Some(parent));
                self.scopes[free as usize].iteration = iteration;
                free
            }
            None => {
                self.scopes.push(Scope::new(region, size, Some(parent)));
                self.scopes.len() as u32 - 1
            }
        }
    }

    /// Gives the loop its next element, or ends it.
    pub(super) fn advance_loop(&mut self, scope: u32, place: u32) {
        let plan = self.plan.clone();
        let region = &plan.entries[self.entry].regions[self.scopes[scope as usize].region as usize];
        let spot = &region.places[place as usize];
        let outer_path = self.scopes[scope as usize].path.clone();
        let slot = &mut self.scopes[scope as usize].slots[place as usize];
        let Some(looping) = slot.looping.as_mut() else { return };
        let (child, round, index) = (looping.scope, looping.round, looping.next);
        let element = looping.elements.get(index).cloned();
        looping.next += 1;
        let Some(element) = element.filter(|_| !self.is_void(round)) else {
            self.end_loop(scope, place);
            return;
        };
        let step = LoopStep { component: plan.nodes[spot.node as usize].id.clone(), index: index as u32 };
        let path: Arc<[LoopStep]> = outer_path.iter().cloned().chain([step]).collect();
        self.scopes[child as usize].reset(path);
        self.scopes[child as usize].last_round = round;
        self.seed(child);
        let is_trigger = flow(&plan.nodes[spot.node as usize]) == Flow::Trigger;
        let name = if is_trigger { "Payload" } else { "Loop" };
        let output = Value::object([(name.into(), element)].into());
        if let Some(body) = &spot.body {
            self.fire(child, &body.firings, spot.node, &output, round);
        }
        let state = &self.scopes[child as usize];
        if state.active_count == 0 {
            self.work.push_back(Work::Iterated { scope: child, iteration: state.iteration });
        }
    }

    /// Gives the body what outer scopes have collected for it.
    fn seed(&mut self, child: u32) {
        let plan = self.plan.clone();
        let region = &plan.entries[self.entry].regions[self.scopes[child as usize].region as usize];
        for seed in &region.seeds {
            let from = self.outer(child, seed.up);
            let outer = &self.scopes[from as usize].slots[seed.from as usize];
            if outer.held.is_empty() {
                continue;
            }
            let (held, handling) = (outer.held.clone(), outer.handling.clone());
            let slot = &mut self.scopes[child as usize].slots[seed.place as usize];
            slot.held = held.clone();
            slot.seed = Some(Arc::new(held));
            // A component of the body may be the handler of a failure outside.
            slot.handling = handling;
        }
    }

    /// Nothing of the element can run any more: collect its leaves, go on.
    pub(super) fn iterated(&mut self, child: u32, iteration: u64) {
        let state = &mut self.scopes[child as usize];
        let Some((scope, place)) =
            state.parent.filter(|_| state.iteration == iteration && state.active_count == 0)
        else {
            return;
        };
        // A second notice of the same end must not advance the loop twice.
        state.iteration += 1;
        let last_round = state.last_round;
        let mut leaves = std::mem::take(&mut state.leaves);
        let unhandled = std::mem::take(&mut state.failures).into_iter().filter(|(_, handled)| !handled.get());
        leaves.extend(unhandled.map(|(leaf, _)| leaf));
        self.note_starved(child);
        // Document order; of a leaf that ran more than once the first counts.
        leaves.sort_by_key(|leaf| (leaf.node, leaf.round));
        leaves.dedup_by_key(|leaf| leaf.node);
        let plan = self.plan.clone();
        let variables = &self.variable_values;
        let slot = &mut self.scopes[scope as usize].slots[place as usize];
        let Some(looping) = slot.looping.as_mut() else { return };
        for leaf in leaves {
            let node = &plan.nodes[leaf.node as usize];
            contribute(node, leaf.output, variables, looping.format, &mut looping.results);
        }
        looping.round = last_round + 1;
        self.work.push_back(Work::Advance { scope, place });
    }

    fn end_loop(&mut self, scope: u32, place: u32) {
        let slot = &mut self.scopes[scope as usize].slots[place as usize];
        let Some(looping) = slot.looping.take() else { return };
        slot.not_before = looping.round + 1;
        self.free_scopes.push(looping.scope);
        let output = result(Value::array(looping.results));
        self.note_settled(scope, place, looping.started, &output);
        self.finish(scope, place, looping.round, Some(output));
    }
}

pub(crate) fn result(list: Value) -> Value {
    Value::object([("Result".into(), list)].into())
}

/// The elements of an input: a list, a JSON list as text, text split on commas, or the value alone.
pub(crate) fn elements(input: Option<&Value>) -> Arc<Vec<Value>> {
    let list = match input {
        None => return Arc::default(),
        Some(Value::Array(items)) => return items.clone(),
        Some(Value::String(text)) if text.trim_start().starts_with('[') => {
            permissive_json::parse(text).unwrap_or_else(|| split_commas(text))
        }
        Some(Value::String(text)) => split_commas(text),
        Some(other) => Value::array(vec![other.clone()]),
    };
    match list {
        Value::Array(items) => items,
        other => Arc::new(vec![other]),
    }
}

/// Adds what a leaf contributes to a loop's results. A failure contributes `{_error}`, and to a flat list
/// only what it delivered beside the message.
pub(crate) fn contribute(
    node: &Node,
    output: Value,
    variables: &Map,
    format: Format,
    results: &mut Vec<Value>,
) {
    let failed = failure(&output).map(|(message, _)| message.clone());
    let posted = match failed {
        Some(message) => Posted::Entry(failure_value(&output, message)),
        None => posted(node, clean(output), variables),
    };
    match (format, posted) {
        (Format::Full, posted) => results.push(entry_value(node, posted)),
        (Format::Minimal, Posted::Entry(value) | Posted::Bare(value)) => results.push(without_control(value)),
        (Format::ResultsArray, Posted::Entry(value) | Posted::Bare(value)) => match without_control(value) {
            Value::Object(map) => {
                let values = map.iter().filter(|(key, _)| key.as_ref() != "_error").map(|(_, value)| value);
                values.for_each(|value| flatten(value, results));
            }
            other => flatten(&other, results),
        },
    }
}

fn failure_value(output: &Value, message: Value) -> Value {
    let Value::Object(map) = clean(output.clone()) else { return output.clone() };
    let mut map = (*map).clone();
    map.shift_remove("error");
    map.insert("_error".into(), message);
    Value::object(map)
}

fn without_control(value: Value) -> Value {
    match value {
        Value::Object(map) if map.contains_key("_temp_result") || map.contains_key("_in_progress") => {
            let mut map = (*map).clone();
            map.shift_remove("_temp_result");
            map.shift_remove("_in_progress");
            Value::object(map)
        }
        other => other,
    }
}

fn flatten(value: &Value, out: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, out)),
        other => out.push(other.clone()),
    }
}
