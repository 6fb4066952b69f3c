//! The file system: an empty one that cannot be written takes the place of the host's.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::refused;
use crate::protocol::Refusal;

/// A folder that is there wherever the role runs; it is covered in this process's namespace alone.
const PLACE: &str = "/proc";
const NONE: Option<&str> = None;
const ALLOW: &str = "in a container, use a seccomp and an AppArmor profile that allow mount and pivot_root inside a \
     user namespace";

/// Leaves the host's file system.
pub(super) fn leave() -> Result<(), Refusal> {
    let refused = refused("empty root", ALLOW);
    let bare = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let steps = || -> nix::Result<()> {
        // What is mounted here must not show outside.
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
        mount(Some("tmpfs"), PLACE, Some("tmpfs"), bare, Some("size=4k,nr_inodes=1,mode=555"))?;
        chdir(PLACE)?;
        // The old root comes to lie over the new one, and goes.
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")?;
        let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | bare;
        mount(NONE, "/", NONE, read_only, NONE)
    };
    steps().map_err(|error| refused(&error))
}
