//! What a round of a body came to: the outputs of its leaves.

use std::sync::Arc;

use crate::node::Node;
use crate::outcome::{ERROR_DETAILS, failure, port_value};
use crate::plan::Plan;
use crate::run::answer::{clean, entry_value, posted};
use crate::spec::Posted;
use crate::value::{Map, Value};

/// The leaves of one round of a body, in document order, each once.
pub(crate) struct Leaves<'a> {
    plan: &'a Plan,
    variables: &'a Map,
    leaves: Vec<(u32, Value)>,
}

/// A failure in a body that nothing handled there.
pub(crate) struct Problem {
    pub message: String,
    pub component: Arc<str>,
    pub type_name: Arc<str>,
    pub title: Arc<str>,
    /// What it has to say beside its message.
    pub details: Option<Value>,
}

/// How a leaf's result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One value for the whole round.
    Value,
    Full,
    Minimal,
    ResultsArray,
}

impl Format {
    /// What the record says, or the default.
    pub fn of(node: &Node, default: Self) -> Self {
        match node.text_setting("format") {
            Some("value") if default == Self::Value => Self::Value,
            Some("full") => Self::Full,
            Some("minimal") => Self::Minimal,
            Some("results-array") => Self::ResultsArray,
            _ => default,
        }
    }
}

impl<'a> Leaves<'a> {
    /// Of leaves in document order.
    pub fn new(plan: &'a Plan, variables: &'a Map, leaves: Vec<(u32, Value)>) -> Self {
        Self { plan, variables, leaves }
    }

    pub fn variables(&self) -> &'a Map {
        self.variables
    }

    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// The failures, in document order.
    pub fn problems(&self) -> impl Iterator<Item = Problem> {
        self.leaves.iter().filter_map(|(number, output)| {
            let (message, _) = failure(output)?;
            let node = &self.plan.nodes[*number as usize];
            Some(Problem {
                message: message.to_text(),
                component: node.id.clone(),
                type_name: node.type_name.clone(),
                title: node.title.clone(),
                details: output.get(ERROR_DETAILS).cloned(),
            })
        })
    }

    /// The value of the round: of a single leaf its value, of several a list, of none nothing. A component's value
    /// is its output where it has one, else all of them; of one with a body its result.
    pub fn value(&self) -> Value {
        let mut values: Vec<Value> =
            self.leaves.iter().map(|(node, output)| self.value_of(*node, output)).collect();
        match values.len() {
            0 => Value::Null,
            1 => values.remove(0),
            _ => Value::array(values),
        }
    }

    fn value_of(&self, number: u32, output: &Value) -> Value {
        let node = &self.plan.nodes[number as usize];
        if let Some((message, _)) = failure(output) {
            return failure_value(output, message.clone());
        }
        let entry = match posted(node, clean(output.clone()), self.variables) {
            Posted::Bare(value) => return value,
            Posted::Entry(entry) => entry,
        };
        if node.entry.is_some_and(|known| known.spec.flow.has_body()) {
            return entry.get("Result").cloned().unwrap_or_default();
        }
        let mut native = node.outputs.iter().filter(|port| port.default && !port.name.starts_with('_'));
        match (native.next(), native.next()) {
            (Some(only), None) => port_value(node, only, &entry).unwrap_or_default(),
            _ => without_control(entry),
        }
    }

    /// Adds what the leaves contribute to a list of results.
    pub fn contribute(&self, format: Format, results: &mut Vec<Value>) {
        if format == Format::Value {
            return results.push(self.value());
        }
        for (number, output) in &self.leaves {
            let node = &self.plan.nodes[*number as usize];
            contribute(node, output.clone(), self.variables, format, results);
        }
    }
}

/// Adds what a leaf contributes to a loop's results. A failure contributes `{_error}`, and to a flat list
/// only what it delivered beside the message.
fn contribute(node: &Node, output: Value, variables: &Map, format: Format, results: &mut Vec<Value>) {
    let failed = failure(&output).map(|(message, _)| message.clone());
    let posted = match failed {
        Some(message) => Posted::Entry(failure_value(&output, message)),
        None => posted(node, clean(output), variables),
    };
    match (format, posted) {
        (Format::Full, posted) => results.push(entry_value(node, posted)),
        (Format::ResultsArray, Posted::Entry(value) | Posted::Bare(value)) => match without_control(value) {
            Value::Object(map) => {
                let values = map.iter().filter(|(key, _)| key.as_ref() != "_error").map(|(_, value)| value);
                values.for_each(|value| flatten(value, results));
            }
            other => flatten(&other, results),
        },
        (_, Posted::Entry(value) | Posted::Bare(value)) => results.push(without_control(value)),
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
