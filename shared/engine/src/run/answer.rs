//! The answer of a run: typed, and in the shape existing clients read (§4.8).

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::state::Failed;
use super::{Aborted, Run};
use crate::node::Node;
use crate::outcome::{Failure, failure};
use crate::plan::Plan;
use crate::spec::{PostProcess, Posted};
use crate::value::{Map, Value};

/// Most starved components that are named.
pub(crate) const MAX_STARVED: usize = 100;

/// What a run has come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Answer {
    /// Results of the components at the ends of the workflow, in order.
    pub results: Vec<AnswerEntry>,
    /// Failures that no handler took care of, in order.
    pub errors: Vec<AnswerEntry>,
    /// Components that received something but waited in vain for the rest.
    pub starved: BTreeSet<Starved>,
    /// Why the run did not come to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aborted: Option<Aborted>,
}

/// One component's part of the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnswerEntry {
    /// Component id.
    pub component: Arc<str>,
    /// Component type.
    pub type_name: Arc<str>,
    /// The failure's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// The entry as clients of the reference see it: mostly `{id, name, result}`.
    pub value: Value,
    /// Place in the legacy answer.
    #[serde(skip)]
    position: usize,
}

/// A component that did not run because something it needs did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Starved {
    /// Component id, with the loops around it (`LOOP:3/A`).
    pub component: String,
    /// Component type.
    #[serde(default)]
    pub type_name: Arc<str>,
    /// Inputs that are missing.
    pub missing: Vec<Arc<str>>,
}

impl Answer {
    /// The `data` of the reference's answer: the entry if there is one, else the list of entries.
    pub fn legacy_json(&self) -> serde_json::Value {
        match &self.aborted {
            Some(Aborted::Circular { component, limit }) => {
                return serde_json::json!({ "error": circular_message(component, *limit) });
            }
            Some(Aborted::Cancelled { reason }) => {
                return serde_json::json!({ "error": "AGENT_KILLED", "reason": reason });
            }
            None => {}
        }
        let mut entries: Vec<&AnswerEntry> = self.results.iter().chain(&self.errors).collect();
        entries.sort_by_key(|entry| entry.position);
        match entries.as_slice() {
            [single] => (&single.value).into(),
            several => several.iter().map(|entry| serde_json::Value::from(&entry.value)).collect(),
        }
    }
}

/// The message of a run that went in circles.
pub fn circular_message(component: &str, limit: u32) -> String {
    format!("Circular Calls Limit Reached on {component}. Current circular limit is {limit}")
}

impl Run {
    /// The answer as it stands; final once the run is finished.
    pub fn answer(&self) -> Answer {
        // What an aborted run had got to depends on when it was noticed; only the reason counts.
        if let Some(aborted) = self.aborted() {
            return Answer { aborted: Some(aborted), ..Answer::default() };
        }
        let mut starved = self.starved.clone();
        self.collect_starved(0, &mut starved);
        let ended = |round: u32, node, output| Ended { round: u64::from(round), node, output };
        let handled: HashSet<(u32, u32)> = self
            .failed
            .iter()
            .filter(|failed| is_handled(failed))
            .map(|failed| (failed.node, failed.round))
            .collect();
        let leaves = self.leaves.iter().filter(|leaf| !handled.contains(&(leaf.node, leaf.round)));
        let failed = self.failed.iter().filter(|failed| !is_handled(failed));
        assemble(
            &self.plan,
            &self.variable_values,
            leaves.map(|leaf| ended(leaf.round, leaf.node, &leaf.output)).collect(),
            failed.map(|it| (ended(it.round, it.node, &it.output), it.kind)).collect(),
            starved,
        )
    }

    /// Notes the starved components of an element of a loop in `scope`. Where that belongs to an element that may
    /// not count in the end, they are noted there.
    pub(super) fn note_starved(&mut self, scope: u32, starved: BTreeSet<Starved>) {
        let element = self.element_that_may_not_count(scope);
        let out = match element {
            Some(element) => &mut self.scopes[element as usize].starved,
            None => &mut self.starved,
        };
        starved.into_iter().for_each(|it| note(it, out));
    }

