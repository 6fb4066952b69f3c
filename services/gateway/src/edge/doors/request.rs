//! An HTTP request as a raw request of the engine.

use std::collections::HashMap;

use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Map, Value};
use sre_proto::gateway::v1::{RawRequest, UploadedFile};

use super::Refusal;

/// Files of one request.
const MAX_FILES: usize = 5;

/// Reads the request. Its body is a JSON object, a form, or empty.
pub async fn raw(request: Request, limit: usize) -> Result<RawRequest, Refusal> {
    let method = request.method().as_str().to_owned();
    let path = request.uri().path().to_owned();
    let query = pairs(request.uri().query().unwrap_or_default().as_bytes());
    let headers = headers(request.headers());
    let lists = if injects(&headers) { Lists::Allowed } else { Lists::Refused };
    let (body, files) = body(request, limit, lists).await?;
    Ok(RawRequest {
        method,
        path,
        headers,
        query_json: Value::Object(query).to_string().into(),
        body_json: body.to_string().into(),
        files,
        ..RawRequest::default()
    })
}

/// Header fields in lower case; credentials were for the door and go no further.
pub(super) fn headers(headers: &HeaderMap) -> HashMap<String, String> {
    headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "authorization" | "cookie" | "proxy-authorization"))
        .filter(|(name, _)| !name.as_str().starts_with("sre-"))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}

/// Form pairs; of a repeated key the last one counts.
pub(super) fn pairs(form: &[u8]) -> Map<String, Value> {
    url::form_urlencoded::parse(form).map(|(k, v)| (k.into_owned(), Value::String(v.into_owned()))).collect()
}

/// Whether a body may be a list: only what is put into debug sessions is one.
#[derive(Clone, Copy)]
enum Lists {
    Allowed,
    Refused,
}

fn injects(headers: &HashMap<String, String>) -> bool {
    ["x-debug-inj", "x-mock-data-inj"].iter().any(|name| headers.contains_key(*name))
}

async fn body(request: Request, limit: usize, lists: Lists) -> Result<(Value, Vec<UploadedFile>), Refusal> {
    let kind =
        request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    if kind.starts_with("multipart/form-data") {
        let (fields, files) = multipart(request, limit).await?;
        return Ok((Value::Object(fields), files));
    }
    let collected = Limited::new(request.into_body(), limit).collect().await.map_err(|_| too_large(limit))?;
    let bytes = collected.to_bytes();
    if kind.starts_with("application/x-www-form-urlencoded") {
        return Ok((Value::Object(pairs(&bytes)), Vec::new()));
    }
    Ok((json(&bytes, lists)?, Vec::new()))
}

fn json(bytes: &Bytes, lists: Lists) -> Result<Value, Refusal> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    match serde_json::from_slice(bytes) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(list @ Value::Array(_)) if matches!(lists, Lists::Allowed) => Ok(list),
        Ok(_) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "the body is JSON but not an object: send {\"input\": ...}",
        )),
        Err(e) => Err(Refusal::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {e}"))),
    }
}

async fn multipart(
    request: Request,
    limit: usize,
) -> Result<(Map<String, Value>, Vec<UploadedFile>), Refusal> {
    let broken =
        |e: &dyn std::fmt::Display| Refusal::new(StatusCode::BAD_REQUEST, format!("the form is broken: {e}"));
    let mut form = Multipart::from_request(request, &()).await.map_err(|e| broken(&e))?;
    let (mut fields, mut files, mut left) = (Map::new(), Vec::new(), limit);
    while let Some(mut field) = form.next_field().await.map_err(|e| broken(&e))? {
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(str::to_owned);
        let mimetype = field.content_type().unwrap_or("application/octet-stream").to_owned();
        let mut data = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(|e| broken(&e))? {
            left = left.checked_sub(chunk.len()).ok_or_else(|| too_large(limit))?;
            data.extend_from_slice(&chunk);
        }
        match file_name {
            Some(_) if files.len() == MAX_FILES => {
                return Err(Refusal::new(StatusCode::BAD_REQUEST, format!("more than {MAX_FILES} files")));
            }
            Some(file_name) => {
                files.push(UploadedFile { field: name, name: file_name, mimetype, data: data.into() })
            }
            None => {
                fields.insert(name, Value::String(String::from_utf8_lossy(&data).into_owned()));
            }
        }
    }
    Ok((fields, files))
}

pub(super) fn too_large(limit: usize) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {limit} bytes, or its stream broke"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use serde_json::json;

    fn post(kind: &str, body: &'static str) -> Request {
        Request::post("/api/e?a=1&a=2").header(CONTENT_TYPE, kind).body(Body::from(body)).unwrap()
    }

    #[tokio::test]
    async fn bodies_of_every_kind_become_an_object() {
        let json_body = raw(post("application/json", r#"{"x":[1]}"#), 100).await.unwrap();
        assert_eq!(json_body.body_json, r#"{"x":[1]}"#);
        assert_eq!(json_body.query_json, r#"{"a":"2"}"#);
        let form = raw(post("application/x-www-form-urlencoded", "x=1&y=b%20c"), 100).await.unwrap();
        let seen: Value = serde_json::from_slice(&form.body_json).unwrap();
        assert_eq!(seen, json!({"x": "1", "y": "b c"}));
        let files = "--b\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\ncontent-type: text/plain\r\n\r\nhi\r\n--b\r\ncontent-disposition: form-data; name=\"x\"\r\n\r\n1\r\n--b--\r\n";
        let multipart = raw(post("multipart/form-data; boundary=b", files), 1000).await.unwrap();
        assert_eq!(multipart.body_json, r#"{"x":"1"}"#);
        assert_eq!(
            (multipart.files[0].name.as_str(), multipart.files[0].data.as_ref()),
            ("a.txt", b"hi".as_ref())
        );
        assert_eq!(raw(post("", ""), 10).await.unwrap().body_json, "{}");
    }

    #[tokio::test]
    async fn what_is_put_into_debug_sessions_is_a_list() {
        let mut request = post("application/json", r#"[{"id":"A"}]"#);
        request.headers_mut().insert("x-debug-inj", "dbg-1".parse().unwrap());
        assert_eq!(raw(request, 100).await.unwrap().body_json, r#"[{"id":"A"}]"#);
    }

    #[tokio::test]
    async fn other_bodies_are_refused() {
        for (kind, body, limit) in [
            ("application/json", "[1]", 100),
            ("application/json", "{", 100),
            ("application/json", "{\"x\":12345}", 5),
        ] {
            assert!(raw(post(kind, body), limit).await.is_err(), "{body}");
        }
        assert!(raw(post("multipart/form-data; boundary=b", "--b"), 100).await.is_err());
    }
}
