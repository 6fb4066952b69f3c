//! What the HTTP door answers.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use sre_proto::gateway::v1::RunSkillResponse;
use tonic_types::StatusExt as _;

/// Browsers take the answer for what it says it is.
pub const NOSNIFF: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));

/// A request that was not run.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// Refuses with a status and what to do.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    /// Says when to try again, where the status does.
    #[must_use]
    pub fn retry_after(mut self, status: &tonic::Status) -> Self {
        self.retry_after = sre_proto::error::retry_after(status);
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, json!({ "error": self.message }).to_string().into());
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: HTTP knows no smaller ones.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

/// The answer of a run: a JSON text where it is JSON, a bare string as text.
pub fn of(response: RunSkillResponse) -> Result<Response, Refusal> {
    let status = u16::try_from(response.http_status).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.unwrap_or(StatusCode::OK);
    Ok(match serde_json::from_slice::<String>(&response.legacy_json) {
        Ok(text) => {
            (status, [NOSNIFF, (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], text)
                .into_response()
        }
        Err(_) => json_response(status, response.legacy_json),
    })
}

/// The answer of a run that the engine refused with the reference's answer beside the reason.
pub fn of_status(status: &tonic::Status) -> Result<Response, ()> {
    let info = status.get_details_error_info().ok_or(())?;
    let body = info.metadata.get("legacy_json").ok_or(())?.clone();
    let code =
        info.metadata.get("http_status").and_then(|code| code.parse().ok()).unwrap_or(StatusCode::NOT_FOUND);
    Ok(json_response(code, body.into()))
}

fn json_response(status: StatusCode, body: Bytes) -> Response {
    (status, [NOSNIFF, (CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
