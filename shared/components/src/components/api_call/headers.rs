//! The headers of a request.

use http::Method;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use sre_engine::data::permissive_json;
use sre_engine::value::Value;

use super::Values;
use super::body::Body;
use crate::context::Call;
use crate::outbound;
use crate::settings;

/// What servers written for the reference's client may rely on.
const DEFAULT_ACCEPT: &str = "application/json, text/plain, */*";
const FORM: &str = "application/x-www-form-urlencoded";

pub(super) fn build(
    call: Call<'_>,
    text: &str,
    values: Values<'_>,
    method: &Method,
    body: &Body,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(DEFAULT_ACCEPT));
    headers.insert(USER_AGENT, outbound::user_agent());
    let rendered = settings::render_json(text, values.inputs, values.secrets);
    if !rendered.trim().is_empty() {
        configured(&rendered, &mut headers)?;
    }
    let configured = match settings::text(call, "contentType").as_str() {
        // The body's own type stands for these two.
        "" | "none" | "binary" | "multipart/form-data" => None,
        configured => Some(configured.to_owned()),
    };
    let carries_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    if carries_body && body.bytes.is_none() {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let by_method = || (carries_body || body.bytes.is_some()).then(|| FORM.to_owned());
    match &body.content_type {
        // The encoder knows best: a boundary, the type of a file.
        Some(own) => insert(&mut headers, "content-type", own)?,
        None if headers.contains_key(CONTENT_TYPE) => {}
        None => {
            if let Some(content_type) = configured.or_else(by_method) {
                insert(&mut headers, "content-type", &content_type)?;
            }
        }
    }
    Ok(headers)
}

fn configured(rendered: &str, headers: &mut HeaderMap) -> Result<(), String> {
    match permissive_json::parse(rendered) {
        Some(Value::Object(members)) => {
            members.iter().try_for_each(|(name, value)| insert(headers, name, &value.to_text()))
        }
        _ => insert(headers, "x-smyth-error", "Error parsing headers"),
    }
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    // A value may be secret, so it is not shown.
    let refused = || format!("Invalid character in header content [\"{name}\"]");
    let parsed: HeaderName = name
        .trim()
        .to_ascii_lowercase()
        .parse()
        .map_err(|_| format!("Header name must be a valid HTTP token [\"{name}\"]"))?;
    headers.insert(parsed, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| refused())?);
    Ok(())
}
