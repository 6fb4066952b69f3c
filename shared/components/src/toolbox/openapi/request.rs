//! The request that a call of an operation becomes, and what the model reads of its answer.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE};
use http::{HeaderName, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use url::Url;

use super::auth::Credentials;
use super::files::Files;
use super::operations::{BODY, Operation, Parameter, Place};
use crate::egress::{Request, Response};
use crate::form::Form;
use crate::toolbox::{ToolAnswer, Used};

/// What a model reads of an answer at most; the talk may cut it further.
const ANSWER_BYTES: usize = 256 << 10;
/// All but letters, digits and `-_.~`.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The request of a call.
pub(super) fn build(
    server: &Url,
    operation: &Operation,
    used: Used<'_>,
    files: &Files,
    credentials: &Credentials,
) -> Result<Request, String> {
    let arguments = used.arguments;
    let mut url = address(server, operation, arguments)?;
    let mut request = Request::new(operation.method.clone(), url.clone());
    let mut cookies = Vec::new();
    let given =
        |parameter: &Parameter| arguments.get(&parameter.argument).filter(|value| !value.is_null()).cloned();
    for parameter in &operation.parameters {
        let Some(value) = given(parameter) else { continue };
        match parameter.place {
            Place::Path => {}
            Place::Query => query(&mut url, parameter, &value),
            Place::Header => {
                let name = HeaderName::try_from(parameter.name.as_str());
                let value = HeaderValue::from_str(&simple(&value));
                let (Ok(name), Ok(value)) = (name, value) else {
                    return Err(format!("{} holds what no header can carry", parameter.argument));
                };
                if !crate::toolbox::headers::is_reserved(&name) {
                    request.headers.insert(name, value);
                }
            }
            Place::Cookie => {
                let value = utf8_percent_encode(&simple(&value), SEGMENT).to_string();
                cookies.push(format!("{}={value}", utf8_percent_encode(&parameter.name, SEGMENT)));
            }
        }
    }
    credentials.apply(&mut url, &mut request.headers, &mut cookies);
    if !cookies.is_empty() {
        let cookies = HeaderValue::from_str(&cookies.join("; "));
        request.headers.insert(COOKIE, cookies.map_err(|_| "a cookie holds what none can carry".to_owned())?);
    }
    if let (Some(media_type), Some(value)) = (&operation.body, arguments.get(BODY)) {
        body(&mut request, media_type, value, (files, used.key))?;
    }
    if !operation.method.is_safe() {
        let key = HeaderValue::from_str(used.key).map_err(|_| "the call has a malformed key".to_owned())?;
        request.headers.entry("idempotency-key").or_insert(key);
    }
    request.url = url;
    Ok(request)
}

/// The server's address with the operation's path, its parameters in their places.
fn address(server: &Url, operation: &Operation, arguments: &Map<String, Value>) -> Result<Url, String> {
    let mut path = operation.path.clone();
    for parameter in operation.parameters.iter().filter(|parameter| parameter.place == Place::Path) {
        let value = arguments.get(&parameter.argument).filter(|value| !value.is_null());
        let value = value.map(simple).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| format!("{} is missing", parameter.argument))?;
        if matches!(value.as_str(), "." | "..") {
            return Err(format!("{} must not be `.` or `..`", parameter.argument));
        }
        let value = utf8_percent_encode(&value, SEGMENT).to_string();
        path = path.replace(&format!("{{{}}}", parameter.name), &value);
    }
    let base = server.path().trim_end_matches('/').to_owned();
    let mut url = server.clone();
    url.set_query(None);
    url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
    Ok(url)
}

