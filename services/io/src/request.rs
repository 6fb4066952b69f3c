//! What requests of several methods have in common.

use std::time::Duration;

use sre_identity::Acl;
use sre_proto::error::invalid_argument;
use sre_proto::types::v1 as types;
use tonic::Status;

use crate::basis::Condition;
use crate::error::IoError;

/// How often a decision is made again whose access list changed before it was acted on.
pub const DECISIONS: usize = 3;

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;

/// How many things a page holds.
pub fn page_size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(invalid_argument("page_size", "must not be negative: leave it out for 50")),
    }
}

/// How long something lives; for ever where absent.
pub fn time_to_live(
    field: &'static str,
    life: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Status> {
    let Some(life) = life else { return Ok(None) };
    match Duration::try_from(life) {
        Ok(life) if life >= Duration::from_millis(1) => Ok(Some(life)),
        _ => Err(invalid_argument(field, "must be longer than a millisecond: leave it out for ever")),
    }
}

/// Over which version a change is made.
pub fn condition(field: &'static str, if_match: &str, if_absent: bool) -> Result<Condition, Status> {
    Condition::of(if_match, if_absent)
        .ok_or_else(|| invalid_argument(field, "if_match and if_absent exclude each other: give one of them"))
}

/// An access list that somebody sends.
pub fn acl(field: &'static str, message: &types::Acl) -> Result<Acl, Status> {
    Acl::try_from(message).map_err(|error| invalid_argument(field, error.to_string()))
}

/// The list that replaces another: made over the current one where it says so, and with an owner.
pub fn replacement(message: Option<&types::Acl>, current: &Acl) -> Result<Acl, Status> {
    let message = message.ok_or_else(|| invalid_argument("acl", "is missing: give the whole new list"))?;
    let new = acl("acl", message)?;
    new.require_owner().map_err(|error| invalid_argument("acl.entries", error.to_string()))?;
    if !message.etag.is_empty() && message.etag != current.etag() {
        return Err(IoError::OtherVersion.into());
    }
    Ok(new)
}

/// Reads a stored list.
pub fn stored_acl(text: &str) -> Result<Acl, IoError> {
    Acl::from_text(text)
        .map_err(|error| sre_store::StoreError::backend(format!("stored access list: {error}")).into())
}
