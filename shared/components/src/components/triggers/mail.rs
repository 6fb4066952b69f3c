//! A message of Gmail as a payload.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chrono::{DateTime, SecondsFormat};
use sre_engine::value::{Map, Value};

use crate::page;

/// With or without padding: both are met.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// How deep parts may be in one another.
const DEEPEST: usize = 20;

/// `{email: {..}}`.
pub(super) fn payload(message: &Value) -> Value {
    let mut parts = Parts::default();
    if let Some(part) = message.get("payload") {
        parts.collect(part, 0);
    }
    let member = |name: &str| message.get(name).cloned().unwrap_or(Value::Null);
    let labels = message.get("labelIds").and_then(Value::as_array).unwrap_or_default();
    let unread = labels.iter().any(|label| label.as_str() == Some("UNREAD"));
    let date = message.get("internalDate").and_then(Value::to_f64_lenient);
    let date = date.and_then(|ms| DateTime::from_timestamp_millis(ms as i64));
    let date = date.map(|date| Value::from(date.to_rfc3339_opts(SecondsFormat::Millis, true)));
    // What is missing of text and page is made of the other.
    let (text, html) = match (parts.text, parts.html) {
        (Some(text), Some(html)) => (text, html),
        (Some(text), None) => (text.clone(), page::html(&text)),
        (None, Some(html)) => (format!("{}\n", page::text(&html)), html),
        (None, None) => (String::new(), String::new()),
    };
    let email: Map = [
        ("id".into(), member("id")),
        ("threadId".into(), member("threadId")),
        ("labelIds".into(), Value::array(labels.to_vec())),
        ("snippet".into(), member("snippet")),
        ("sizeEstimate".into(), member("sizeEstimate")),
        ("internalDate".into(), date.unwrap_or(Value::Null)),
        ("headers".into(), headers(message)),
        (
            "body".into(),
            Value::object([("text".into(), Value::from(text)), ("html".into(), Value::from(html))].into()),
        ),
        ("attachments".into(), Value::array(parts.attachments)),
        ("isUnread".into(), Value::Bool(unread)),
    ]
    .into();
    Value::object([("email".into(), Value::object(email))].into())
}

fn headers(message: &Value) -> Value {
    let list = message.get("payload").and_then(|part| part.get("headers")).and_then(Value::as_array);
    let find = |wanted: &str| {
        let found = list.unwrap_or_default().iter().find(|header| {
            header.get("name").and_then(Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case(wanted))
        });
        found.and_then(|header| header.get("value").cloned()).unwrap_or(Value::Null)
    };
    let named = ["from", "to", "cc", "bcc", "subject", "date"];
    let mut map: Map = named.into_iter().map(|name| (name.into(), find(name))).collect();
    map.insert("messageId".into(), find("message-id"));
    Value::object(map)
}

#[derive(Default)]
struct Parts {
    text: Option<String>,
    html: Option<String>,
    attachments: Vec<Value>,
}

impl Parts {
    fn collect(&mut self, part: &Value, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        let text = |name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default();
        let body = |name: &str| part.get("body").and_then(|body| body.get(name));
        if !text("filename").is_empty() {
            let attachment: Map = [
                ("filename".into(), Value::from(text("filename"))),
                ("mimeType".into(), Value::from(text("mimeType"))),
                ("size".into(), body("size").cloned().unwrap_or(Value::Null)),
                ("attachmentId".into(), body("attachmentId").cloned().unwrap_or(Value::Null)),
            ]
            .into();
            self.attachments.push(Value::object(attachment));
        } else if let Some(data) = body("data").and_then(Value::as_str) {
            let decoded = BASE64.decode(data).unwrap_or_default();
            let decoded = String::from_utf8_lossy(&decoded).into_owned();
            match text("mimeType") {
                "text/plain" if self.text.is_none() => self.text = Some(decoded),
                "text/html" if self.html.is_none() => self.html = Some(decoded),
                _ => {}
            }
        }
        for inner in part.get("parts").and_then(Value::as_array).unwrap_or_default() {
            self.collect(inner, depth + 1);
        }
    }
}
