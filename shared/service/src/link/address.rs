//! Where a role is found: names from the configuration or the run file, resolved to addresses.

use std::net::SocketAddr;
use std::time::Duration;

use crate::endpoints;
use crate::process::Process;
use crate::role::Role;

/// Names resolve quickly or not at all: a call waits for this.
const RESOLVE_TIMEOUT: Duration = Duration::from_millis(400);

/// The names (`host:port`) of a role's instances, read anew each time: the run file changes when a role
/// starts.
pub(super) fn names(process: &Process, role: Role) -> Vec<String> {
    let configured = process.config.endpoints.of(role);
    if !configured.is_empty() {
        return configured.to_vec();
    }
    endpoints::read(&process.config.data_dir).get(role.name()).cloned().into_iter().collect()
}

/// All addresses behind the names; the error names what could not be resolved.
pub(super) async fn resolve(names: &[String]) -> Result<Vec<SocketAddr>, String> {
    let mut found = Vec::new();
    let mut failure = None;
    for name in names {
        // Addresses need no resolver, and no thread of its pool.
        if let Ok(address) = name.parse() {
            found.push(address);
            continue;
        }
        match tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(name.as_str())).await {
            Ok(Ok(addresses)) => found.extend(addresses),
            Ok(Err(error)) => failure = Some(format!("{name} does not resolve: {error}")),
            Err(_) => failure = Some(format!("{name} does not resolve in time")),
        }
    }
    found.sort_unstable();
    found.dedup();
    match (found.is_empty(), failure) {
        (true, Some(failure)) => Err(failure),
        (true, None) => Err("no address is known: start it, or set its [endpoints]".to_owned()),
        (false, _) => Ok(found),
    }
}
