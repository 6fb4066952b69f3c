//! Landlock: no file can be named any more, no port, and no process outside, whatever the root holds.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetError, RulesetStatus, Scope,
};

use super::refused;
use crate::protocol::Refusal;

const ALLOW: &str = "use a kernel of 5.13 or later with landlock among its security modules: the boot option \
     lsm=landlock,... , and in a container a seccomp profile that allows the landlock_* calls";

/// Gives up files, ports and processes by name. What the kernel knows of this is taken in full; files it must
/// know.
pub(super) fn give_up() -> Result<(), Refusal> {
    let refused = refused("landlock", ALLOW);
    let restricted = || {
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V6))?
            .handle_access(AccessNet::from_all(ABI::V6))?
            .scope(Scope::from_all(ABI::V6))?;
        // No rule allows anything.
        rules.create()?.restrict_self()
    };
    let status = restricted().map_err(|error: RulesetError| refused(&error))?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(refused(&"it is not enforced"));
    }
    Ok(())
}
