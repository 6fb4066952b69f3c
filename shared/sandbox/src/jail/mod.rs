//! What a worker gives up before it reads any code.
//!
//! In two steps, because a process enters a new namespace of process ids only by being born in it: the first
//! process makes the namespaces ([`namespaces`]) and starts the second, which leaves the file system ([`root`]),
//! bounds itself ([`rlimits`]), drops its capabilities and what files and sockets it could still name
//! ([`names`]), and last of all keeps only the system calls of one list ([`syscalls`]).
//!
//! Nothing here is optional: a part that the kernel refuses is a [`Refusal`] that names it, and the role does
//! not start. Running without it is not offered.

pub mod capabilities;
pub mod descriptors;
pub mod names;
pub mod namespaces;
pub mod rlimits;
pub mod root;
pub mod syscalls;

use std::fmt::Display;

use crate::protocol::Refusal;

/// Makes the namespaces that the next process is born in.
///
/// # Errors
/// If the kernel refuses them.
pub fn outer() -> Result<(), Refusal> {
    namespaces::enter()
}

/// Gives up the rest. Nothing but the two pipes is left afterwards.
///
/// # Errors
/// If the kernel refuses a part.
pub fn inner() -> Result<(), Refusal> {
    all_but_calls()?;
    syscalls::keep_listed()
}

/// Gives up everything but system calls: the walls behind that one, which tests look at by themselves.
///
/// # Errors
/// If the kernel refuses a part.
pub fn all_but_calls() -> Result<(), Refusal> {
    let size_bytes = rlimits::size_bytes()?;
    descriptors::close_others()?;
    root::leave()?;
    names::give_up()?;
    rlimits::set(size_bytes)?;
    capabilities::drop_all()
}

/// A refusal of a part.
pub(crate) fn refused(part: &'static str, allow: &'static str) -> impl Fn(&dyn Display) -> Refusal {
    move |cause| Refusal { part: part.to_owned(), cause: cause.to_string(), allow: allow.to_owned() }
}