fn query(url: &mut Url, parameter: &Parameter, value: &Value) {
    let mut pairs = url.query_pairs_mut();
    match value {
        _ if parameter.json => drop(pairs.append_pair(&parameter.name, &value.to_string())),
        Value::Array(items) if parameter.explode => {
            for item in items {
                pairs.append_pair(&parameter.name, &plain(item));
            }
        }
        Value::Object(members) if parameter.deep => {
            for (name, member) in members {
                pairs.append_pair(&format!("{}[{name}]", parameter.name), &plain(member));
            }
        }
        Value::Object(members) if parameter.explode => {
            for (name, member) in members {
                pairs.append_pair(name, &plain(member));
            }
        }
        other => drop(pairs.append_pair(&parameter.name, &simple(other))),
    }
}

/// A value in the style `simple`: items and members between commas.
fn simple(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Object(members) => {
            let members = members.iter().map(|(name, member)| format!("{name},{}", plain(member)));
            members.collect::<Vec<_>>().join(",")
        }
        other => plain(other),
    }
}

/// Texts as they are, everything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn body(
    request: &mut Request,
    media_type: &str,
    value: &Value,
    (files, key): (&Files, &str),
) -> Result<(), String> {
    let members = || value.as_object().ok_or_else(|| format!("{BODY} must be an object for {media_type}"));
    let mut content_type = media_type.to_owned();
    let bytes: Bytes = match media_type {
        "application/x-www-form-urlencoded" => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            for (name, member) in members()? {
                form.append_pair(name, &plain(member));
            }
            form.finish().into()
        }
        "multipart/form-data" => {
            let boundary = format!("sre-{}", key.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
            let (with_boundary, form) = multipart(boundary, members()?, files).finish();
            content_type = with_boundary;
            form
        }
        json if json.contains("json") => value.to_string().into(),
        _ => match files.get("").and_then(|files| files.first()) {
            Some(file) => file.data.clone(),
            None => plain(value).into(),
        },
    };
    let content_type = HeaderValue::from_str(&content_type);
    request
        .headers
        .insert(CONTENT_TYPE, content_type.map_err(|_| "the body has a malformed type".to_owned())?);
    request.body = Some(bytes);
    Ok(())
}

/// A form of texts and files; the same call makes the same bytes.
fn multipart(boundary: String, members: &Map<String, Value>, files: &Files) -> Form {
    let mut form = Form::bounded_by(boundary);
    for (name, member) in members {
        match files.get(name) {
            Some(files) => files.iter().for_each(|file| form.file(name, file)),
            None => form.text(name, &plain(member)),
        }
    }
    form
}

