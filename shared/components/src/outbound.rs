//! How components call others: through the egress client, within the run's time, as part of its trace, and no longer
//! than the run goes on.

use std::time::Duration;

use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use sre_engine::value::Value;
use tokio::time::Instant;

use crate::context::{Context, ContextError, Failure};
use crate::egress::{EgressError, Request, Response};
use crate::outcome::Failed;
use crate::page;

/// The header of draft-ietf-httpapi-idempotency-key-header, as payment services read it.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// How often a call is made that may be repeated.
pub(crate) const ATTEMPTS: u32 = 3;
/// What users of a cancelled run read.
const KILLED: &str = "Agent killed";

/// Sends a request within the run's time, as long as the run goes on.
pub(crate) async fn send(context: &dyn Context, request: Request) -> Result<Response, EgressError> {
    send_within(context, request, Duration::MAX).await
}

/// The same, within this time too.
pub(crate) async fn send_within(
    context: &dyn Context,
    mut request: Request,
    within: Duration,
) -> Result<Response, EgressError> {
    if let Ok(parent) = HeaderValue::from_str(&context.trace_parent())
        && !parent.is_empty()
    {
        request.headers.entry(TRACEPARENT).or_insert(parent);
    }
    if !request.headers.contains_key(USER_AGENT) {
        request.headers.insert(USER_AGENT, user_agent());
    }
    let left = context.deadline().saturating_duration_since(Instant::now());
    let cancelled = context.cancelled();
    tokio::select! {
        sent = context.http().send(request, left.min(within)) => sent,
        () = cancelled.cancelled() => Err(EgressError::Broken(KILLED.to_owned())),
    }
}

/// Who calls.
pub(crate) fn user_agent() -> HeaderValue {
    HeaderValue::from_static(concat!("sre/", env!("CARGO_PKG_VERSION")))
}

/// The same request with a key by which its server can tell a repeat, if its method changes something. A crash of
/// the engine may repeat it.
pub(crate) fn keyed(context: &dyn Context, mut request: Request) -> Request {
    if !request.method.is_safe()
        && !request.headers.contains_key(&IDEMPOTENCY_KEY)
        && let Ok(key) = HeaderValue::from_str(&context.idempotency_key())
    {
        request.headers.insert(IDEMPOTENCY_KEY, key);
    }
    request
}

/// The same request with a JSON body.
pub(crate) fn json(mut request: Request, body: &Value) -> Request {
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.body = Some(body.to_json_text().into());
    request
}

/// The same request with a bearer.
///
/// # Errors
/// If the secret holds what no header can carry; it is not shown.
pub(crate) fn bearer(mut request: Request, secret: &str) -> Result<Request, ContextError> {
    let broken = || ContextError::new(Failure::Invalid, "the key has characters that no header can carry");
    let mut value = HeaderValue::from_str(&format!("Bearer {secret}")).map_err(|_| broken())?;
    value.set_sensitive(true);
    request.headers.insert(AUTHORIZATION, value);
    Ok(request)
}

/// The JSON of an answer.
pub(crate) fn json_of(response: &Response) -> Option<Value> {
    serde_json::from_slice(&response.body).ok()
}

/// What a refusal says: the status in the reference's words, and the provider's own message behind it.
pub(crate) fn refusal(response: &Response) -> Option<String> {
    if !(response.status.is_client_error() || response.status.is_server_error()) {
        return None;
    }
    let status = format!("Request failed with status code {}", response.status.as_u16());
    Some(match message_of(response) {
        Some(message) => format!("{status}: {message}"),
        None => status,
    })
}

/// The same, with what it has to say beside its text: the status, and the body as far as it is not too long.
pub(crate) fn refused(response: &Response) -> Option<Failed> {
    const LONGEST_JSON: usize = 16 << 10;
    const LONGEST_TEXT: usize = 2_000;
    let message = refusal(response)?;
    let json = json_of(response).filter(|_| response.body.len() <= LONGEST_JSON);
    let body = json.unwrap_or_else(|| {
        let text = page::decode(&response.headers, &response.body);
        Value::from(text.chars().take(LONGEST_TEXT).collect::<String>())
    });
    let details = [("status".into(), u64::from(response.status.as_u16()).into()), ("body".into(), body)];
    Some(Failed::with(message, Some(Value::object(details.into()))))
}

/// The message in the body of a refusal, wherever services put it.
pub(crate) fn message_of(response: &Response) -> Option<String> {
    const LONGEST: usize = 500;
    let json = json_of(response)?;
    let found = ["message", "error_description", "error", "detail", "details"].iter().find_map(|name| {
        let member = json.get(name)?;
        let inner = || ["message", "error"].iter().find_map(|inner| member.get(inner)?.as_str());
        member.as_str().or_else(inner)
    })?;
    Some(found.chars().take(LONGEST).collect())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, body: &'static str) -> Response {
        let status = StatusCode::from_u16(status).unwrap();
        Response { status, headers: HeaderMap::new(), body: body.into(), url: "http://h/".parse().unwrap() }
    }

    #[test]
    fn a_refusal_says_what_the_provider_said() {
        for (body, message) in [
            (r#"{"error":{"message":"no credit"}}"#, "Request failed with status code 402: no credit"),
            (r#"{"detail":{"error":"bad key"}}"#, "Request failed with status code 402: bad key"),
            (r#"{"error":"loading"}"#, "Request failed with status code 402: loading"),
            ("<html>", "Request failed with status code 402"),
        ] {
            assert_eq!(refusal(&answer(402, body)).as_deref(), Some(message));
        }
        assert_eq!(refusal(&answer(200, r#"{"error":"none"}"#)), None);
    }

    #[test]
    fn the_body_of_a_refusal_is_kept_as_far_as_it_is_short() {
        let details = |body: &'static str| {
            let outcome = sre_engine::Outcome::from(refused(&answer(422, body)).unwrap()).output.unwrap();
            serde_json::Value::from(outcome.get("_error_details").unwrap())
        };
        let json = r#"{"error":"no","field":"q"}"#;
        let expected = serde_json::json!({"status": 422, "body": {"error": "no", "field": "q"}});
        assert_eq!(details(json), expected);
        assert_eq!(details("no JSON")["body"], "no JSON");
        let long: &'static str = Box::leak(format!("[{}]", "1,".repeat(20_000)).into_boxed_str());
        assert_eq!(details(long)["body"].as_str().unwrap().len(), 2_000);
        assert_eq!(refused(&answer(200, "")), None);
    }

    #[test]
    fn a_key_with_a_line_break_is_refused_without_being_shown() {
        let request = Request::new(http::Method::GET, "http://h/".parse().unwrap());
        let error = bearer(request, "top\r\nX-Evil: secret").unwrap_err();
        assert!(!error.message.contains("secret") && !error.message.contains("top"));
    }
}
