//! One request for vectors: its repeats, times and limits.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Call;
use crate::inference::error::InferenceError;
use crate::inference::http::{self, Http};
use crate::inference::reliability::Retries;
use crate::inference::settings::InferenceSettings;

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Connections and limits.
#[derive(Debug, Clone)]
pub struct Requests {
    http: Http,
    retries: Retries,
    settings: InferenceSettings,
}

impl Requests {
    pub fn new(settings: &InferenceSettings) -> Result<Self, reqwest::Error> {
        Ok(Self { http: Http::of(settings)?, retries: Retries::new(settings), settings: settings.clone() })
    }

    /// Posts to a path below the call's address until the provider takes it, a few times at most.
    pub async fn post<A: DeserializeOwned>(
        &self,
        call: &Call,
        path: &str,
        key: Option<(HeaderName, HeaderValue)>,
        body: &Value,
    ) -> Result<A, InferenceError> {
        let body = Bytes::from(body.to_string());
        let once = || async {
            let once = self.once(call, path, key.clone(), body.clone());
            tokio::time::timeout(ANSWER, once).await.unwrap_or_else(|_| {
                Err(InferenceError::Silent { provider: call.model.provider.clone(), waited: ANSWER })
            })
        };
        let answer = self.retries.repeat(&call.model.provider, once).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| broken(call, format!("the answer holds no vectors: {error}")))
    }

    async fn once(
        &self,
        call: &Call,
        path: &str,
        key: Option<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<Bytes, InferenceError> {
        let Some(base) = &call.base_url else {
            return Err(InferenceError::invalid("model", "its provider has no address"));
        };
        let address = format!("{}/{path}", base.as_str().trim_end_matches('/'));
        let mut request = self
            .http
            .client_of(&call.model.origin, base)?
            .post(address)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some((name, value)) = key {
            request = request.header(name, value);
        }
        let provider = &call.model.provider;
        let mut response = request.send().await.map_err(|error| InferenceError::Unreachable {
            provider: provider.clone(),
            message: http::causes(&error),
        })?;
        if !response.status().is_success() {
            return Err(http::refusal(provider, response).await);
        }
        let mut whole = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(call, http::causes(&error)))? {
            whole.extend_from_slice(&chunk);
            let limit = self.settings.body_limit_bytes;
            if whole.len() > limit {
                return Err(broken(call, format!("the answer is larger than {limit} bytes")));
            }
        }
        Ok(whole.freeze())
    }
}

pub fn broken(call: &Call, message: impl Into<String>) -> InferenceError {
    InferenceError::Broken { provider: call.model.provider.clone(), message: message.into() }
}
