//! The seal: which checkpoint is the newest, signed. Without it the newest checkpoints, and the records before
//! them, could be taken away together.

use sre_store::sql::{Connection, OptionalExtension, params};

use crate::error::Error;
use crate::identity::key_ring::KeyRing;
use crate::moment::Moment;

/// What the first checkpoint follows.
const GENESIS: [u8; 32] = [0; 32];

/// The end of the chain of checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The newest checkpoint; 0 where there is none.
    pub number: i64,
    /// Its digest.
    pub digest: [u8; 32],
    /// Since when the log is sealed.
    pub since: Moment,
}

/// A seal with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub seal: Seal,
    /// The key that signed it.
    pub key_id: String,
    /// The signature over [`Seal::message`].
    pub signature: Vec<u8>,
}

impl Seal {
    /// The bytes that are signed.
    pub fn message(&self) -> Vec<u8> {
        let (number, digest, since) = (self.number, hex::encode(self.digest), self.since.0);
        format!("sre-audit-seal|1|{number}|{digest}|{since}").into_bytes()
    }
}

/// Whether a log was never sealed: an empty one, or one of a version without seals. A log that has checkpoints
/// and no seal lost it, and stays as it is for the verification to say so.
pub fn is_due(conn: &Connection<'_>) -> Result<bool, Error> {
    let sql = "select 1 where exists (select 1 from audit_seal) or exists (select 1 from signed_checkpoint)";
    Ok(!conn.prepare_cached(sql)?.exists(params![])?)
}

/// Seals a log for the first time.
pub fn begin(conn: &Connection<'_>, ring: &KeyRing, now: Moment) -> Result<(), Error> {
    write(conn, ring, &Seal { number: 0, digest: GENESIS, since: now })
}

/// The seal, with nothing verified.
pub fn read(conn: &Connection<'_>) -> Result<Option<Seal>, Error> {
    Ok(read_signed(conn)?.map(|signed| signed.seal))
}

/// The seal with its signature.
pub fn read_signed(conn: &Connection<'_>) -> Result<Option<Signed>, Error> {
    let sql = "select number, digest, since_us, key_id, signature from audit_seal";
    let read = |row: &sre_store::sql::Row<'_>| {
        let seal = Seal { number: row.get(0)?, digest: row.get(1)?, since: row.get(2)? };
        Ok(Signed { seal, key_id: row.get(3)?, signature: row.get(4)? })
    };
    Ok(conn.prepare_cached(sql)?.query_row(params![], read).optional()?)
}

/// Signs and stores the seal.
pub fn write(conn: &Connection<'_>, ring: &KeyRing, seal: &Seal) -> Result<(), Error> {
    let (key_id, signature) = ring.sign(&seal.message())?;
    conn.prepare_cached(
        "insert into audit_seal (one, number, digest, since_us, key_id, signature) values (1, ?1, ?2, ?3, ?4, ?5)
         on conflict (one) do update set number = excluded.number, digest = excluded.digest,
             since_us = excluded.since_us, key_id = excluded.key_id, signature = excluded.signature",
    )?
    .execute(params![seal.number, seal.digest, seal.since, key_id, signature])?;
    Ok(())
}
