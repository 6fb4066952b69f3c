//! From what a component has received to what it is executed with: defaults, variables, types. What the
//! engine can settle by itself is settled here. Runs and debug sessions share this.

mod endpoint;
pub(crate) mod pending;

use std::sync::Arc;

use crate::data::typing::{InputType, Typed, convert};
use crate::key::ActivationKey;
use crate::node::{InputPort, Node};
use crate::plan::Plan;
use crate::request::RequestData;
use crate::run::output;
use crate::spec::Flow;
use crate::template;
use crate::value::{Map, Value};
use crate::variables::Variables;
use pending::{Hole, Pending, Then};

/// Where the request of a trigger's run has what was collected.
pub const PAYLOADS: &str = "payloads";

/// What preparing an activation needs to know.
pub(crate) struct Preparation<'a> {
    pub plan: &'a Plan,
    pub variables: &'a Variables,
    /// The variables by themselves, for defaults.
    pub variable_values: &'a Map,
    pub run_id: &'a str,
    pub request: &'a RequestData,
    /// Inputs to set, whatever has been received.
    pub overrides: Option<&'a Map>,
    /// The activation's name, made only where it is needed.
    pub key: &'a dyn Fn() -> ActivationKey,
}

/// What an activation is to the run.
pub(crate) enum Role<'a> {
    /// It runs because something was delivered to it.
    Fed,
    /// An endpoint that answers the request.
    Called,
    /// The Async component whose branch is the run: its job's id and inputs.
    Job { id: &'a str, input: &'a Map },
}

/// What is to be done with a component that has its inputs.
pub(crate) enum Prepared {
    Settled(Value),
    Loop(Map),
    Execute(Map),
    Pending(Pending),
}

impl Preparation<'_> {
    /// Prepares the component number `index` with what it holds.
    pub fn prepare(&self, index: u32, mut held: Map, role: Role<'_>) -> Prepared {
        let node = &self.plan.nodes[index as usize];
        let facts = &self.plan.facts[index as usize];
        let Some(known) = node.entry else {
            return Prepared::Settled(error_output(format!("Component {} not found", node.type_name)));
        };
        if let Some(message) = &facts.invalid {
            return Prepared::Settled(invalid_output(node, message));
        }
        if let Some(set) = self.overrides {
            held.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        if let Some(key) = self.missing_key(&facts.variables, &held) {
            return Prepared::Settled(error_output(format!("Vault key '{key}' not found")));
        }
        let flow = known.spec.flow;
        match role {
            Role::Called if flow == Flow::Trigger => return Prepared::Loop(self.payloads()),
            _ if flow == Flow::Trigger => {
                return Prepared::Settled(error_output(
                    "a trigger starts runs: nothing may be connected to it",
                ));
            }
            _ if flow == Flow::Endpoint => {
                return self.prepare_endpoint(node, held, matches!(role, Role::Called));
            }
            Role::Job { id, input } if flow == Flow::Async => {
                return Prepared::Settled(job_output(id, input, self.overrides));
            }
            _ => {}
        }
        let input = self.variables.under(self.with_defaults(node, held));
        match self.typed(node, input) {
            Err(message) => Prepared::Settled(error_output(message)),
            Ok((input, holes)) if !holes.is_empty() => {
                Prepared::Pending(Pending { holes, then: Then::Inputs(input) })
            }
            Ok((input, _)) => prepared(node, flow, input),
        }
    }

    /// What a trigger collected, as the elements of a loop.
    fn payloads(&self) -> Map {
        let collected = self.request.body.get(PAYLOADS).cloned();
        [("Input".into(), collected.unwrap_or_else(|| Value::array(Vec::new())))].into()
    }

    fn missing_key(&self, used: &[u32], held: &Map) -> Option<Arc<str>> {
        used.iter().find_map(|at| {
            let key = self.variables.missing_key(*at as usize)?;
            let name = self.plan.variables.names().nth(*at as usize)?;
            (!held.contains_key(name)).then(|| key.clone())
        })
    }

    /// Inputs with the defaults of those that are absent.
    fn with_defaults(&self, node: &Node, mut input: Map) -> Map {
        for port in &node.inputs {
            if let Some(default) = port.default.as_ref().filter(|_| !input.contains_key(&port.name)) {
                input.insert(port.name.clone(), self.rendered_default(default));
            }
        }
        input
    }

    /// A default, its text rendered against the variables.
    fn rendered_default(&self, default: &Value) -> Value {
        match default {
            Value::String(text) => Value::from(template::parse(text, self.variable_values)),
            other => other.clone(),
        }
    }

    /// Declared inputs in their declared types; what needs the driver is left out and listed.
    fn typed(&self, node: &Node, mut input: Map) -> Result<(Map, Vec<Hole>), String> {
        let mut holes = Vec::new();
        for port in &node.inputs {
            let kind = InputType::parse(&port.type_name);
            if matches!(kind, InputType::Any | InputType::Other) {
                continue;
            }
            let Some(value) = input.get(&port.name) else { continue };
            match convert(value, kind, || self.file_name(&port.name, 0)) {
                Ok(Typed::Ready(value)) => {
                    input.insert(port.name.clone(), value);
                }
                Ok(Typed::Needs(shape)) => holes.push(Hole::input(&port.name, shape)),
                Err(message) => return Err(type_error(&message, node, port)),
            }
        }
        Ok((input, holes))
    }

    /// A file name that is the same whenever the run is folded again: `<uid>-<name>`.
    fn file_name(&self, name: &str, index: usize) -> String {
        let key = (self.key)();
        let digest = blake3::hash(format!("{}\n{key}\n{name}\n{index}", self.run_id).as_bytes());
        let mut number = u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap_or_default());
        let mut uid = String::with_capacity(12);
        for _ in 0..12 {
            uid.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0').to_ascii_uppercase());
            number /= 36;
        }
        format!("{uid}-{name}")
    }
}

/// An input that is complete, on to whoever executes it.
pub(crate) fn prepared(node: &Node, flow: Flow, input: Map) -> Prepared {
    match flow {
        Flow::Output => Prepared::Settled(output::output(node, &input)),
        Flow::Loop => Prepared::Loop(input),
        _ => Prepared::Execute(input),
    }
}

/// The output of a job's root: its id, and its inputs passed on.
fn job_output(id: &str, input: &Map, overrides: Option<&Map>) -> Value {
    let mut output = Map::with_capacity(input.len() + 1);
    output.insert("JobID".into(), Value::from(id));
    let members = input.iter().chain(overrides.into_iter().flatten());
    output.extend(members.map(|(key, value)| (key.clone(), value.clone())));
    Value::object(output)
}

/// An output, or a failure where it grew beyond all bounds.
pub(crate) fn bounded(output: Value, bytes: usize) -> Value {
    if output.is_larger_than(bytes) {
        return error_output(format!(
            "the output is larger than {bytes} bytes: store it as a file and pass its name on"
        ));
    }
    output
}

/// `{_error: message}`.
pub(crate) fn error_output(message: impl Into<Arc<str>>) -> Value {
    Value::object([("_error".into(), Value::String(message.into()))].into())
}

/// A type error, naming the input: the known message is a prefix.
fn type_error(message: &str, node: &Node, port: &InputPort) -> String {
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
