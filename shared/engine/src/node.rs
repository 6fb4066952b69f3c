//! A component of a compiled agent: its record, read once.

use std::sync::Arc;

use crate::spec::{Effect, OnUncertain, TypeEntry};
use crate::value::{Map, Value};

/// One component of a plan, immutable and shared.
#[derive(Clone, Debug)]
pub struct Node {
    /// Id, unique in the agent.
    pub id: Arc<str>,
    /// Type name, the registry key (`name` in the document).
    pub type_name: Arc<str>,
    /// Label of the type, used in events and messages.
    pub display_name: Arc<str>,
    /// Label of this component.
    pub title: Arc<str>,
    /// What the author says it does.
    pub description: Arc<str>,
    /// The settings (`data` in the document), as written.
    pub settings: Map,
    /// Declared inputs in document order.
    pub inputs: Vec<InputPort>,
    /// Declared outputs in document order.
    pub outputs: Vec<OutputPort>,
    /// The `template` record of components made from an integration template.
    pub template: Option<Value>,
    /// What the registry knows about the type; `None` for an unknown type.
    pub entry: Option<TypeEntry>,
}

/// A declared input.
#[derive(Clone, Debug)]
pub struct InputPort {
    /// Key of the value.
    pub name: Arc<str>,
    /// Type as written, `Any` when absent.
    pub type_name: Arc<str>,
    /// Does not hold the component back when nothing arrives.
    pub optional: bool,
    /// Used when nothing arrives; text is a template over the agent's variables.
    pub default: Option<Value>,
    /// Shown to models and in OpenAPI.
    pub description: Arc<str>,
    /// Legacy flag: treat as Binary in an endpoint.
    pub is_file: bool,
}

/// A declared output.
#[derive(Clone, Debug)]
pub struct OutputPort {
    /// Name; also the path of its value when there is no expression.
    pub name: Arc<str>,
    /// One of the type's native outputs.
    pub default: bool,
    /// Path of its value in the result.
    pub expression: Option<Arc<str>>,
    /// Shown to models that are asked for structured output.
    pub description: Arc<str>,
}

impl Node {
    /// A setting.
    pub fn setting(&self, name: &str) -> Option<&Value> {
        self.settings.get(name)
    }

    /// What executing it does to the world; a type that nobody knows does anything.
    pub fn effect(&self) -> Effect {
        let Some(entry) = self.entry else { return Effect::Effect };
        let reads = entry.spec.reads_with.is_some_and(|(setting, values)| {
            self.text_setting(setting).is_some_and(|value| values.contains(&value))
                && self.setting(OnUncertain::SETTING).is_none()
        });
        if reads { Effect::Read } else { entry.spec.effect }
    }

    /// A text setting, if it is text.
    pub fn text_setting(&self, name: &str) -> Option<&str> {
        self.setting(name).and_then(Value::as_str)
    }

    /// A declared input.
    pub fn input(&self, name: &str) -> Option<&InputPort> {
        self.inputs.iter().find(|port| port.name.as_ref() == name)
    }
}
