//! Who is calling, on whose behalf, and whether they may: Candidates, access lists, SPIFFE identities,
//! delegation tokens, and the layer that puts a [`Caller`] on every request.
//!
//! Read in this order: [`candidate`] and [`acl`] (who has which rights), [`decide`] (the one decision),
//! [`spiffe`], [`peer`] and [`tls`] (who is at the other end), [`token`] and [`exchange`] (acting for someone),
//! [`layer`] (where it all meets).

pub mod acl;
pub mod ca;
pub mod caller;
pub mod candidate;
mod codec;
pub mod decide;
pub mod exchange;
pub mod grant;
pub mod keys;
pub mod layer;
mod leaf;
pub mod peer;
pub mod resource;
pub mod runs;
pub mod scope;
pub mod spiffe;
pub mod svid;
#[cfg(test)]
mod test_world;
pub mod tls;
pub mod token;

pub use acl::{Acl, Level, Levels};
pub use caller::Caller;
pub use candidate::{Candidate, Role, TeamId};
pub use decide::{Decision, decide};
pub use layer::{AuthLayer, LinkIdentity, Source, TlsIdentity, link_extension, tls_extension};
pub use peer::{Peer, PeerVerifier};
pub use spiffe::{Kind, PatternTable, Principal, SpiffeId, TrustDomain};
pub use svid::{Svid, SvidSource, TrustRoots};
pub use token::{AuthError, Claims, KeySet, Purpose, Signer, TokenVerifier};
