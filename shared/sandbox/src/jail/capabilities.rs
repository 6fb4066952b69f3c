//! Capabilities: none are left, not even over the worker's own namespaces.

use caps::{CapSet, Capability, CapsHashSet};

use super::refused;
use crate::protocol::Refusal;

const ALLOW: &str = "run the role without a security module that forbids giving capabilities up";

/// Drops every capability for good.
pub(super) fn drop_all() -> Result<(), Refusal> {
    let refused = refused("capabilities", ALLOW);
    let bounding: CapsHashSet = caps::read(None, CapSet::Bounding).map_err(|error| refused(&error))?;
    for capability in bounding.iter().filter(|capability| **capability != Capability::CAP_SETPCAP) {
        caps::drop(None, CapSet::Bounding, *capability).map_err(|error| refused(&error))?;
    }
    caps::drop(None, CapSet::Bounding, Capability::CAP_SETPCAP).map_err(|error| refused(&error))?;
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(|error| refused(&error))?;
    }
    Ok(())
}
