//! Agent documents that tests write.

use std::path::PathBuf;

use serde_json::{Value, json};

/// A `.smyth` document. Connections are written `"from.output > to.input"`.
pub fn document(id: &str, variables: Value, components: &[Value], connections: &[&str]) -> Value {
    let connection = |text: &&str| {
        let (from, to) = text.split_once(" > ").unwrap();
        let ((source, output), (target, input)) =
            (from.split_once('.').unwrap(), to.split_once('.').unwrap());
        json!({ "sourceId": source, "sourceIndex": output, "targetId": target, "targetIndex": input })
    };
    let connections: Vec<Value> = connections.iter().map(connection).collect();
    json!({
        "version": "1.0.0", "id": id, "name": id, "variables": variables,
        "components": components, "connections": connections,
    })
}

/// An `APIEndpoint` whose body fields are its outputs.
pub fn endpoint(skill: &str, method: &str, inputs: &[(&str, &str)]) -> Value {
    let fields = inputs.iter().map(|(name, _)| {
        let source = if method == "GET" { "query" } else { "body" };
        json!({ "name": name, "expression": format!("{source}.{name}") })
    });
    let outputs: Vec<Value> = ["headers", "body", "query"]
        .iter()
        .map(|name| json!({ "name": name, "default": true }))
        .chain(fields)
        .collect();
    let inputs: Vec<Value> =
        inputs.iter().map(|(name, kind)| json!({ "name": name, "type": kind, "optional": false })).collect();
    json!({
        "id": skill, "name": "APIEndpoint", "displayName": skill, "title": skill,
        "data": { "endpoint": skill, "method": method, "description": skill, "ai_exposed": true },
        "inputs": inputs, "outputs": outputs,
    })
}

/// Any other component.
pub fn component(id: &str, kind: &str, data: Value, inputs: &[&str], outputs: &[&str]) -> Value {
    let inputs: Vec<Value> =
        inputs.iter().map(|name| json!({ "name": name, "type": "Any", "optional": false })).collect();
    let outputs: Vec<Value> = outputs.iter().map(|name| json!({ "name": name, "default": true })).collect();
    json!({
        "id": id, "name": kind, "displayName": kind, "title": id, "data": data,
        "inputs": inputs, "outputs": outputs,
    })
}

/// An `APIOutput`.
pub fn output(id: &str, inputs: &[&str]) -> Value {
    component(id, "APIOutput", json!({ "format": "minimal" }), inputs, &["Output"])
}

/// An `APICall` with a JSON body; its answer is `Response`, its failure `_error`.
pub fn api_call(id: &str, url: &str, headers: Value, body: Value, inputs: &[&str]) -> Value {
    let data = json!({
        "method": "POST", "url": url, "headers": headers.to_string(), "contentType": "application/json",
        "body": body.to_string(), "proxy": "", "oauthService": "None",
    });
    component(id, "APICall", data, inputs, &["Response", "Headers"])
}

/// An agent without effects: `hash` answers the SHA-256 of `text`.
pub fn hasher(id: &str) -> Value {
    document(
        id,
        json!({}),
        &[
            endpoint("hash", "POST", &[("text", "Text")]),
            component(
                "sha",
                "FHash",
                json!({ "algorithm": "sha256", "encoding": "hex" }),
                &["Data"],
                &["Hash"],
            ),
            output("answer", &["sha256"]),
        ],
        &["hash.text > sha.Data", "sha.Hash > answer.sha256"],
    )
}

/// An agent that sleeps: `sleep` answers `text` after `seconds`.
pub fn sleeper(id: &str, seconds: u32) -> Value {
    document(
        id,
        json!({}),
        &[
            endpoint("sleep", "POST", &[("text", "Text")]),
            component("nap", "FSleep", json!({ "delay": seconds.to_string() }), &["Input"], &["Output"]),
            output("answer", &["text"]),
        ],
        &["sleep.text > nap.Input", "nap.Output > answer.text"],
    )
}

/// An agent with an effect: `send` posts `text` to `url`, and answers what came back.
pub fn sender(id: &str, url: &str) -> Value {
    document(
        id,
        json!({}),
        &[
            endpoint("send", "POST", &[("text", "Text")]),
            api_call("post", url, json!({}), json!({ "text": "{{text}}" }), &["text"]),
            output("answer", &["response"]),
        ],
        &["send.text > post.text", "post.Response > answer.response"],
    )
}

/// An agent that asks people: `pay` answers who decided about `amount`, and how.
pub fn asker(id: &str, settings: Value) -> Value {
    document(
        id,
        json!({}),
        &[
            endpoint("pay", "POST", &[("amount", "Number")]),
            component(
                "ask",
                "Approval",
                settings,
                &["amount"],
                &["Approved", "Rejected", "Comment", "DecidedBy"],
            ),
            output("paid", &["approved", "by"]),
            output("refused", &["rejected", "by", "comment"]),
        ],
        &[
            "pay.amount > ask.amount",
            "ask.Approved > paid.approved",
            "ask.DecidedBy > paid.by",
            "ask.Rejected > refused.rejected",
            "ask.DecidedBy > refused.by",
            "ask.Comment > refused.comment",
        ],
    )
}

/// The project's own example agents: id and document.
pub fn examples() -> Vec<(String, Value)> {
    documents_in("../examples")
}

/// The examples of component types, by id.
pub fn component_examples() -> Vec<(String, Value)> {
    documents_in("../examples/components")
}

fn documents_in(folder: &str) -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "smyth"))
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        (document["id"].as_str().unwrap().to_owned(), document)
    };
    files.into_iter().map(read).collect()
}
