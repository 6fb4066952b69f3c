//! Putting inputs and outputs into components.

use std::sync::Arc;

use super::context::{Held, Standing};
use super::{DebugError, DebugRun};
use crate::plan::compile::flow;
use crate::spec::Flow;
use crate::value::{Map, Value};

/// What to put into a component.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injection {
    /// Component id.
    pub component: Arc<str>,
    /// Make it active: it runs in the next cycle, and nothing else does but what is injected likewise.
    pub active: bool,
    /// Its inputs, in place of what it holds; `None` leaves them.
    pub input: Option<Map>,
    /// Stands for its execution in the next cycle; of a component that is not made active, for all
    /// executions to come.
    pub output: Option<Value>,
}

impl Injection {
    /// Reads the body of an injecting request: `[{"id", "ctx": {"active", "input", "output"}}]`.
    ///
    /// An output of nothing but empty members (`""` and `[]`, as editors send for what has not run) is
    /// none; `0`, `false` and `null` are values.
    ///
    /// # Errors
    /// [`DebugError::Shape`] naming what is wrong where.
    pub fn from_legacy(body: &Value) -> Result<Vec<Self>, DebugError> {
        let wrong = |text: String| DebugError::Shape(text);
        let items = body.as_array().ok_or_else(|| wrong(format!("the body is a {}", body.kind())))?;
        let read = |(at, item): (usize, &Value)| {
            let id = item.get("id").and_then(Value::as_str);
            let id = id.ok_or_else(|| wrong(format!("item {at} has no id")))?;
            let context = match item.get("ctx") {
                None | Some(Value::Null) => None,
                Some(Value::Object(context)) => Some(context),
                Some(other) => return Err(wrong(format!("ctx of {id} is a {}", other.kind()))),
            };
            let member = |name: &str| context.and_then(|context| context.get(name));
            let input = match member("input") {
                None | Some(Value::Null) => None,
                Some(Value::Object(input)) => Some((**input).clone()),
                Some(other) => return Err(wrong(format!("input of {id} is a {}", other.kind()))),
            };
            let output = member("output").filter(|output| !is_empty_output(output)).cloned();
            let active = member("active").is_some_and(Value::truthy);
            Ok(Self { component: id.into(), active, input, output })
        };
        items.iter().enumerate().map(read).collect()
    }
}

/// An output that says nothing.
fn is_empty_output(output: &Value) -> bool {
    let empty = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match output {
        Value::Object(members) => members.values().all(empty),
        Value::Null => true,
        other => empty(other),
    }
}

impl DebugRun {
    /// Puts values into components. The next cycle runs those that are made active, and only those.
    ///
    /// # Errors
    /// [`DebugError::NoComponent`], [`DebugError::Inert`]; nothing is changed then.
    pub fn inject(&mut self, injections: Vec<Injection>) -> Result<(), DebugError> {
        let mut targets = Vec::with_capacity(injections.len());
        for injection in &injections {
            let at = self.index(&injection.component)?;
            if flow(&self.plan.nodes[at as usize]) == Flow::Inert {
                return Err(DebugError::Inert(injection.component.to_string()));
            }
            targets.push(at);
        }
        let mut only = Vec::new();
        for (at, injection) in targets.into_iter().zip(injections) {
            let node = &self.plan.nodes[at as usize];
            let context = &mut self.contexts[at as usize];
            if let Some(input) = injection.input {
                let held = |(input, value)| Held { input, value, within: None, failure: None };
                context.held = input.into_iter().map(held).collect();
                context.called = false;
                context.step = self.session.step;
            }
            match injection.output {
                Some(output) if injection.active => context.injected = Some(output),
                Some(output) => {
                    self.session.mocks.insert(node.id.clone(), output);
                }
                None => {}
            }
            if injection.active {
                context.active = true;
                context.forced = true;
                context.standing = Standing::Ready;
                context.source = None;
                // A loop that is put to work by hand begins anew.
                context.looping = None;
                context.step = self.session.step;
                only.push(node.id.clone());
                self.session.closed = false;
                self.originate(at);
            }
        }
        self.session.only = Some(only);
        Ok(())
    }
}
