//! How an activation ended, and what it delivers to the components behind it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::node::{Node, OutputPort};
use crate::value::{Map, Value};

/// What a component returned; this is what a journal keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The output, mostly an object; `None` if the component returned nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

impl Outcome {
    /// An output object.
    pub fn output(map: Map) -> Self {
        Self { output: Some(Value::object(map)) }
    }

    /// Any output; components behind get something from objects only.
    pub fn raw(value: Value) -> Self {
        Self { output: Some(value) }
    }

    /// A failure: `{_error: message}`.
    pub fn error(message: impl Into<String>) -> Self {
        Self::output([("_error".into(), Value::from(message.into()))].into())
    }

    /// The message, if this is a failure.
    pub fn failure(&self) -> Option<&Value> {
        let output = self.output.as_ref()?;
        failure(output).map(|(value, _)| value)
    }
}

/// Where an output has what a failure has to say beside its message.
pub const ERROR_DETAILS: &str = "_error_details";

/// The two kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// `_error`: outputs that exist beside it are delivered.
    Soft,
    /// `error`: nothing but the handler gets anything.
    Hard,
}

/// The failure in an output; a falsy `_error` or `error` is none.
pub(crate) fn failure(output: &Value) -> Option<(&Value, Failure)> {
    let map = output.as_object()?;
    let truthy = |key: &str| map.get(key).filter(|value| value.truthy());
    let hard = truthy("error").map(|value| (value, Failure::Hard));
    hard.or_else(|| truthy("_error").map(|value| (value, Failure::Soft)))
}

/// The value an output port delivers, `None` if it delivers nothing.
pub(crate) fn port_value(node: &Node, port: &OutputPort, output: &Value) -> Option<Value> {
    let map = output.as_object()?;
    if port.name.as_ref() == "_error" {
        return failure(output).map(|(value, _)| value.clone());
    }
    let by_path = || output.path(port.expression.as_deref().unwrap_or(&port.name));
    if port.default {
        return map.get(&port.name).cloned().or_else(by_path);
    }
    let in_first_default = || {
        let first: &Arc<str> = &node.outputs.iter().find(|port| port.default)?.name;
        map.get(first)?.get(&port.name).cloned()
    };
    match port.expression {
        // An expression says where to look; the native output is only a guess.
        Some(_) => by_path().or_else(in_first_default),
        None => in_first_default().or_else(by_path),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(outputs: serde_json::Value) -> Node {
        let read = |port: &serde_json::Value| OutputPort {
            name: port["name"].as_str().unwrap().into(),
            default: port["default"] == true,
            expression: port["expression"].as_str().map(Arc::from),
            description: "".into(),
        };
        Node {
            id: "n".into(),
            type_name: "T".into(),
            display_name: "".into(),
            title: "".into(),
            description: "".into(),
            settings: Map::new(),
            inputs: vec![],
            outputs: outputs.as_array().unwrap().iter().map(read).collect(),
            template: None,
            entry: None,
        }
    }

    fn delivered(outputs: serde_json::Value, port: usize, output: serde_json::Value) -> Option<Value> {
        let node = node(outputs);
        port_value(&node, &node.outputs[port], &Value::from(output))
    }

    #[test]
    fn values_are_found_as_the_spec_says() {
        let llm = json!([{"name": "Reply", "default": true}, {"name": "num"}]);
        assert_eq!(delivered(llm.clone(), 1, json!({"Reply": {"num": 5}, "num": 9})), Some(5.into()));
        assert_eq!(delivered(llm, 1, json!({"Reply": "s", "num": 9})), Some(9.into()));
        let path = json!([{"name": "Reply", "default": true, "expression": "a.b"}]);
        assert_eq!(delivered(path, 0, json!({"a": {"b": 4}})), Some(4.into()));
        let endpoint = json!([{"name": "headers", "default": true}, {"name": "body", "default": true},
            {"name": "host", "expression": "body.host"}, {"name": "body.host"}]);
        let request = json!({"headers": {"host": "HDR"}, "body": {"host": "BODY"}});
        assert_eq!(delivered(endpoint.clone(), 2, request.clone()), Some("BODY".into()));
        assert_eq!(delivered(endpoint, 3, request), Some("BODY".into()));
    }

    #[test]
    fn null_is_delivered_and_absent_is_not() {
        let out = json!([{"name": "Output", "default": true}, {"name": "_error"}]);
        assert_eq!(delivered(out.clone(), 0, json!({"Output": null})), Some(Value::Null));
        assert_eq!(delivered(out.clone(), 0, json!({})), None);
        assert_eq!(delivered(out.clone(), 0, json!("text")), None);
        for none in [json!({"_error": null}), json!({"_error": ""}), json!({})] {
            assert_eq!(delivered(out.clone(), 1, none), None);
        }
        assert_eq!(delivered(out.clone(), 1, json!({"_error": "e"})), Some("e".into()));
        assert_eq!(delivered(out, 1, json!({"error": "hard"})), Some("hard".into()));
    }
}
