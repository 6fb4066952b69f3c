//! How requests name files: by name, `teams/-/...` for the caller's home team, or by `smythfs://` address.

use sre_identity::{Caller, Candidate};
use sre_proto::error::{Reason, invalid_argument, status};
use sre_service::Host;
use tonic::{Code, Status};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::uri::{self, UriPrincipal};

/// The name of a file or folder that a request names. Nothing is decided here: a `smythfs://` address needs a
/// caller like any other name, and whose file it is gives no right (H20).
pub async fn file_of(host: &Host, caller: &Caller, field: &str, name: &str) -> Result<String, Status> {
    let name = match is_address(name) {
        true => of_address(host, caller, field, name).await?,
        false => host.authorizer().resolve_name(caller, name).await?,
    };
    // Names that look the same are the same, however their accents are written.
    Ok(if is_nfc(&name) { name } else { name.nfc().collect() })
}

fn is_address(name: &str) -> bool {
    name.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('/'))
}

async fn of_address(host: &Host, caller: &Caller, field: &str, address: &str) -> Result<String, Status> {
    // Without somebody who asks, nobody's team is told.
    caller.require_candidate()?;
    let wrong = |error: &dyn std::fmt::Display| invalid_argument(field, error.to_string());
    let uri = uri::parse(address).map_err(|error| wrong(&error))?;
    let owner = match &uri.principal {
        UriPrincipal::Agent(id) => Some(Candidate::agent(id)),
        UriPrincipal::User(id) => Some(Candidate::user(id)),
        UriPrincipal::Team(_) => None,
    };
    let home = match owner.transpose().map_err(|error| wrong(&error))? {
        // Nobody's files are answered like somebody else's.
        Some(owner) => host.accounts().resolve(&owner).await?.home.clone().ok_or_else(denied)?.to_string(),
        None => String::new(),
    };
    Ok(uri.file_name(&home).map_err(|error| wrong(&error))?.to_string())
}

/// The one refusal, as the authorizer says it.
pub fn denied() -> Status {
    status(Code::PermissionDenied, Reason::AclDenied, "access denied")
}
