//! A client of AWS Secrets Manager: its JSON protocol (1.1), signed with the credentials of the settings and no others.

mod operations;
pub mod settings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Context;
use rand::Rng;
use reqwest::redirect;
use serde::Serialize;
use serde_json::Value;
use sre_aws::Signer;
use url::Url;
use zeroize::Zeroizing;

pub use operations::{Content, Described, Listed, StoredVersion, number_of, unescape, versioned};
pub use settings::Settings;

use crate::vault::connectors::SecretStoreError;
use crate::vault::secret::SecretValue;

const SERVICE: &str = "secretsmanager";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// The largest answer that is read.
const MAX_ANSWER: usize = 16 << 20;
/// Tries of one call, where the service is busy or stumbles.
const TRIES: u32 = 4;
/// The wait before the second.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// How much of an error's own words goes to the log.
const MAX_WORDS: usize = 300;

/// What the service says about a call.
#[derive(Debug)]
pub enum AwsError {
    /// There is no such secret or version.
    NotFound,
    /// There is one already, or the version is taken.
    Exists,
    /// The secret is scheduled for deletion.
    Deleted,
    /// Anything else.
    Store(SecretStoreError),
}

impl From<AwsError> for SecretStoreError {
    fn from(error: AwsError) -> Self {
        match error {
            AwsError::Store(error) => error,
            AwsError::NotFound => Self::Unavailable("the secret went away meanwhile".into()),
            AwsError::Exists => Self::Busy("somebody else sets the secret".into()),
            AwsError::Deleted => Self::Busy("the secret is being deleted".into()),
        }
    }
}

/// A client for one region.
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    signer: Signer,
    recovery_days: u32,
}

impl Client {
    /// A client; nothing is called yet.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        settings.check()?;
        let http = reqwest::Client::builder()
            .timeout(settings.timeout())
            .connect_timeout(settings.timeout())
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .context("HTTP client")?;
        Ok(Self {
            http,
            endpoint: settings.endpoint()?,
            signer: Signer {
                service: SERVICE,
                region: settings.region.clone(),
                access_key_id: settings.aws_access_key_id.clone(),
                secret_access_key: settings.aws_secret_access_key.clone(),
                session_token: settings.aws_session_token.clone(),
            },
            recovery_days: settings.recovery_days,
        })
    }

    /// One operation. Repeated where the service is busy or stumbles: every write names its version, so that a
    /// repetition is the same write.
    async fn call(&self, operation: &str, request: &impl Serialize) -> Result<Value, AwsError> {
        let body = serde_json::to_vec(request).map(Zeroizing::new);
        let body = body.map_err(|error| AwsError::Store(SecretStoreError::Damaged(error.to_string())))?;
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            match self.once(operation, &body).await {
                Err(AwsError::Store(SecretStoreError::Busy(_) | SecretStoreError::Unavailable(_))) => {
                    let jitter = rand::rng().random_range(0.5..1.5);
                    tokio::time::sleep(wait.mul_f64(jitter)).await;
                    wait *= 2;
                }
                other => return other,
            }
        }
        self.once(operation, &body).await
    }

    async fn once(&self, operation: &str, body: &Zeroizing<Vec<u8>>) -> Result<Value, AwsError> {
        let unavailable = |error: reqwest::Error| {
            AwsError::Store(SecretStoreError::Unavailable(error.without_url().to_string()))
        };
        let target = format!("{SERVICE}.{operation}");
        let headers = [("content-type", CONTENT_TYPE), ("x-amz-target", target.as_str())];
        let mut request = self.http.post(self.endpoint.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let signed = self.signer.sign("POST", &self.endpoint, &headers, body).await;
        let refused =
            |error: anyhow::Error| AwsError::Store(SecretStoreError::Refused(format!("signing: {error}")));
        for (name, value) in signed.map_err(refused)? {
            request = request.header(name, value);
        }
        // The bytes are wiped when they were sent.
        let body = SecretValue::from(body.clone()).into_bytes();
        let mut response = request.body(body).send().await.map_err(unavailable)?;
        let status = response.status().as_u16();
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                let text = format!("the answer is larger than {MAX_ANSWER} bytes");
                return Err(AwsError::Store(SecretStoreError::Damaged(text)));
            }
            bytes.extend_from_slice(&chunk);
        }
        let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if (200..300).contains(&status) {
            return Ok(json);
        }
        Err(failure(status, &json))
    }
}

/// services.md D14: each error is what it is.
fn failure(status: u16, json: &Value) -> AwsError {
    let kind = json.get("__type").and_then(Value::as_str).unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default();
    let message = json.get("message").or_else(|| json.get("Message")).and_then(Value::as_str);
    let message: String = message.unwrap_or_default().chars().take(MAX_WORDS).collect();
    let text = format!("the service answered {status} {kind}: {message}");
    let is_deletion = message.contains("deletion") || message.contains("deleted");
    AwsError::Store(match kind {
        "ResourceNotFoundException" | "SecretNotFoundException" => return AwsError::NotFound,
        "ResourceExistsException" => return AwsError::Exists,
        "InvalidRequestException" if is_deletion => return AwsError::Deleted,
        "ThrottlingException" | "TooManyRequestsException" | "RequestLimitExceeded" => {
            SecretStoreError::Busy(text)
        }
        "LimitExceededException" => SecretStoreError::Full("the account has too many secrets".into()),
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "OptInRequired"
        | "DecryptionFailure"
        | "EncryptionFailure" => SecretStoreError::Refused(text),
        _ if status == 429 => SecretStoreError::Busy(text),
        _ if status == 401 || status == 403 => SecretStoreError::Refused(text),
        _ if !(400..500).contains(&status) => SecretStoreError::Unavailable(text),
        _ => SecretStoreError::Damaged(text),
    })
}
