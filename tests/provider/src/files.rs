//! Uploads: Google's in two steps, with a while until the file can be used; OpenAI's in one form.

use std::collections::BTreeMap;

use axum::response::Response;
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::routes::{Incoming, json_answer};
use crate::state::State;

/// So many looks find a file still in work.
const LOOKS: u32 = 2;

/// Files by name.
#[derive(Debug, Default)]
pub struct Files(Mutex<BTreeMap<String, File>>);

#[derive(Debug, Clone)]
struct File {
    kind: String,
    size_bytes: usize,
    display_name: String,
    looks: u32,
}

pub(crate) fn handle(state: &State, incoming: &Incoming) -> Response {
    if incoming.key().is_empty() {
        return json_answer(401, &json!({"error": {"code": 401, "message": "there is no key"}}));
    }
    let mut files = state.files.0.lock();
    if incoming.header("content-type").starts_with("multipart/form-data") {
        let id = format!("file-{}", incoming.number);
        let file = json!({"id": id, "object": "file", "bytes": incoming.body.len(), "filename": "file",
            "purpose": "user_data", "created_at": 1_790_000_000});
        return json_answer(200, &file);
    }
    match (&incoming.method, incoming.header("x-goog-upload-command")) {
        (&Method::POST, "start") => {
            let name = format!("files/fake-{}", incoming.number);
            let kind = incoming.header("x-goog-upload-header-content-type").to_owned();
            let wish = incoming.json();
            let display_name = wish["file"]["displayName"].as_str().unwrap_or_default().to_owned();
            let kind = if kind.is_empty() { text(&wish["file"]["mimeType"]) } else { kind };
            files.insert(name.clone(), File { kind, size_bytes: 0, display_name, looks: 0 });
            let version = if incoming.path.contains("/v1beta/") { "v1beta" } else { "v1" };
            let at = format!("http://{}/upload/{version}/{name}", incoming.header("host"));
            let mut answer = json_answer(200, &json!({}));
            if let Ok(at) = http::HeaderValue::try_from(at) {
                answer.headers_mut().insert("x-goog-upload-url", at);
            }
            answer.headers_mut().insert("x-goog-upload-status", http::HeaderValue::from_static("active"));
            answer
        }
        (&Method::POST | &Method::PUT, command) if command.contains("upload") => {
            let name = name_of(&incoming.path);
            let Some(file) = files.get_mut(&name) else { return absent() };
            file.size_bytes += incoming.body.len();
            let mut answer = json_answer(200, &json!({"file": shown(&name, file, incoming)}));
            let status = if command.contains("finalize") { "final" } else { "active" };
            answer.headers_mut().insert("x-goog-upload-status", http::HeaderValue::from_static(status));
            answer
        }
        (&Method::GET, _) => {
            let name = name_of(&incoming.path);
            let Some(file) = files.get_mut(&name) else { return absent() };
            file.looks += 1;
            json_answer(200, &shown(&name, file, incoming))
        }
        (&Method::DELETE, _) => {
            files.remove(&name_of(&incoming.path));
            json_answer(200, &json!({}))
        }
        _ => json_answer(400, &json!({"error": {"code": 400, "message": "no such upload"}})),
    }
}

fn absent() -> Response {
    json_answer(404, &json!({"error": {"code": 404, "message": "no such file", "status": "NOT_FOUND"}}))
}

fn name_of(path: &str) -> String {
    path.rsplit_once("/files/").map(|(_, name)| format!("files/{name}")).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn shown(name: &str, file: &File, incoming: &Incoming) -> Value {
    let state = if file.looks < LOOKS { "PROCESSING" } else { "ACTIVE" };
    json!({"name": name, "displayName": file.display_name, "mimeType": file.kind,
        "sizeBytes": file.size_bytes.to_string(), "state": state,
        "uri": format!("http://{}/v1beta/{name}", incoming.header("host"))})
}
