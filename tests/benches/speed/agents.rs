//! The agents of the later chapters, written with the addresses of this run.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Writes a document where `sre agents put` finds it.
pub fn write(folder: &Path, document: &Value) -> PathBuf {
    let path = folder.join(format!("{}.smyth", document["id"].as_str().unwrap()));
    std::fs::write(&path, document.to_string()).unwrap();
    path
}

fn endpoint(skill: &str, input: &str) -> Value {
    json!({
        "id": skill, "name": "APIEndpoint", "data": { "endpoint": skill, "method": "POST" },
        "inputs": [{ "name": input, "type": "Any" }],
        "outputs": [{ "name": "headers", "default": true }, { "name": "body", "default": true },
                    { "name": "query", "default": true },
                    { "name": input, "expression": format!("body.{input}") }],
    })
}

fn component(id: &str, kind: &str, data: Value, input: &str, outputs: &[&str]) -> Value {
    let outputs: Vec<Value> = outputs.iter().map(|name| json!({ "name": name, "default": true })).collect();
    json!({ "id": id, "name": kind, "data": data, "inputs": [{ "name": input, "type": "Any" }], "outputs": outputs })
}

fn connection(from: &str, output: &str, to: &str, input: &str) -> Value {
    json!({ "sourceId": from, "sourceIndex": output, "targetId": to, "targetIndex": input })
}

fn document(id: &str, components: &[Value], connections: &[Value]) -> Value {
    json!({ "version": "1.0.0", "id": id, "name": id, "components": components, "connections": connections })
}

/// One effect: `send` posts its text to the peer.
pub fn sender(url: &str) -> Value {
    let data = json!({
        "method": "POST", "url": url, "headers": "", "contentType": "application/json",
        "body": "{\"text\":\"{{text}}\"}", "proxy": "", "oauthService": "None",
    });
    document(
        "sender",
        &[
            endpoint("send", "text"),
            component("post", "APICall", data, "text", &["Response", "Headers"]),
            component("out", "APIOutput", json!({ "format": "minimal" }), "r", &["Output"]),
        ],
        &[connection("send", "text", "post", "text"), connection("post", "Response", "out", "r")],
    )
}

/// `ask` asks a model.
pub fn asker(model: &str) -> Value {
    let data = json!({ "model": model, "prompt": "{{text}}" });
    document(
        "asker",
        &[
            endpoint("ask", "text"),
            component("ask-model", "GenAILLM", data, "text", &["Reply"]),
            component("out", "APIOutput", json!({ "format": "minimal" }), "r", &["Output"]),
        ],
        &[connection("ask", "text", "ask-model", "text"), connection("ask-model", "Reply", "out", "r")],
    )
}

/// `hop` sends its text through one component of this type, and answers what comes of it.
pub fn hopper(id: &str, kind: &str) -> Value {
    let (output, data) = match kind {
        "JSONFilter" => ("Output", json!({ "fields": "text" })),
        _ => ("text", json!({})),
    };
    let input = if kind == "JSONFilter" { "Input" } else { "text" };
    let from = if kind == "JSONFilter" { "body" } else { "text" };
    document(
        id,
        &[
            endpoint("hop", "text"),
            component("there", kind, data, input, &[output]),
            component("out", "APIOutput", json!({ "format": "minimal" }), "text", &["Output"]),
        ],
        &[connection("hop", from, "there", input), connection("there", output, "out", "text")],
    )
}

/// `sleep` answers its text after some seconds.
pub fn sleeper(seconds: u32) -> Value {
    document(
        "sleeper",
        &[
            endpoint("sleep", "text"),
            component("nap", "FSleep", json!({ "delay": seconds.to_string() }), "Input", &["Output"]),
            component("out", "APIOutput", json!({ "format": "minimal" }), "text", &["Output"]),
        ],
        &[connection("sleep", "text", "nap", "Input"), connection("nap", "Output", "out", "text")],
    )
}

/// `each` hashes every element of a list.
pub fn looper() -> Value {
    document(
        "looper",
        &[
            endpoint("each", "list"),
            component("loop", "ForEach", json!({ "format": "minimal" }), "Input", &["Loop", "Result"]),
            component("hash", "FHash", json!({ "algorithm": "md5", "encoding": "hex" }), "Data", &["Hash"]),
            component("out", "APIOutput", json!({ "format": "minimal" }), "all", &["Output"]),
        ],
        &[
            connection("each", "list", "loop", "Input"),
            connection("loop", "Loop", "hash", "Data"),
            connection("loop", "Result", "out", "all"),
        ],
    )
}

/// `map` posts every element of a list to the server, so many at a time, and answers the statuses.
pub fn mapper(id: &str, method: &str, url: &str, at_a_time: usize) -> Value {
    let data = json!({
        "method": method, "url": url, "headers": "", "contentType": "application/json",
        "body": "{\"n\":\"{{n}}\"}", "proxy": "", "oauthService": "None",
    });
    document(
        id,
        &[
            endpoint("map", "list"),
            component("each", "Map", json!({ "concurrency": at_a_time }), "Input", &["Item", "Result"]),
            // One native output, so that its value is the status.
            component("post", "APICall", data, "n", &["Status"]),
            component("out", "APIOutput", json!({ "format": "minimal" }), "all", &["Output"]),
        ],
        &[
            connection("map", "list", "each", "Input"),
            connection("each", "Item", "post", "n"),
            connection("each", "Result", "out", "all"),
        ],
    )
}