    pub(super) fn collect_starved(&self, scope: u32, out: &mut BTreeSet<Starved>) {
        let state = &self.scopes[scope as usize];
        let region = self.region(scope);
        for (slot, spot) in state.slots.iter().zip(&region.places) {
            if !slot.waiting || spot.collects {
                continue;
            }
            let node = &self.plan.nodes[spot.node as usize];
            let ports = spot.required.iter().map(|input| &node.inputs[*input as usize]);
            let missing = ports.filter(|port| port.default.is_none() && !slot.held.contains_key(&port.name));
            let path = state.path.iter().map(|step| format!("{}:{}/", step.component, step.index));
            let starved = Starved {
                component: path.chain([node.id.to_string()]).collect(),
                type_name: node.type_name.clone(),
                missing: missing.map(|port| port.name.clone()).collect(),
            };
            note(starved, out);
        }
    }
}

/// Keeps the same ones whatever the order in which they are found.
fn note(starved: Starved, out: &mut BTreeSet<Starved>) {
    out.insert(starved);
    if out.len() > MAX_STARVED {
        out.pop_last();
    }
}

/// An execution that counts for the answer.
pub(crate) struct Ended<'a> {
    pub round: u64,
    pub node: u32,
    pub output: &'a Value,
}

/// Puts an answer together: results, then failures, each in order, the first of each component.
pub(crate) fn assemble(
    plan: &Plan,
    variables: &Map,
    mut leaves: Vec<Ended<'_>>,
    mut failed: Vec<(Ended<'_>, Failure)>,
    starved: BTreeSet<Starved>,
) -> Answer {
    let mut answer = Answer { starved, ..Answer::default() };
    let mut seen = HashSet::new();
    leaves.sort_by_key(|leaf| (leaf.round, leaf.node));
    for leaf in leaves.into_iter().filter(|leaf| seen.insert(leaf.node)) {
        answer.add(&plan.nodes[leaf.node as usize], leaf.output, None, variables);
    }
    failed.sort_by_key(|(failed, _)| (failed.round, failed.node));
    for (failed, kind) in failed.into_iter().filter(|(failed, _)| seen.insert(failed.node)) {
        answer.add(&plan.nodes[failed.node as usize], failed.output, Some(kind), variables);
    }
    answer
}

impl Answer {
    fn add(&mut self, node: &Node, output: &Value, kind: Option<Failure>, variables: &Map) {
        let error = failure(output).map(|(message, _)| message.clone());
        let value = match kind {
            Some(Failure::Hard) => hard_entry(node, error.clone().unwrap_or_default()),
            _ => entry_value(node, posted(node, clean(output.clone()), variables)),
        };
        let entry = AnswerEntry {
            component: node.id.clone(),
            type_name: node.type_name.clone(),
            position: self.results.len() + self.errors.len(),
            error,
            value,
        };
        if entry.error.is_some() { self.errors.push(entry) } else { self.results.push(entry) }
    }
}

fn is_handled(failed: &Failed) -> bool {
    failed.handled.as_ref().is_some_and(|handled| handled.get())
}

/// Without members that are for debugging, and without an `_error` that is none.
pub(crate) fn clean(output: Value) -> Value {
    let Value::Object(map) = &output else { return output };
    let drop = |key: &str, value: &Value| {
        matches!(key, "_debug" | "_debug_time") || (key == "_error" && !value.truthy())
    };
    if !map.iter().any(|(key, value)| drop(key, value)) {
        return output;
    }
    let kept = map.iter().filter(|(key, value)| !drop(key, value));
    Value::object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// What the component's type makes of its entry.
pub(crate) fn posted(node: &Node, result: Value, variables: &Map) -> Posted {
    match node.entry.and_then(|entry| entry.post_process) {
        Some(post_process) => post_process(PostProcess { node, result: &result, variables }),
        None => Posted::Entry(result),
    }
}

/// The entry as it stands in an answer or a loop's full result.
pub(crate) fn entry_value(node: &Node, posted: Posted) -> Value {
    match posted {
        Posted::Bare(value) => value,
        Posted::Entry(result) => {
            let mut entry = Map::with_capacity(3);
            entry.insert("id".into(), Value::String(node.id.clone()));
            entry.insert("name".into(), Value::String(node.type_name.clone()));
            entry.insert("result".into(), result);
            Value::object(entry)
        }
    }
}

fn hard_entry(node: &Node, error: Value) -> Value {
    let mut entry = Map::with_capacity(4);
    entry.insert("id".into(), Value::String(node.id.clone()));
    entry.insert("name".into(), Value::String(node.display_name.clone()));
    entry.insert("result".into(), Value::Null);
    entry.insert("error".into(), error);
    Value::object(entry)
}
