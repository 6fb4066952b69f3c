//! HTTP towards providers: connections, how long to wait before a repeat, and what a refusal says.

use std::time::Duration;

use bytes::BytesMut;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::Value;

use super::error::{InferenceError, Refusal};

/// A refusal is read up to this length.
const REFUSAL_BYTES: usize = 64 * 1024;

/// Connections, shared by all callers: they know no key. A key goes with its own request alone.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    /// For addresses of this machine, which no proxy reaches.
    local: Client,
}

impl Http {
    /// Connections that are opened within this time.
    pub fn new(connect_timeout: Duration) -> Result<Self, reqwest::Error> {
        let builder = || {
            Client::builder()
                // A redirect would carry the key to another host.
                .redirect(Policy::none())
                .connect_timeout(connect_timeout)
                .user_agent(concat!("sre/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Self { client: builder().build()?, local: builder().no_proxy().build()? })
    }

    /// The client for an address.
    pub fn client(&self, address: &url::Url) -> &Client {
        if is_local(address) { &self.local } else { &self.client }
    }
}

/// A header that logs do not show.
pub fn secret_header(text: &str) -> Result<HeaderValue, InferenceError> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| InferenceError::invalid("model", "its key has characters no header takes"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The wait before a repeat: doubles with each attempt, and differs between callers, so that they do not come
/// back together.
pub fn pause(first: Duration, attempt: u32) -> Duration {
    let full = first * 2u32.saturating_pow(attempt);
    full.mul_f64(rand::random_range(0.75..=1.0))
}

/// What a provider said instead of an answer.
pub async fn refusal(provider: &str, mut response: Response) -> InferenceError {
    let status = response.status();
    let headers = response.headers().clone();
    let mut body = BytesMut::new();
    // What cannot be read of a refusal is left out of its message.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > REFUSAL_BYTES {
            break;
        }
    }
    let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = parsed.get("error").unwrap_or(&parsed);
    let (message, mut code) = words(error);
    // AWS names the kind of an error in a header.
    if let Some(kind) = text_of(&headers, "x-amzn-errortype") {
        kind.split([':', '#']).next().unwrap_or_default().clone_into(&mut code);
    }
    let message = message.unwrap_or_else(|| match status.canonical_reason() {
        Some(reason) => reason.to_lowercase(),
        None => "no reason given".to_owned(),
    });
    InferenceError::Refused(Box::new(Refusal {
        provider: provider.to_owned(),
        status: status.as_u16(),
        message,
        code,
        retry_after: retry_after(&headers).or_else(|| retry_info(error)),
        request_id: request_id(&headers).unwrap_or_default().to_owned(),
    }))
}

/// Message and code of an error object, or of an error that is a plain text.
pub fn words(error: &Value) -> (Option<String>, String) {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text.chars().take(2000).collect::<String>()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let message = text(error.get("message")).or_else(|| text(Some(error)));
    // Google repeats the number of the status as its code, and has its word in `status`.
    let code = ["status", "code", "type"].into_iter().find_map(|name| text(error.get(name)));
    (message, code.unwrap_or_default())
}

/// What providers call the id of a request.
fn request_id(headers: &HeaderMap) -> Option<&str> {
    ["x-request-id", "request-id", "x-amzn-requestid"].into_iter().find_map(|name| text_of(headers, name))
}

/// When Google wants to be asked again: `details[].retryDelay`, seconds with an `s`.
fn retry_info(error: &Value) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    Duration::try_from_secs_f64(delay.strip_suffix('s')?.parse().ok()?).ok()
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Seconds or milliseconds; dates, which these services do not send, are read over.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name| text_of(headers, name)?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn is_local(address: &url::Url) -> bool {
    match address.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The innermost cause: the outer ones repeat the address.
pub fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
