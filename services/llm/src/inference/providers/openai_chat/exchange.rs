//! HTTP: connections, repeats, times, limits, and what a refusal says.

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::Instant;

use super::broken;
use crate::inference::error::{InferenceError, Refusal};
use crate::inference::providers::Call;
use crate::inference::settings::InferenceSettings;

/// A refusal is read up to this length.
const REFUSAL_BYTES: usize = 64 * 1024;

/// The client and its limits.
#[derive(Debug, Clone)]
pub struct Exchange {
    client: Client,
    /// For addresses of this machine, which no proxy reaches.
    local: Client,
    settings: InferenceSettings,
}

impl Exchange {
    pub fn new(settings: InferenceSettings) -> Result<Self, reqwest::Error> {
        let builder = || {
            Client::builder()
                // A redirect would carry the key to another host.
                .redirect(Policy::none())
                .connect_timeout(settings.connect_timeout)
                .user_agent(concat!("sre/", env!("CARGO_PKG_VERSION")))
        };
        let client = builder().build()?;
        let local = builder().no_proxy().build()?;
        Ok(Self { client, local, settings })
    }

    /// How long to wait for the first token of a call.
    pub fn first_token_timeout(&self, call: &Call) -> Duration {
        let asked = call.request.first_token_timeout.and_then(|asked| Duration::try_from(asked).ok());
        let asked = asked.filter(|asked| !asked.is_zero()).unwrap_or(self.settings.first_token_timeout);
        asked.min(self.settings.first_token_timeout_max)
    }

    /// Runs a step that must be over before the first token is due.
    pub async fn in_time<T>(
        &self,
        call: &Call,
        step: impl Future<Output = Result<T, InferenceError>>,
    ) -> Result<T, InferenceError> {
        let wait = self.first_token_timeout(call);
        tokio::time::timeout(wait, step).await.unwrap_or_else(|_| Err(silent(call, wait)))
    }

    /// Sends a request until the provider takes it, a few times at most.
    pub async fn send(&self, call: &Call, body: &Value) -> Result<Response, InferenceError> {
        let body = Bytes::from(body.to_string());
        let mut attempt = 0;
        loop {
            let error = match self.send_once(call, body.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let wait = match &error {
                InferenceError::Refused(refusal) if refusal.is_retriable() => refusal.retry_after,
                InferenceError::Unreachable { .. } => None,
                _ => return Err(error),
            };
            let wait = wait.unwrap_or_else(|| self.pause(attempt));
            if attempt >= self.settings.repeats || wait > self.settings.repeat_wait_max {
                return Err(error);
            }
            attempt += 1;
            tracing::debug!(%error, attempt, "a provider is asked again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Doubles with each attempt, and differs between callers, so that they do not come back together.
    fn pause(&self, attempt: u32) -> Duration {
        let full = self.settings.repeat_wait * 2u32.saturating_pow(attempt);
        full.mul_f64(rand::random_range(0.75..=1.0))
    }

    async fn send_once(&self, call: &Call, body: Bytes) -> Result<Response, InferenceError> {
        let Some(base) = &call.base_url else {
            return Err(InferenceError::invalid("model", "its provider has no address"));
        };
        let address = format!("{}/chat/completions", base.as_str().trim_end_matches('/'));
        let client = if is_local(base) { &self.local } else { &self.client };
        let mut request = client.post(address).header(CONTENT_TYPE, "application/json").body(body);
        if let Some(key) = &call.key {
            let bearer = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()));
            let mut bearer = bearer
                .map_err(|_| InferenceError::invalid("model", "its key has characters no header takes"))?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        if !call.request.idempotency_key.is_empty() {
            request = request.header("idempotency-key", &call.request.idempotency_key);
        }
        let response = request.send().await.map_err(|error| unreachable(call, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(call, response).await)
    }

    /// The whole body of an answer, within the limit.
    pub async fn read_whole(&self, call: &Call, mut response: Response) -> Result<Bytes, InferenceError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| cut_off(call, &error))? {
            body.extend_from_slice(&chunk);
            self.check_body(call, body.len())?;
        }
        Ok(body.freeze())
    }

    /// The next piece of a stream's body; none at its end.
    pub async fn next_chunk(
        &self,
        call: &Call,
        response: &mut Response,
        first_by: Option<Instant>,
    ) -> Result<Option<Bytes>, InferenceError> {
        let (until, waited) = match first_by {
            Some(until) => (until, self.first_token_timeout(call)),
            None => (Instant::now() + self.settings.silence_timeout, self.settings.silence_timeout),
        };
        match tokio::time::timeout_at(until, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| cut_off(call, &error)),
            Err(_) => Err(silent(call, waited)),
        }
    }

    pub fn check_body(&self, call: &Call, received_bytes: usize) -> Result<(), InferenceError> {
        let limit = self.settings.body_limit_bytes;
        if received_bytes > limit {
            return Err(broken(call, format!("the answer is larger than {limit} bytes")));
        }
        Ok(())
    }

    pub fn check_size(&self, call: &Call, size_bytes: usize) -> Result<(), InferenceError> {
        let limit = self.settings.text_limit_bytes;
        if size_bytes > limit {
            return Err(broken(call, format!("the answer is longer than {limit} bytes: lower max_tokens")));
        }
        Ok(())
    }

    async fn refusal(&self, call: &Call, mut response: Response) -> InferenceError {
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
        let (message, code) = words(parsed.get("error").unwrap_or(&parsed));
        let message = message.unwrap_or_else(|| match status.canonical_reason() {
            Some(reason) => reason.to_lowercase(),
            None => "no reason given".to_owned(),
        });
        InferenceError::Refused(Box::new(Refusal {
            provider: call.model.provider.clone(),
            status: status.as_u16(),
            message,
            code,
            retry_after: retry_after(&headers),
            request_id: text_of(&headers, "x-request-id").unwrap_or_default().to_owned(),
        }))
    }
}

/// An error object where an answer was due: in a stream, or under a status of success.
pub fn refusal_in_body(call: &Call, error: &Value) -> InferenceError {
    let (message, code) = words(error);
    let status = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    InferenceError::Refused(Box::new(Refusal {
        provider: call.model.provider.clone(),
        status: status.filter(|status| (400..600).contains(status)).unwrap_or(500),
        message: message.unwrap_or_else(|| "no reason given".to_owned()),
        code,
        ..Refusal::default()
    }))
}

/// Message and code of an error object, or of an error that is a plain text.
fn words(error: &Value) -> (Option<String>, String) {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text.chars().take(2000).collect::<String>()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let message = text(error.get("message")).or_else(|| text(Some(error)));
    (message, text(error.get("code")).or_else(|| text(error.get("type"))).unwrap_or_default())
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

fn silent(call: &Call, waited: Duration) -> InferenceError {
    InferenceError::Silent { provider: call.model.provider.clone(), waited }
}

fn unreachable(call: &Call, error: &reqwest::Error) -> InferenceError {
    InferenceError::Unreachable { provider: call.model.provider.clone(), message: causes(error) }
}

fn cut_off(call: &Call, error: &reqwest::Error) -> InferenceError {
    broken(call, causes(error))
}

/// The innermost cause: the outer ones repeat the address.
fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
