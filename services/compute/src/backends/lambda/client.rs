//! Calls of the service: JSON over HTTP, signed with the credentials of the settings and no others.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::Method;
use serde_json::Value;
use sre_aws::Signer;
use url::Url;

use super::settings::Settings;
use crate::error::CodeError;

const SERVICE: &str = "lambda";
/// The largest answer that is read: what the service itself gives at most.
const MAX_ANSWER: usize = 6 << 20;
/// How much of an error's own words goes to the log.
const MAX_WORDS: usize = 300;

/// A client for one region.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    signer: Signer,
    /// Whether the account is an agent's own, who is told what its provider says.
    is_agents: bool,
}

/// Connections that follow no redirect and use no proxy.
pub(super) fn http(connect: Duration) -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(connect)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .context("HTTP client")
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub status: u16,
    /// What the function itself failed with, `Unhandled`.
    pub function_error: Option<String>,
    /// The body.
    pub json: Value,
    /// Whether it is about an agent's own account.
    is_agents: bool,
}

impl Client {
    /// A client; nothing is called yet.
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Self> {
        Self::over(http(settings.timeout())?, settings)
    }

    /// The same over connections that others use too.
    pub(super) fn over(http: reqwest::Client, settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            is_agents: false,
            http,
            endpoint: settings.endpoint()?,
            signer: Signer {
                service: SERVICE,
                region: settings.region.clone(),
                access_key_id: settings.aws_access_key_id.clone(),
                secret_access_key: settings.aws_secret_access_key.clone(),
                session_token: settings.aws_session_token.clone(),
            },
        })
    }

    /// The same for an account of an agent's own.
    pub(super) fn of_agent(self) -> Self {
        Self { is_agents: true, ..self }
    }

    /// One call. It is not repeated: a function may have run.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Answer, CodeError> {
        let url = self.endpoint.join(path).map_err(|error| CodeError::Failed(error.to_string()))?;
        let unavailable = |error: reqwest::Error| CodeError::Unavailable(error.without_url().to_string());
        let mut request = self.http.request(method.clone(), url.clone()).timeout(within);
        let headers = [("content-type", "application/json")];
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let signed = self.signer.sign(method.as_str(), &url, &headers, &body).await;
        for (name, value) in signed.map_err(|error| CodeError::Failed(format!("signing: {error}")))? {
            request = request.header(name, value);
        }
        let mut response = request.body(body).send().await.map_err(unavailable)?;
        let status = response.status().as_u16();
        let function_error = response.headers().get("x-amz-function-error");
        let function_error =
            function_error.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(CodeError::Limit(sre_sandbox::Limit::Result));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            function_error,
            json: serde_json::from_slice(&bytes).unwrap_or_default(),
            is_agents: self.is_agents,
        })
    }
}

impl Answer {
    /// Whether it was done.
    pub(super) fn is_done(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What went wrong. The service's words are for the log, unless the account is the agent's own.
    pub(super) fn failure(&self) -> CodeError {
        let text = |name: &str| self.json.get(name).and_then(Value::as_str).unwrap_or_default();
        let message = if text("Message").is_empty() { text("message") } else { text("Message") };
        let message: String = message.chars().take(MAX_WORDS).collect();
        let cause = format!("AWS Lambda answered {} {}: {message}", self.status, text("Type"));
        match self.status {
            429 | 500.. => CodeError::Unavailable(cause),
            _ if self.is_agents => CodeError::Account(cause),
            _ => CodeError::Failed(cause),
        }
    }
}
