//! Starting a component: what it gets, and what the engine settles itself.

use std::sync::Arc;

use super::pending::{Hole, Pending, Then};
use super::{Run, Running};
use crate::data::typing::{InputType, Typed, convert};
use crate::key::ActivationKey;
use crate::node::{InputPort, Node};
use crate::plan::EntryKind;
use crate::run::fire::error_output;
use crate::spec::Flow;
use crate::template;
use crate::value::{Map, Value};

impl Run {
    /// Starts a component with what it has received.
    pub(super) fn start_component(&mut self, scope: u32, place: u32, round: u32) {
        let slot = &mut self.scopes[scope as usize].slots[place as usize];
        let round = round.max(slot.not_before);
        let seed = slot.seed.as_ref().map(|seed| (**seed).clone()).unwrap_or_default();
        let held = std::mem::replace(&mut slot.held, seed);
        slot.handling.drain(..).for_each(|handled| handled.set());
        slot.executions += 1;
        slot.waiting = false;
        slot.running = Some(round);
        let executions = slot.executions;
        let node = self.place(scope, place).node;
        if executions > self.options.limits.circular {
            self.went_in_circles(node, round);
            self.released(scope, place, round);
            return;
        }
        match self.prepare(scope, place, round, node, held) {
            Prepared::Settled(output) => self.settle(scope, place, round, output),
            Prepared::Loop(input) => self.start_loop(scope, place, round, &input),
            Prepared::Execute(input) => self.hand_out(scope, place, round, Some(input), None),
            Prepared::Pending(pending) => self.hand_out(scope, place, round, None, Some(pending)),
        }
    }

    fn prepare(&mut self, scope: u32, place: u32, round: u32, index: u32, held: Map) -> Prepared {
        let plan = self.plan.clone();
        let node = &plan.nodes[index as usize];
        let facts = &plan.facts[index as usize];
        let Some(known) = node.entry else {
            return Prepared::Settled(error_output(format!("Component {} not found", node.type_name)));
        };
        if let Some(message) = &facts.invalid {
            return Prepared::Settled(invalid_output(node, message));
        }
        if let Some(key) = self.missing_key(&facts.variables, &held) {
            return Prepared::Settled(error_output(format!("Vault key '{key}' not found")));
        }
        let flow = known.spec.flow;
        let entry = &plan.entries[self.entry];
        let is_start = scope == 0 && index == entry.node;
        if flow == Flow::Endpoint {
            return self.prepare_endpoint(scope, place, round, node, held, is_start);
        }
        if flow == Flow::Async && is_start && entry.kind == EntryKind::Job {
            return Prepared::Settled(self.job_output());
        }
        let input = self.with_defaults(node, held);
        let input = self.variables.under(input);
        match self.typed(scope, place, round, node, input) {
            Err(message) => Prepared::Settled(error_output(message)),
            Ok((input, holes)) if !holes.is_empty() => {
                Prepared::Pending(Pending { holes, then: Then::Inputs(input) })
            }
            Ok((input, _)) => self.prepared(node, flow, input),
        }
    }

    /// An input that is complete, on to whoever executes it.
    pub(super) fn prepared(&self, node: &Node, flow: Flow, input: Map) -> Prepared {
        match flow {
            Flow::Output => Prepared::Settled(super::output::output(node, &input)),
            Flow::Loop => Prepared::Loop(input),
            _ => Prepared::Execute(input),
        }
    }

    fn missing_key(&self, used: &[u32], held: &Map) -> Option<Arc<str>> {
        used.iter().find_map(|at| {
            let key = self.variables.missing_key(*at as usize)?;
            let name = self.plan.variables.names().nth(*at as usize)?;
            (!held.contains_key(name)).then(|| key.clone())
        })
    }

    /// Inputs with the defaults of those that are absent.
    pub(super) fn with_defaults(&self, node: &Node, mut input: Map) -> Map {
        for port in &node.inputs {
            if let Some(default) = port.default.as_ref().filter(|_| !input.contains_key(&port.name)) {
                input.insert(port.name.clone(), self.rendered_default(default));
            }
        }
        input
    }

    /// A default, its text rendered against the variables.
    pub(super) fn rendered_default(&self, default: &Value) -> Value {
        match default {
            Value::String(text) => Value::from(template::parse(text, &self.variable_values)),
            other => other.clone(),
        }
    }

    /// Declared inputs in their declared types; what needs the driver is left out and listed.
    fn typed(
        &self,
        scope: u32,
        place: u32,
        round: u32,
        node: &Node,
        mut input: Map,
    ) -> Result<(Map, Vec<Hole>), String> {
        let mut holes = Vec::new();
        for port in &node.inputs {
            let kind = InputType::parse(&port.type_name);
            if matches!(kind, InputType::Any | InputType::Other) {
                continue;
            }
            let Some(value) = input.get(&port.name) else { continue };
            let file = || self.file_name(&self.key(scope, place, round), &port.name, 0);
            match convert(value, kind, file) {
                Ok(Typed::Ready(value)) => {
                    input.insert(port.name.clone(), value);
                }
                Ok(Typed::Needs(shape)) => holes.push(Hole::input(&port.name, shape)),
                Err(message) => return Err(type_error(&message, node, port)),
            }
        }
        Ok((input, holes))
    }

    /// The output of a job's root: its id, and its inputs passed on.
    fn job_output(&self) -> Value {
        let mut output = Map::with_capacity(self.options.job_input.len() + 1);
        output.insert("JobID".into(), Value::from(self.options.job_id.as_str()));
        output.extend(self.options.job_input.iter().map(|(key, value)| (key.clone(), value.clone())));
        Value::object(output)
    }

    pub(super) fn hand_out(
        &mut self,
        scope: u32,
        place: u32,
        round: u32,
        input: Option<Map>,
        pending: Option<Pending>,
    ) {
        let key = self.key(scope, place, round);
        self.queue.push_back(key.clone());
        self.running.insert(key, Running { scope, place, round, input, pending, handed: false });
    }

    pub(super) fn key(&self, scope: u32, place: u32, round: u32) -> ActivationKey {
        let node = self.place(scope, place).node;
        ActivationKey {
            component: self.plan.nodes[node as usize].id.clone(),
            path: self.scopes[scope as usize].path.clone(),
            round,
        }
    }

    /// A file name that is the same whenever the run is folded again: `<uid>-<name>`.
    pub(super) fn file_name(&self, key: &ActivationKey, name: &str, index: usize) -> String {
        let digest = blake3::hash(format!("{}\n{key}\n{name}\n{index}", self.options.run_id).as_bytes());
        let mut number = u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default());
        let mut uid = String::with_capacity(12);
        for _ in 0..12 {
            uid.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0').to_ascii_uppercase());
            number /= 36;
        }
        format!("{uid}-{name}")
    }
}

/// What is to be done with a component that has its inputs.
pub(super) enum Prepared {
    Settled(Value),
    Loop(Map),
    Execute(Map),
    Pending(Pending),
}

/// A type error, naming the input: the known message is a prefix.
pub(super) fn type_error(message: &str, node: &Node, port: &InputPort) -> String {
    format!("{message} for input {} of {}", port.name, node.id)
}

/// The output of a component whose settings are invalid.
fn invalid_output(node: &Node, message: &Arc<str>) -> Value {
    let mut output = Map::with_capacity(3);
    output.insert("id".into(), Value::String(node.id.clone()));
    output.insert("name".into(), Value::String(node.type_name.clone()));
    output.insert("_error".into(), Value::String(message.clone()));
    Value::object(output)
}
