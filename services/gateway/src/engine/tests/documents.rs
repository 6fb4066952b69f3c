//! Agents for tests.

use serde_json::{Value, json};

pub fn component(id: &str, type_name: &str, data: Value, inputs: &[&str], outputs: &[&str]) -> Value {
    json!({
        "id": id, "name": type_name, "displayName": type_name, "title": id, "data": data,
        "inputs": inputs.iter().map(|name| json!({"name": name, "type": "Any"})).collect::<Vec<_>>(),
        "outputs": outputs.iter().map(|name| json!({"name": name, "default": true})).collect::<Vec<_>>(),
    })
}

/// The skill `go`, with one input `x`.
pub fn endpoint() -> Value {
    json!({
        "id": "go", "name": "APIEndpoint", "displayName": "APIEndpoint", "title": "go",
        "data": {"endpoint": "go", "method": "POST"},
        "inputs": [{"name": "x", "type": "Any"}],
        "outputs": [{"name": "headers", "default": true}, {"name": "body", "default": true},
                    {"name": "query", "default": true}, {"name": "x", "expression": "body.x"}],
    })
}

pub fn post(id: &str, url: &str, more: Value) -> Value {
    let mut data =
        json!({"method": "POST", "url": url, "body": {"v": "{{v}}"}, "contentType": "application/json"});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    component(id, "APICall", data, &["v"], &["Response", "Headers", "Status"])
}

/// A document with links written `from.output > to.input`.
pub fn document(id: &str, components: Vec<Value>, links: &[&str]) -> Value {
    let links: Vec<Value> = links
        .iter()
        .map(|link| {
            let (from, to) = link.split_once(" > ").unwrap();
            let ((source, output), (target, input)) =
                (from.split_once('.').unwrap(), to.split_once('.').unwrap());
            json!({"sourceId": source, "sourceIndex": output, "targetId": target, "targetIndex": input})
        })
        .collect();
    json!({"version": "1.0.0", "id": id, "name": id, "behavior": "b", "components": components,
        "connections": links})
}
