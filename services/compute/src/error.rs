//! What can go wrong here, as kinds, and the one table from them to statuses. Internal causes are logged under an
//! id; the client gets the id.

use sre_proto::error::{self, Reason, with_metadata};
use sre_sandbox::limits::{COMPONENT_BYTES, Limit, Limits, SOURCE_CHARS};
use sre_sandbox::protocol::{Problem, Refusal};
use sre_service::connectors::NoInstance;
use sre_store::{ErrorKind, StoreError};
use tonic::{Code, Status};

use crate::workers::process::Broken;

/// An error of this service's domain.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// Code does not run in this deployment.
    #[error("code does not run here: set compute.enabled to true")]
    Disabled,
    /// WebAssembly is not part of this build.
    #[error("WebAssembly components are not part of this build: use one with the feature `wasm`")]
    NoComponents,
    /// The place that was named runs scripts alone.
    #[error("connector {0:?} runs no WebAssembly components: deploy it to the sandbox")]
    NotThere(String),
    /// The source is not what the sandbox runs.
    #[error(transparent)]
    Source(Problem),
    /// A limit was reached.
    #[error("{}", limit_text(*.0))]
    Limit(Limit),
    /// Code tried what the sandbox does not allow.
    #[error("the code tried what the sandbox does not allow, and was ended")]
    Violation,
    /// The kernel refuses a part of the sandbox.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such thing. Told only to callers who may know.
    #[error("{0} is not there")]
    NotFound(String),
    /// As many as there may be.
    #[error("{what} has {most} {of}: delete some first")]
    TooMany {
        /// Of what.
        what: String,
        /// How many.
        most: u32,
        /// Of which.
        of: &'static str,
    },
    /// The access list changed after the decision: decide again.
    #[error("the access list was changed meanwhile: try again")]
    AclChanged,
    /// Another version is there.
    #[error("the version given is not the current one: read it again and repeat the change over that")]
    OtherVersion,
    /// The caller went away.
    #[error("the caller does not listen any more")]
    Gone,
    /// A backend cannot be reached, or is busy.
    #[error("{0}")]
    Unavailable(String),
    /// An account of an agent's own cannot be used as it is given.
    #[error("{0}")]
    Account(String),
    /// AWS is not part of this build.
    #[cfg(not(feature = "aws"))]
    #[error("accounts at AWS are not part of this build: use one with the feature `sre-compute/aws`")]
    NoAccounts,
    /// The configuration has no such instance, or it is not open.
    #[error(transparent)]
    NoInstance(#[from] NoInstance),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something failed inside.
    #[error("{0}")]
    Failed(String),
}

impl CodeError {
    /// What is wrong with a source. Where looking at it took too much, that is a limit like any other.
    pub fn of_source(problem: Problem) -> Self {
        match problem {
            Problem::Limit(limit) => Self::Limit(limit),
            problem => Self::Source(problem),
        }
    }

    /// Why a process gave no answer.
    pub fn of_process(broken: Broken) -> Self {
        match broken {
            Broken::Limit(limit) => Self::Limit(limit),
            Broken::Violation => Self::Violation,
            Broken::Refused(refusal) => Self::Refused(refusal),
            Broken::Gone => Self::Gone,
            Broken::Failed(cause) => Self::Failed(cause),
        }
    }
}

fn limit_text(limit: Limit) -> String {
    let max = Limits::MAX;
    let (what, way) = match limit {
        Limit::Wall => {
            ("its time", format!("ask for more with limits.wall, {} s at most", max.wall().as_secs()))
        }
        Limit::Cpu => (
            "its time of the processor",
            format!("ask for more with limits.cpu, {} s at most", max.cpu().as_secs()),
        ),
        Limit::Heap => (
            "its memory",
            format!("ask for more with limits.heap_bytes, {} MiB at most", max.heap_bytes >> 20),
        ),
        Limit::Stack => (
            "its depth of calls",
            format!("ask for more with limits.stack_bytes, {} KiB at most", max.stack_bytes >> 10),
        ),
        Limit::Source => (
            "the length of a source",
            format!(
                "{SOURCE_CHARS} characters of a script and {COMPONENT_BYTES} bytes of a component are the most"
            ),
        ),
        Limit::Arguments => ("the size of arguments", "hand over less, or the name of a file".to_owned()),
        Limit::Logs => ("what it may log", format!("{} KiB are the most", max.log_bytes >> 10)),
        Limit::Result => ("the size of a result", format!("{} MiB is the most", max.result_bytes >> 20)),
        Limit::Concurrency => return "too many calls of the team run and wait: try again later".to_owned(),
        Limit::Http => ("its requests to the network", "make fewer in one call".to_owned()),
    };
    format!("the code exceeds {what} (limit {limit}): {way}")
}

