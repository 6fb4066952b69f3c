//! The one table from this service's errors to statuses. Internal causes are logged under an id; the client
//! gets the id.

use std::collections::HashMap;

use sre_engine::issue::Issue;
use sre_proto::error::{self, DOMAIN, Reason, with_metadata};
use sre_store::{ErrorKind, StoreError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::registration::RegistrationError;
use crate::error::AgentError;

/// Violations that a status names; the others are counted in its message.
const MAX_VIOLATIONS: usize = 50;

impl From<AgentError> for Status {
    fn from(failed: AgentError) -> Self {
        let message = failed.to_string();
        let (code, reason) = match failed {
            AgentError::NotFound(_) => (Code::NotFound, Reason::NotFound),
            AgentError::AclChanged | AgentError::OtherVersion(_) => (Code::Aborted, Reason::VersionConflict),
            AgentError::Exists(_) | AgentError::ComponentExists(_) | AgentError::RequestReused(_) => {
                (Code::AlreadyExists, Reason::AlreadyExists)
            }
            AgentError::Invalid { field, message } => return error::invalid_argument(field, message),
            AgentError::Document(issues) => return document(message, &issues),
            AgentError::TooLarge { .. } => (Code::ResourceExhausted, Reason::TooLarge),
            AgentError::Damaged { .. } => return internal(&message),
            AgentError::Store(error) => return store(&error),
        };
        error::status(code, reason, message)
    }
}

impl From<RegistrationError> for Status {
    fn from(failed: RegistrationError) -> Self {
        match failed {
            RegistrationError::Agent(error) => error.into(),
            // Account's own words: it is unavailable, or the team does not exist.
            RegistrationError::Account(status) => status,
        }
    }
}

/// A wrong document: each violation names component and field.
fn document(message: String, issues: &[Issue]) -> Status {
    let mut details =
        ErrorDetails::with_error_info(error::name(Reason::InvalidAgent), DOMAIN, HashMap::new());
    let errors = issues.iter().filter(|issue| issue.is_error());
    for issue in errors.take(MAX_VIOLATIONS) {
        let field = [issue.component.as_deref(), issue.field.as_deref()];
        let field = field.into_iter().flatten().collect::<Vec<_>>().join(": ");
        let description = match &issue.hint {
            Some(hint) => format!("{} ({hint})", issue.message),
            None => issue.message.clone(),
        };
        details.add_bad_request_violation(field, description);
    }
    let first = issues.iter().find(|issue| issue.is_error()).map(ToString::to_string).unwrap_or_default();
    Status::with_error_details(Code::InvalidArgument, format!("{message}, first {first}"), details)
}

fn store(failed: &StoreError) -> Status {
    match failed.kind() {
        ErrorKind::Overloaded | ErrorKind::Busy => {
            error::status(Code::ResourceExhausted, Reason::Overloaded, failed.to_string())
        }
        ErrorKind::Closed => {
            let message = "the service is stopping: try again";
            error::status(Code::Unavailable, Reason::BackendUnavailable, message)
        }
        _ => internal(&failed.to_string()),
    }
}

fn internal(cause: &str) -> Status {
    let error_id = sre_proto::ids::new_uuid().to_string();
    tracing::error!(error_id, cause, "internal error");
    let message = format!("internal error {error_id}: look for this id in the log");
    with_metadata(Code::Internal, Reason::Internal, message, [("error_id", error_id)])
}
