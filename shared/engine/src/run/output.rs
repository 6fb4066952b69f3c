//! APIOutput: what a run answers with.

use crate::node::Node;
use crate::spec::{PostProcess, Posted};
use crate::value::{Map, Value};

/// The output of an APIOutput: its declared inputs, as an object or, in `raw`, as one text.
pub fn output(node: &Node, input: &Map) -> Value {
    let declared = input.iter().filter(|(name, _)| node.input(name).is_some());
    let shaped = if node.text_setting("format") == Some("raw") {
        Value::from(declared.map(|(_, value)| value.to_text()).collect::<String>())
    } else {
        Value::object(declared.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    Value::object([("Output".into(), shaped)].into())
}

/// In `minimal`, or with a content type other than JSON, the answer is the output itself; the error if
/// there is no output; else what is left of the entry.
pub fn post_process(post: PostProcess<'_>) -> Posted {
    let minimal = post.node.text_setting("format") == Some("minimal");
    let content_type = post.node.text_setting("contentType").unwrap_or_default();
    if !minimal && matches!(content_type, "" | "application/json") {
        return Posted::Entry(post.result.clone());
    }
    let truthy = |key: &str| post.result.get(key).filter(|value| value.truthy()).cloned();
    if let Some(value) = truthy("Output").or_else(|| truthy("_error")) {
        return Posted::Bare(value);
    }
    Posted::Bare(Value::object([("result".into(), post.result.clone())].into()))
}