impl From<CodeError> for Status {
    fn from(failed: CodeError) -> Self {
        let message = failed.to_string();
        let (code, reason) = match failed {
            CodeError::Disabled => (Code::FailedPrecondition, Reason::FeatureDisabled),
            CodeError::NoComponents => {
                let feature = [("feature", "wasm".to_owned())];
                return with_metadata(Code::Unimplemented, Reason::FeatureDisabled, message, feature);
            }
            CodeError::NotThere(_) => (Code::FailedPrecondition, Reason::CodeInvalid),
            CodeError::Source(_) => (Code::InvalidArgument, Reason::CodeInvalid),
            CodeError::Limit(limit) => {
                let limit = [("limit", limit.name().to_owned())];
                return with_metadata(Code::ResourceExhausted, Reason::LimitExceeded, message, limit);
            }
            CodeError::Violation => (Code::PermissionDenied, Reason::SandboxViolation),
            CodeError::Refused(refusal) => {
                tracing::error!(%refusal, "the sandbox cannot start");
                let message = "the sandbox cannot start: the operator finds why in the log";
                return error::status(Code::Unavailable, Reason::BackendUnavailable, message);
            }
            CodeError::NotFound(_) => (Code::NotFound, Reason::NotFound),
            CodeError::TooMany { .. } => (Code::ResourceExhausted, Reason::QuotaExceeded),
            CodeError::AclChanged | CodeError::OtherVersion => (Code::Aborted, Reason::VersionConflict),
            CodeError::Gone => (Code::Cancelled, Reason::Cancelled),
            CodeError::Unavailable(cause) => {
                // It may name hosts: it is for the log.
                tracing::warn!(cause, "the backend of code does not answer");
                let message = "where the code runs cannot be reached: try again";
                return error::status(Code::Unavailable, Reason::BackendUnavailable, message);
            }
            CodeError::Account(_) => (Code::FailedPrecondition, Reason::ProviderFailed),
            #[cfg(not(feature = "aws"))]
            CodeError::NoAccounts => {
                let feature = [("feature", "aws".to_owned())];
                return with_metadata(Code::Unimplemented, Reason::FeatureDisabled, message, feature);
            }
            CodeError::NoInstance(error) => return error.into(),
            CodeError::Store(error) => return store(&error),
            CodeError::Failed(cause) => return internal(&cause),
        };
        error::status(code, reason, message)
    }
}

fn store(failed: &StoreError) -> Status {
    let message = failed.to_string();
    match failed.kind() {
        ErrorKind::Overloaded | ErrorKind::Busy => {
            error::status(Code::ResourceExhausted, Reason::Overloaded, message)
        }
        ErrorKind::Unavailable => error::status(Code::Unavailable, Reason::BackendUnavailable, message),
        ErrorKind::Closed => {
            let message = "the service is stopping: try again";
            error::status(Code::Unavailable, Reason::BackendUnavailable, message)
        }
        _ => internal(&message),
    }
}

fn internal(cause: &str) -> Status {
    let error_id = sre_proto::ids::new_uuid().to_string();
    tracing::error!(error_id, cause, "internal error");
    let message = format!("internal error {error_id}: look for this id in the log");
    with_metadata(Code::Internal, Reason::Internal, message, [("error_id", error_id)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_names_itself_and_a_way_out() {
        for limit in Limit::ALL {
            let status = Status::from(CodeError::Limit(limit));
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert_eq!(error::reason(&status), Some(Reason::LimitExceeded));
            assert!(status.message().contains(": "), "{}", status.message());
            let details = tonic_types::StatusExt::get_details_error_info(&status).unwrap();
            assert_eq!(details.metadata["limit"], limit.name());
        }
    }
}
