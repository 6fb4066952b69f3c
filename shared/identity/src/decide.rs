//! The one decision: a pure function of the Candidate, its teams and the list.

use crate::acl::{Acl, Level, Levels};
use crate::candidate::{Candidate, Role, TeamId};

/// Why access is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The Candidate's own entry says `none`.
    Explicit,
    /// No entry gives the level.
    NoRight,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Granted.
    Allow,
    /// Refused.
    Deny(Denial),
    /// Nothing that can be asked for: no level, or `none` (hole H4). Refused too; answer INVALID_ARGUMENT.
    Invalid,
}

impl Decision {
    /// Whether access is granted; everything else is a refusal.
    pub fn is_allowed(self) -> bool {
        self == Self::Allow
    }
}

/// Decides whether `candidate`, a member of `teams`, has all `wanted` levels on what `acl` guards.
///
/// `teams` must come from the Account service: never from a request, a token or an agent's document (hole H12).
/// An unknown Candidate has none (hole H14).
///
/// The rights are the union of the Candidate's own entry, its teams' entries and the public's, of which only
/// `read` counts; `owner` implies `read` and `write`; a `none` of its own refuses, unless its own entry also says
/// `owner`.
///
/// ```
/// use sre_identity::{Acl, Candidate, Level, decide};
/// let alice = Candidate::user("alice")?;
/// let acl = Acl::owned_by(&alice);
/// assert!(decide(&alice, &[], &[Level::Read], &acl).is_allowed());
/// assert!(!decide(&Candidate::user("bob")?, &[], &[Level::Read], &acl).is_allowed());
/// # Ok::<(), sre_identity::candidate::CandidateError>(())
/// ```
pub fn decide(candidate: &Candidate, teams: &[TeamId], wanted: &[Level], acl: &Acl) -> Decision {
    let wanted = Levels::of(wanted);
    if wanted.is_empty() || wanted.contains(Level::None) {
        return Decision::Invalid;
    }
    let own = acl.levels(candidate);
    if own.contains(Level::None) && !own.contains(Level::Owner) {
        return Decision::Deny(Denial::Explicit);
    }
    let mut rights = if candidate.role() == Role::Public { public_part(own) } else { own };
    for team in teams {
        rights = rights.union(acl.levels(&team.candidate()));
    }
    rights = rights.union(public_part(acl.levels(&Candidate::public())));
    if wanted.iter().all(|level| rights.allows(level)) {
        Decision::Allow
    } else {
        Decision::Deny(Denial::NoRight)
    }
}

/// Whatever a stored list says of the public, only `read` counts.
fn public_part(levels: Levels) -> Levels {
    levels.intersection(Levels::of(&[Level::Read]))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
