//! Statuses that the bootstrap itself answers. Causes are logged once under an id; the client gets the id.

use sre_proto::error::{status, with_metadata};
use sre_proto::types::v1::Reason;
use tonic::{Code, Status};

use crate::role::Role;

/// Something failed inside: the cause is logged under the id that the status carries.
pub(crate) fn internal(cause: &str) -> Status {
    let error_id = sre_proto::ids::new_uuid().to_string();
    tracing::error!(error_id, cause, "internal error");
    let message = format!("internal error {error_id}: look for this id in the log");
    with_metadata(Code::Internal, Reason::Internal, message, [("error_id", error_id)])
}

/// Too many calls at once.
pub(crate) fn overloaded(role: Role, what: &'static str) -> Status {
    let message = format!("{role} has too many {what} at once: try again later");
    with_metadata(Code::ResourceExhausted, Reason::Overloaded, message, [("role", role.name().to_owned())])
}

/// The time given for the call is over.
pub(crate) fn deadline_exceeded(role: Role) -> Status {
    let message = format!("{role} did not finish within the deadline of the call");
    status(Code::DeadlineExceeded, Reason::DeadlineExceeded, message)
}

/// Another role cannot be reached.
pub(crate) fn role_unavailable(role: Role, address: &str, cause: &str) -> Status {
    let message = match address {
        "" => format!("role {role} is unavailable: {cause}"),
        address => format!("role {role} is unavailable at {address}: {cause}"),
    };
    let metadata = [("role", role.name().to_owned()), ("address", address.to_owned())];
    with_metadata(Code::Unavailable, Reason::RoleUnavailable, message, metadata)
}

/// A body or message that is too large.
pub(crate) fn too_large(limit_bytes: usize) -> Status {
    let message = format!("a message may have {limit_bytes} bytes: stream it, or name it by reference");
    status(Code::ResourceExhausted, Reason::TooLarge, message)
}
