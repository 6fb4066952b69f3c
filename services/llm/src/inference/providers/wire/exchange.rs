//! One exchange: its repeats, times and limits.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use sre_service::telemetry::spans;
use tokio::time::Instant;

use super::WireRequest;
use crate::inference::error::{InferenceError, Refusal};
use crate::inference::http::{self, Http};
use crate::inference::providers::Call;
use crate::inference::settings::InferenceSettings;

/// The client and its limits. Each open stream has a clone.
#[derive(Debug, Clone)]
pub struct Exchange {
    http: Http,
    settings: Arc<InferenceSettings>,
}

impl Exchange {
    pub fn new(settings: InferenceSettings) -> Result<Self, reqwest::Error> {
        let http = Http::of(&settings)?;
        Ok(Self { http, settings: Arc::new(settings) })
    }

    /// How long to wait for the first token of a call.
    pub fn first_token_timeout(&self, call: &Call) -> Duration {
        let asked = call.request.first_token_timeout.and_then(|asked| Duration::try_from(asked).ok());
        let asked = asked.filter(|asked| !asked.is_zero()).unwrap_or(self.settings.first_token_timeout);
        asked.min(self.settings.first_token_timeout_max)
    }

    /// How long to wait between two pieces of a call's answer.
    pub fn idle_timeout(&self, call: &Call) -> Duration {
        let asked = call.request.idle_timeout.and_then(|asked| Duration::try_from(asked).ok());
        let asked = asked.filter(|asked| !asked.is_zero()).unwrap_or(self.settings.silence_timeout);
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

    /// Sends a request, once: whether it is sent again is decided where all attempts are seen.
    pub async fn send(&self, call: &Call, request: WireRequest) -> Result<Response, InferenceError> {
        let client = self.http.client_of(&call.model.origin, &request.url)?;
        let mut sent = client
            .post(request.url)
            .header(CONTENT_TYPE, "application/json")
            .headers(request.headers)
            .body(request.body);
        if !call.request.idempotency_key.is_empty() {
            sent = sent.header("idempotency-key", &call.request.idempotency_key);
        }
        if let Some(parent) = spans::outgoing_header() {
            sent = sent.header("traceparent", parent);
        }
        let response = sent.send().await.map_err(|error| unreachable(call, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(http::refusal(&call.model.provider, response).await)
    }

    /// The client for exchanges beside the call itself: a cloud's token, files of a provider.
    pub fn http(&self) -> &Http {
        &self.http
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
            None => (Instant::now() + self.idle_timeout(call), self.idle_timeout(call)),
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
}

/// An error object where an answer was due: in a stream, or under a status of success.
pub fn refusal_in_body(call: &Call, error: &Value) -> InferenceError {
    let (message, code) = http::words(error);
    let status = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    InferenceError::Refused(Box::new(Refusal {
        provider: call.model.provider.clone(),
        status: status.filter(|status| (400..600).contains(status)).unwrap_or(500),
        message: message.unwrap_or_else(|| "no reason given".to_owned()),
        code,
        ..Refusal::default()
    }))
}

fn silent(call: &Call, waited: Duration) -> InferenceError {
    InferenceError::Silent { provider: call.model.provider.clone(), waited }
}

fn unreachable(call: &Call, error: &reqwest::Error) -> InferenceError {
    InferenceError::Unreachable { provider: call.model.provider.clone(), message: http::causes(error) }
}

fn cut_off(call: &Call, error: &reqwest::Error) -> InferenceError {
    broken(call, http::causes(error))
}

/// An answer that is not what the provider's contract says.
pub fn broken(call: &Call, message: impl Into<String>) -> InferenceError {
    InferenceError::Broken { provider: call.model.provider.clone(), message: message.into() }
}