/// What the model reads: texts as they are, of other bytes what they are.
pub(super) fn answer(response: &Response, method: &Method) -> ToolAnswer {
    let content_type =
        response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = content_type.split(';').next().unwrap_or_default().trim();
    let text = match std::str::from_utf8(&response.body) {
        Ok(text) => text[..text.floor_char_boundary(ANSWER_BYTES)].to_owned(),
        Err(_) => format!("[{plain}, {} bytes]", response.body.len()),
    };
    let status = response.status;
    if status.is_redirection() {
        return ToolAnswer::failure(
            "the server answered with another address, which is not followed with the agent's credentials",
        );
    }
    if status.is_client_error() || status.is_server_error() {
        let said = if text.is_empty() { String::new() } else { format!(": {text}") };
        return ToolAnswer::failure(format!("Request failed with status code {}{said}", status.as_u16()));
    }
    match text.is_empty() {
        true => ToolAnswer::text(format!("{method} answered {} without a body", status.as_u16())),
        false => ToolAnswer::text(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::document::Document;
    use super::super::operations;
    use super::*;

    fn call(described: &Value, arguments: &Value) -> Result<Request, String> {
        let document = json!({"openapi": "3.0.0", "servers": [{"url": "/v1/"}],
            "paths": {"/a/{id}": {"post": described}}});
        let from = "http://h/".parse().unwrap();
        let document = Document::read(document.to_string().as_bytes(), &from).unwrap();
        let operation = operations::of(&document, |_| true).unwrap().0.remove(0);
        let used = Used { name: "x", arguments: arguments.as_object().unwrap(), key: "k-1" };
        build(&document.server, &operation, used, &Files::new(), &Credentials::default())
    }

    fn described(content: &str) -> Value {
        json!({"parameters": [{"name": "id", "in": "path"}, {"name": "q", "in": "query"},
            {"name": "c", "in": "query", "explode": false}, {"name": "f", "in": "query", "style": "deepObject"},
            {"name": "X-Many", "in": "header"}, {"name": "s", "in": "cookie"}],
            "requestBody": {"content": {content: {"schema": {"type": "object"}}}}})
    }

    #[test]
    fn d36_parameters_go_where_they_belong() {
        let arguments = json!({"id": "x/y ?", "q": ["a", "b&c"], "c": [1, 2], "f": {"k": "v"}, "X-Many": [1, 2],
            "s": "a;b", "body": {"n": 1}});
        let request = call(&described("application/json"), &arguments).unwrap();
        assert_eq!(request.url.as_str(), "http://h/v1/a/x%2Fy%20%3F?q=a&q=b%26c&c=1%2C2&f%5Bk%5D=v");
        assert_eq!(
            (request.headers["x-many"].to_str().unwrap(), request.headers[COOKIE].to_str().unwrap()),
            ("1,2", "s=a%3Bb")
        );
        assert_eq!(request.headers["idempotency-key"], "k-1");
        assert_eq!(
            (request.headers[CONTENT_TYPE].to_str().unwrap(), request.body.unwrap().as_ref()),
            ("application/json", br#"{"n":1}"#.as_slice())
        );
    }

    #[test]
    fn d36_bodies_need_not_be_json() {
        let body = |content: &str, value: Value| {
            call(&described(content), &json!({"id": 1, "body": value})).map(|request| {
                (
                    request.headers[CONTENT_TYPE].to_str().unwrap().to_owned(),
                    String::from_utf8(request.body.unwrap().to_vec()).unwrap(),
                )
            })
        };
        let form = body("application/x-www-form-urlencoded", json!({"a": "b c", "n": 1})).unwrap();
        assert_eq!(form, ("application/x-www-form-urlencoded".to_owned(), "a=b+c&n=1".to_owned()));
        assert_eq!(body("text/csv", json!("a,b")).unwrap().1, "a,b");
        let (content_type, text) = body("multipart/form-data", json!({"a": "b"})).unwrap();
        assert!(content_type.starts_with("multipart/form-data; boundary=sre-k1"));
        assert!(text.contains("name=\"a\"\r\n\r\nb\r\n--sre-k1--"), "{text}");
        let (_, text) = body("multipart/form-data", json!({"a\"\r\nX: y": "b"})).unwrap();
        assert!(text.contains("name=\"a%22%0D%0AX: y\"\r\n\r\nb"), "{text}");
        assert!(body("application/x-www-form-urlencoded", json!("text")).is_err());
    }

    #[test]
    fn arguments_do_not_lead_elsewhere() {
        for id in [json!(".."), json!("."), json!(""), Value::Null] {
            assert!(call(&described("text/plain"), &json!({ "id": id })).is_err());
        }
        let request = call(&described("text/plain"), &json!({"id": "http://evil/", "q": "#x"})).unwrap();
        assert_eq!(request.url.host_str(), Some("h"));
        assert!(call(&described("text/plain"), &json!({"id": 1, "X-Many": "a\r\nb: c"})).is_err());
    }

    #[test]
    fn refusals_and_redirects_are_failures() {
        let response = |status: u16, body: &'static [u8]| Response {
            status: http::StatusCode::from_u16(status).unwrap(),
            headers: Default::default(),
            body: body.into(),
            url: "http://h/".parse().unwrap(),
        };
        let told = |status, body| answer(&response(status, body), &Method::GET);
        assert_eq!(told(200, b"ok"), ToolAnswer::text("ok"));
        assert!(told(404, b"no").failed && told(404, b"no").text.contains("404: no"));
        assert!(told(302, b"").failed);
        assert!(told(204, b"").text.contains("204"));
        assert_eq!(told(200, &[0xff, 0xfe]).text, "[, 2 bytes]");
    }
}
