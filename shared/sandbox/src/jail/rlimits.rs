//! Resource limits: the outermost wall for memory and time, behind the interpreter's own limits and the parent's
//! clock.

use std::fs;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

use super::refused;
use crate::limits::Limits;
use crate::protocol::Refusal;

const SIZE: &str = "/proc/self/statm";
const ALLOW: &str = "allow setrlimit to lower limits";
/// What a call needs beside the interpreter's heap: its frames, copies of its values, the allocator's rounding.
const ROOM_BYTES: u64 = 256 << 20;
/// What a worker may use of the processor in its whole life, in seconds: the parent replaces it long before.
pub const CPU_SECONDS: u64 = 600;

/// The address space that this process has already.
pub(super) fn size_bytes() -> Result<u64, Refusal> {
    let refused = refused("resource limits", "mount /proc where the role runs");
    let text = fs::read_to_string(SIZE).map_err(|error| refused(&format_args!("{SIZE}: {error}")))?;
    let pages: Option<u64> = text.split(' ').next().and_then(|pages| pages.parse().ok());
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    match (pages, page.and_then(|page| u64::try_from(page).ok())) {
        (Some(pages), Some(page)) => Ok(pages * page),
        _ => Err(refused(&format_args!("{SIZE} cannot be read"))),
    }
}

/// Sets the limits, for good. `size_bytes` is the address space before any code.
pub(super) fn set(size_bytes: u64) -> Result<(), Refusal> {
    let refused = refused("resource limits", ALLOW);
    for (resource, most) in [
        (Resource::RLIMIT_AS, size_bytes + 2 * Limits::MAX.heap_bytes + ROOM_BYTES),
        (Resource::RLIMIT_CPU, CPU_SECONDS),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_LOCKS, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
        // The two pipes are open; nothing more can be.
        (Resource::RLIMIT_NOFILE, 2),
        (Resource::RLIMIT_NPROC, 0),
    ] {
        setrlimit(resource, most, most).map_err(|error| refused(&format_args!("{resource:?}: {error}")))?;
    }
    // Nobody attaches to it, and no memory of it is written anywhere.
    prctl::set_dumpable(false).map_err(|error| refused(&error))
}
