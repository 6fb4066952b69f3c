//! What can go wrong in a call of a model, and the one table to gRPC.

use std::time::Duration;

use sre_proto::error::{Reason, invalid_argument, not_implemented, with_metadata};
use tonic::{Code, Status};

use super::reliability::Failure;

/// An error of a call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InferenceError {
    /// The model is not in the catalogue.
    #[error("model {name:?} is not in the catalogue{}", nearest_words(nearest))]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// Names that resemble it.
        nearest: Vec<String>,
    },
    /// An argument is wrong.
    #[error("{field}: {message}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// No provider of this name is built in.
    #[error("provider {0:?} is not built yet: use a model of another")]
    UnknownProvider(String),
    /// No key was found.
    #[error("no key for {provider}: set the secret `{key}` in the team's vault{}", env_words(*environment))]
    KeyMissing {
        /// The provider.
        provider: String,
        /// The vault key.
        key: String,
        /// The variable that a deployment may set.
        environment: Option<&'static str>,
    },
    /// The provider answered with an error.
    #[error("{} {}", .0.status, .0.message)]
    Refused(Box<Refusal>),
    /// The provider could not be reached.
    #[error("{provider} cannot be reached: {message}")]
    Unreachable {
        /// The provider.
        provider: String,
        /// Why, without the address's credentials.
        message: String,
    },
    /// The provider was silent for too long.
    #[error("{provider} sent nothing for {} s: try again, or raise first_token_timeout", waited.as_secs())]
    Silent {
        /// The provider.
        provider: String,
        /// How long.
        waited: Duration,
    },
    /// The answer is not what the provider's contract says.
    #[error("{provider} broke off or answered something else: {message}")]
    Broken {
        /// The provider.
        provider: String,
        /// What.
        message: String,
    },
    /// The address is none that a team may reach.
    #[error("{address} is no public address: ask the operator to list it in [egress] allow")]
    Egress {
        /// Host and port.
        address: String,
    },
    /// Every place of the model is left alone, or full, for a while.
    #[error("{provider} does not take calls of {model:?} at the moment: try again in {} ms", after.as_millis())]
    Resting {
        /// The provider.
        provider: String,
        /// The entry.
        model: String,
        /// For how long.
        after: Duration,
    },
    /// A call to another service failed.
    #[error("{}", .0.message())]
    Service(Status),
}

/// What a provider said when it refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The provider.
    pub provider: String,
    /// Its HTTP status.
    pub status: u16,
    /// Its words.
    pub message: String,
    /// Its code or type, for example `rate_limit_exceeded`.
    pub code: String,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Its id of the request.
    pub request_id: String,
}

impl Refusal {
    fn grpc_code(&self) -> Code {
        match self.status {
            400 | 413 | 422 => Code::InvalidArgument,
            // The deployment's key or model name is wrong, not the caller's rights.
            401..=404 => Code::FailedPrecondition,
            408 | 504 => Code::DeadlineExceeded,
            429 => Code::ResourceExhausted,
            500..=599 => Code::Unavailable,
            _ => Code::Internal,
        }
    }
}

impl InferenceError {
    /// What went wrong, in one word: for labels and spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } => "unknown_model",
            Self::Invalid { .. } => "invalid",
            Self::UnknownProvider(_) => "unknown_provider",
            Self::KeyMissing { .. } => "key_missing",
            Self::Refused(_) => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::Silent { .. } => "silent",
            Self::Broken { .. } => "broken",
            Self::Egress { .. } => "egress",
            Self::Resting { .. } => "resting",
            Self::Service(_) => "service",
        }
    }

    /// When the provider wants to be asked again, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Resting { after, .. } => Some(*after),
            _ => None,
        }
    }

    /// A wrong argument.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into() }
    }
}

impl From<InferenceError> for Status {
    fn from(error: InferenceError) -> Self {
        let words = error.to_string();
        let failure = Failure::of(&error).as_str().to_owned();
        let failed = |code, provider: &str| {
            let metadata = [("provider", provider.to_owned()), ("failure", failure.clone())];
            with_metadata(code, Reason::ProviderFailed, words.clone(), metadata)
        };
        match &error {
            InferenceError::UnknownModel { name, .. } => {
                with_metadata(Code::NotFound, Reason::ModelNotFound, words, [("model", name.clone())])
            }
            InferenceError::Invalid { field, message } => invalid_argument(field, message),
            InferenceError::UnknownProvider(provider) => not_implemented(&format!("provider {provider}")),
            InferenceError::KeyMissing { provider, key, .. } => with_metadata(
                Code::FailedPrecondition,
                Reason::ProviderKeyMissing,
                words,
                [("key", key.clone()), ("provider", provider.clone()), ("failure", failure)],
            ),
            InferenceError::Refused(refusal) => with_metadata(
                refusal.grpc_code(),
                Reason::ProviderFailed,
                words,
                [
                    ("provider", refusal.provider.clone()),
                    ("status", refusal.status.to_string()),
                    ("provider_message", refusal.message.clone()),
                    ("code", refusal.code.clone()),
                    ("request_id", refusal.request_id.clone()),
                    ("retry_after_ms", retry_after_ms(refusal.retry_after)),
                    ("failure", failure),
                ],
            ),
            InferenceError::Unreachable { provider, .. } => failed(Code::Unavailable, provider),
            InferenceError::Silent { provider, .. } => failed(Code::DeadlineExceeded, provider),
            InferenceError::Broken { provider, .. } => failed(Code::Unavailable, provider),
            InferenceError::Egress { address } => with_metadata(
                Code::PermissionDenied,
                Reason::EgressDenied,
                words,
                [("address", address.clone())],
            ),
            InferenceError::Resting { provider, after, .. } => with_metadata(
                Code::Unavailable,
                Reason::ProviderFailed,
                words,
                [
                    ("provider", provider.clone()),
                    ("failure", failure),
                    ("retry_after_ms", retry_after_ms(Some(*after))),
                ],
            ),
            InferenceError::Service(status) => status.clone(),
        }
    }
}

fn retry_after_ms(retry_after: Option<Duration>) -> String {
    retry_after.map(|wait| wait.as_millis().to_string()).unwrap_or_default()
}

fn nearest_words(nearest: &[String]) -> String {
    match nearest {
        [] => ": add it to a model file".to_owned(),
        names => format!(": did you mean {}?", names.join(", ")),
    }
}

fn env_words(environment: Option<&'static str>) -> String {
    environment.map(|name| format!(", or {name} for the deployment")).unwrap_or_default()
}
