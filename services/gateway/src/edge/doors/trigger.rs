//! A request of another service to a trigger. Its body may be anything, and is handed on as it came too: signatures
//! are made over that.

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Map, Value};
use sre_proto::gateway::v1::RawRequest;
use sre_service::Proof;

use super::request::{headers, pairs, too_large};
use super::{MAX_BEARER_BYTES, Refusal};

/// Parameters of the address that are for the door. They go no further.
const KEY: &str = "key";
const AGENT: &str = "agent";

/// What the address says to the door.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// An API key.
    pub key: Option<String>,
    /// The agent.
    pub agent: Option<String>,
}

/// The request without what its address says to the door.
pub fn taken_out(mut request: Request) -> (Request, Given) {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (mut given, mut rest) = (Given::default(), url::form_urlencoded::Serializer::new(String::new()));
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            KEY => given.key = Some(value.into_owned()),
            AGENT => given.agent = Some(value.into_owned()),
            _ => {
                rest.append_pair(&name, &value);
            }
        }
    }
    if given != Given::default() {
        let rest = rest.finish();
        let path = request.uri().path();
        let path_and_query = if rest.is_empty() { path.to_owned() } else { format!("{path}?{rest}") };
        if let Ok(uri) = path_and_query.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    (request, given)
}

/// The key of an address.
pub fn key(key: String) -> Result<Proof, Refusal> {
    if key.is_empty() || key.len() > MAX_BEARER_BYTES {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "`key` is no API key: `sre keys create` makes one",
        ));
    }
    Ok(Proof::ApiKey(key))
}

/// Reads the request.
pub async fn raw(request: Request, limit: usize) -> Result<RawRequest, Refusal> {
    let method = request.method().as_str().to_owned();
    let path = request.uri().path().to_owned();
    let query = pairs(request.uri().query().unwrap_or_default().as_bytes());
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let headers = headers(request.headers());
    let collected = Limited::new(request.into_body(), limit).collect().await.map_err(|_| too_large(limit))?;
    let body = collected.to_bytes();
    Ok(RawRequest {
        method,
        path,
        headers,
        query_json: Value::Object(query).to_string().into(),
        body_json: json(&kind, &body).to_string().into(),
        body,
        ..RawRequest::default()
    })
}

/// What the body says: JSON, a form, or text.
fn json(kind: &str, body: &Bytes) -> Value {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Value::Object(Map::new());
    }
    if kind.starts_with("application/x-www-form-urlencoded") {
        return Value::Object(pairs(body));
    }
    serde_json::from_slice(body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use serde_json::json;

    #[test]
    fn what_is_for_the_door_goes_no_further() {
        let request = Request::post("/trigger/t?a=1&key=k%2F1&agent=g&b=x%26y").body(Body::empty()).unwrap();
        let (request, given) = taken_out(request);
        assert_eq!(given, Given { key: Some("k/1".into()), agent: Some("g".into()) });
        assert_eq!(request.uri(), "/trigger/t?a=1&b=x%26y");
        let plain = Request::post("/trigger/t?a=%20").body(Body::empty()).unwrap();
        assert_eq!(taken_out(plain).0.uri(), "/trigger/t?a=%20");
    }

    #[tokio::test]
    async fn every_body_is_taken_and_kept_as_it_came() {
        for (kind, body, said) in [
            ("application/json", " {\"a\": 1}", json!({"a": 1})),
            ("application/json", "[1, 2]", json!([1, 2])),
            ("application/json", "{broken", json!("{broken")),
            ("text/plain", "hello", json!("hello")),
            ("application/x-www-form-urlencoded", "a=1&b=c+d", json!({"a": "1", "b": "c d"})),
            ("", "", json!({})),
        ] {
            let request =
                Request::post("/trigger/t").header(CONTENT_TYPE, kind).body(Body::from(body)).unwrap();
            let raw = raw(request, 100).await.unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&raw.body_json).unwrap(), said, "{body}");
            assert_eq!(raw.body, body.as_bytes());
        }
        let large = Request::post("/trigger/t").body(Body::from("x".repeat(101))).unwrap();
        assert!(raw(large, 100).await.is_err());
    }
}
