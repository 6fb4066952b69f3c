//! System calls: the one list. Anything else ends the process at once.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::refused;
use crate::protocol::Refusal;

const ALLOW: &str = "use a kernel with CONFIG_SECCOMP_FILTER, and in a container a seccomp profile that allows \
     seccomp and prctl";

/// A system call that a worker may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Its number.
    pub number: libc::c_long,
    /// Its name.
    pub name: &'static str,
    /// What its arguments must be.
    pub when: When,
}

/// What the arguments of a system call must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Anything.
    Always,
    /// The first is this: a descriptor.
    First(u64),
    /// The third has no bit of this: a protection.
    ThirdWithout(u64),
}

/// Every system call that a worker may make once it reads code.
pub const LIST: &[Allowed] = &[
    // The two pipes, and nothing else.
    allowed(libc::SYS_read, "read", When::First(0)),
    allowed(libc::SYS_write, "write", When::First(1)),
    // Memory, of which none can be executed.
    allowed(libc::SYS_brk, "brk", When::Always),
    allowed(libc::SYS_mmap, "mmap", When::ThirdWithout(libc::PROT_EXEC as u64)),
    allowed(libc::SYS_mprotect, "mprotect", When::ThirdWithout(libc::PROT_EXEC as u64)),
    allowed(libc::SYS_mremap, "mremap", When::Always),
    allowed(libc::SYS_munmap, "munmap", When::Always),
    allowed(libc::SYS_madvise, "madvise", When::Always),
    // Time: reading it, and waiting for a timer.
    allowed(libc::SYS_clock_gettime, "clock_gettime", When::Always),
    allowed(libc::SYS_clock_nanosleep, "clock_nanosleep", When::Always),
    allowed(libc::SYS_nanosleep, "nanosleep", When::Always),
    allowed(libc::SYS_restart_syscall, "restart_syscall", When::Always),
    // Seeds of hash tables and of Math.random.
    allowed(libc::SYS_getrandom, "getrandom", When::Always),
    allowed(libc::SYS_gettimeofday, "gettimeofday", When::Always),
    // Locks of the standard library, which one thread never waits for.
    allowed(libc::SYS_futex, "futex", When::Always),
    // The end.
    allowed(libc::SYS_sigaltstack, "sigaltstack", When::Always),
    allowed(libc::SYS_exit_group, "exit_group", When::Always),
    allowed(libc::SYS_exit, "exit", When::Always),
];

const fn allowed(number: libc::c_long, name: &'static str, when: When) -> Allowed {
    Allowed { number, name, when }
}

/// Keeps the calls of the list; any other ends the process.
pub(super) fn keep_listed() -> Result<(), Refusal> {
    let refused = refused("seccomp", ALLOW);
    let program = program().map_err(|error| refused(&error))?;
    seccompiler::apply_filter(&program).map_err(|error| refused(&error))
}

/// The list as the kernel takes it.
fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = BTreeMap::new();
    for call in LIST {
        rules.insert(call.number, conditions(call.when)?);
    }
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?.try_into()
}

fn conditions(when: When) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let condition = match when {
        When::Always => return Ok(Vec::new()),
        When::First(value) => SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?,
        When::ThirdWithout(bits) => {
            SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), 0)?
        }
    };
    Ok(vec![SeccompRule::new(vec![condition])?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_a_filter() {
        assert!(program().unwrap().len() > LIST.len());
    }

    #[test]
    fn no_call_is_listed_that_opens_connects_or_starts() {
        for number in [
            libc::SYS_openat,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_kill,
            libc::SYS_tgkill,
            libc::SYS_prctl,
            libc::SYS_ioctl,
            libc::SYS_io_uring_setup,
            libc::SYS_bpf,
        ] {
            assert!(LIST.iter().all(|call| call.number != number), "{number}");
        }
    }
}
