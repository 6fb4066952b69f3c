//! Errors on the wire: a gRPC status with `google.rpc.ErrorInfo`, whose reason is stable.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use crate::types::v1::Reason;

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "sre";

/// Builds a status. The one place where a `Status` with details is made.
pub fn status(code: Code, reason: Reason, message: impl Into<String>) -> Status {
    with_metadata(code, reason, message, [])
}

/// Builds a status whose `ErrorInfo` carries metadata.
pub fn with_metadata<const N: usize>(
    code: Code,
    reason: Reason,
    message: impl Into<String>,
    metadata: [(&str, String); N],
) -> Status {
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(name(reason), DOMAIN, metadata))
}

/// Builds a refusal that ends by itself: `RetryInfo` says when to try again.
pub fn try_again<const N: usize>(
    reason: Reason,
    message: impl Into<String>,
    after: Duration,
    metadata: [(&str, String); N],
) -> Status {
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let mut details = ErrorDetails::with_error_info(name(reason), DOMAIN, metadata);
    details.set_retry_info(Some(after));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// When a refused call may be tried again; none where the status does not say.
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// A wrong argument: names the field in `google.rpc.BadRequest` too.
pub fn invalid_argument(field: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let mut details = ErrorDetails::with_error_info(name(Reason::InvalidArgument), DOMAIN, HashMap::new());
    details.add_bad_request_violation(field, &message);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {message}"), details)
}

/// A declared method that is not built yet. Callers get it after authorization.
pub fn not_implemented(method: &str) -> Status {
    status(Code::Unimplemented, Reason::NotImplemented, format!("{method} is not built yet"))
}

/// The reason's name without its prefix, as `ErrorInfo` carries it.
pub fn name(reason: Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("REASON_")
}

/// Reads the reason of a status; none where it carries no `ErrorInfo` of ours.
pub fn reason(status: &Status) -> Option<Reason> {
    let info = status.get_details_error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    Reason::from_str_name(&format!("REASON_{}", info.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_travels() {
        let status = status(Code::NotFound, Reason::NotFound, "no such run");
        assert_eq!(reason(&status), Some(Reason::NotFound));
        assert_eq!(name(Reason::AclDenied), "ACL_DENIED");
        assert_eq!(retry_after(&status), None);
    }

    #[test]
    fn a_refusal_says_when_to_try_again() {
        let after = Duration::from_millis(1_250);
        let status = try_again(Reason::RateLimited, "too many", after, [("limit", "calls".to_owned())]);
        assert_eq!((reason(&status), retry_after(&status)), (Some(Reason::RateLimited), Some(after)));
        assert_eq!(status.get_details_error_info().unwrap().metadata["limit"], "calls");
    }
}
