//! What is asked of a registration before it is stored.

use sre_components::external;
use sre_identity::{Acl, Candidate, Level};
use sre_proto::agent::v1::ComponentVersion;
use sre_proto::error::invalid_argument;
use sre_service::config::Config;
use sre_service::dial::component_place;
use tonic::Status;

use super::registered::NewVersion;

const MAX_ENDPOINTS: usize = 16;
const MAX_ENDPOINT_CHARS: usize = 512;

/// Reads `teams/{team}/components/{type}`.
pub(super) fn name(name: &str) -> Result<(String, String), Status> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["teams", team, "components", kind] if external::is_type_name(kind) && !team.is_empty() => {
            Ok(((*team).to_owned(), (*kind).to_owned()))
        }
        _ => Err(invalid_argument("name", "expected teams/{team}/components/{type}")),
    }
}

/// A version that may be stored.
pub(super) fn version(
    config: &Config,
    sent: Option<ComponentVersion>,
    creator: &Candidate,
) -> Result<NewVersion, Status> {
    let sent =
        sent.ok_or_else(|| invalid_argument("version", "is missing: give description and endpoints"))?;
    let description = sent.description.ok_or_else(|| {
        invalid_argument("version.description", "is missing: it is what the component's Describe answers")
    })?;
    let problems = external::problems(&description);
    if !problems.is_empty() {
        return Err(invalid_argument("version.description", problems.join("; ")));
    }
    if sent.endpoints.is_empty() || sent.endpoints.len() > MAX_ENDPOINTS {
        let message = format!("are {}: name 1 to {MAX_ENDPOINTS}", sent.endpoints.len());
        return Err(invalid_argument("version.endpoints", message));
    }
    for endpoint in &sent.endpoints {
        if endpoint.len() > MAX_ENDPOINT_CHARS {
            return Err(invalid_argument("version.endpoints", "one is longer than 512 bytes"));
        }
        component_place(config, endpoint, &sent.identity)
            .map_err(|error| invalid_argument("version.endpoints", format!("{error:#}")))?;
    }
    if !description.scopes.is_empty() && sent.identity.is_empty() {
        return Err(invalid_argument(
            "version.identity",
            "is missing: the type calls the suite, and its tokens must be bound to somebody, service/<name>",
        ));
    }
    Ok(NewVersion {
        description,
        endpoints: sent.endpoints,
        identity: sent.identity,
        creator: creator.to_string(),
    })
}

/// The list of a new type: its creator owns it, its team's members and agents may use it.
pub(super) fn new_list(creator: &Candidate, team: &str) -> Result<Acl, Status> {
    let wrong = |error: &dyn std::fmt::Display| invalid_argument("parent", error.to_string());
    let team = Candidate::team(team).map_err(|error| wrong(&error))?;
    let mut acl = Acl::owned_by(creator);
    acl.grant(&team, &[Level::Read]).map_err(|error| wrong(&error))?;
    Ok(acl)
}
