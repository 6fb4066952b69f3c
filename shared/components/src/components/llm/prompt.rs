//! The words a model gets.

use sre_engine::Node;
use sre_engine::value::{Map, Value};
use sre_proto::llm::v1::{ChatMessage, ChatRole};

/// The outputs an author added, which the answer is to fill.
pub(crate) fn custom_outputs(node: &Node) -> impl Iterator<Item = (&str, &str)> {
    let outputs = node.outputs.iter().filter(|output| !output.default);
    let outputs = outputs.map(|output| (output.name.as_ref(), output.description.as_ref()));
    outputs.filter(|(name, _)| !matches!(*name, "_debug" | "_error"))
}

/// The prompt, followed by the form of the answer where the author added outputs.
pub(crate) fn with_format(prompt: &str, node: &Node) -> String {
    let format: Map =
        custom_outputs(node).map(|(name, description)| (name.into(), hint(description))).collect();
    if format.is_empty() {
        return prompt.to_owned();
    }
    let format = Value::object(format).to_json_text();
    format!("{prompt}\n---\nExpected output format: {format}\nAnswer with these entries only.")
}

fn hint(description: &str) -> Value {
    match description.is_empty() {
        true => Value::from("<value>"),
        false => Value::from(format!("<value> ({description})")),
    }
}

/// A message.
pub(crate) fn message(role: ChatRole, text: String) -> ChatMessage {
    ChatMessage { role: role.into(), text, ..ChatMessage::default() }
}
