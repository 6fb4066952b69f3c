//! Namespaces: users, the network, file systems, processes, interprocess communication, names.

use std::fs;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

use super::refused;
use crate::protocol::Refusal;

const ALLOW: &str = "allow user namespaces: sysctl user.max_user_namespaces above 0, \
     kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0 where they exist, and in \
     a container a seccomp profile that allows unshare, mount and pivot_root";

/// Enters new namespaces. There is no interface in the network's, and nobody else in the users'. Children are
/// born into a namespace of process ids of their own.
pub(super) fn enter() -> Result<(), Refusal> {
    let refused = refused("namespaces", ALLOW);
    let (user, group) = (getuid(), getgid());
    let all = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(all).map_err(|error| refused(&error))?;
    // Without a map the process could not mount anything; it is root of nothing but its own namespaces.
    for (file, map) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ] {
        fs::write(file, map).map_err(|error| refused(&format_args!("{file}: {error}")))?;
    }
    Ok(())
}
