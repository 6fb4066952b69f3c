//! Delegation tokens: who may act for whom, said by the token service, believed for five minutes at most.

mod claims;
mod keyset;
mod verifier;

#[cfg(test)]
pub(crate) use keyset::unix_seconds;

pub(crate) use claims::covers;
pub use claims::{Claims, Purpose};
pub use keyset::{KeySet, KeySetError};
pub(crate) use verifier::Verified;
pub use verifier::{AuthError, TokenVerifier, issuer};

pub use crate::keys::{SignError, Signer};

use std::time::Duration;

/// The metadata key that carries a token; exactly once.
pub const METADATA_KEY: &str = "sre-delegation";

/// The longest life of a token.
pub const MAX_LIFETIME: Duration = Duration::from_secs(300);

/// How far clocks may differ.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// The most agents a chain passes through before its subject.
pub const MAX_VIA: usize = 8;

/// How long a key set is believed without contact to the token service. Services ask every 5 seconds, so a
/// revocation takes effect well within 30; but a token service that is being restarted or replaced must not stop
/// every other service, so without contact the last set is used for this long and then nothing is accepted.
pub const MAX_KEY_SET_AGE: Duration = Duration::from_secs(300);

/// The header type of a token; a grant has another, so that neither passes for the other.
pub(crate) const TYP: &str = "sre-dt+jwt";

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
