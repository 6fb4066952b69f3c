//! Backup and restore of an embedded suite: every store, file, payload, secret and key of a data folder.
//!
//! `sre backup` reads the files of a suite while it works, or while it is stopped; it asks no service, so it needs
//! what the suite's own user may. What was acknowledged before it began is in it:
//!
//! 1. **Bytes first.** Files are immutable once a row names them, so they are copied as they are ([`files`]).
//! 2. **Then rows.** Each store is read as one snapshot ([`sre_store::snapshot`]), those that name things of
//!    others before the others: the journal before agents, all before `security`, where their audit records go.
//! 3. **Then what is missing.** Bytes that came between are copied now; where a snapshot names bytes that went
//!    meanwhile, the snapshot is taken again ([`take`]). Bytes that no row names are left out.
//! 4. **Keys last, sealed.** The vault key, the suite's certificates and API keys, read until they did not change
//!    while the vault was copied, under a passphrase ([`seal`]); or left out, and said so.
//!
//! [`manifest`] lists every file with its BLAKE3 digest. [`restore`] believes nothing that does not match it.

mod files;
mod manifest;
mod references;
mod restore;
mod seal;
mod take;
#[cfg(test)]
mod tests;

pub use manifest::{Entry, Keys, Manifest};
pub use restore::{Restore, Restored, restore, verify};
pub use seal::Passphrase;
pub use take::{Backup, Taken, take};
