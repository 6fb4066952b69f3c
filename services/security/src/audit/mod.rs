//! The audit log: what every service did and refused, chained per writer.
//!
//! A record holds the digest of the one before, so that one which is changed, removed or moved breaks the
//! chain; checkpoints signed with the token service's key say how far a chain had come, so that a chain that
//! is cut off at its end is noticed too. The checkpoints are a chain themselves, and a seal says where it ends.

mod chain;
pub mod checkpoint;
pub mod entry;
pub mod query;
pub mod seal;
pub mod service;
pub mod verify;

use prost::Message;
use sre_proto::security::v1::AuditRecord;
use sre_store::sql::{Connection, OptionalExtension, params};

use crate::error::Error;
use crate::moment::Moment;

/// The most records of one batch.
const MAX_BATCH: usize = 1000;
const MAX_WRITER_CHARS: usize = 200;
/// What the first record of a chain follows.
const GENESIS: [u8; 32] = [0; 32];

/// The end of a writer's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// The last sequence; 0 where there is none.
    pub sequence: i64,
    /// Its digest.
    pub digest: [u8; 32],
}

/// Appends a batch of a writer's records and gives the chain's new end. A batch, or a part of one, that is
/// there already is passed over; anything that does not continue the chain is refused as a whole.
pub fn append(conn: &Connection<'_>, records: &[AuditRecord]) -> Result<Tip, Error> {
    if records.len() > MAX_BATCH {
        return Err(Error::invalid("records", format!("are {}: send {MAX_BATCH} at most", records.len())));
    }
    let writer = records.first().map(|record| record.writer.as_str()).unwrap_or_default();
    if writer.is_empty() || writer.len() > MAX_WRITER_CHARS {
        return Err(Error::invalid(
            "records",
            format!("need a writer of 1 to {MAX_WRITER_CHARS} characters"),
        ));
    }
    if records.iter().any(|record| record.writer != writer) {
        return Err(Error::invalid("records", "are of several writers: send one batch per writer"));
    }
    let mut tip = tip(conn, writer)?;
    for record in records {
        if record.sequence <= tip.sequence {
            same_as_stored(conn, record)?;
        } else {
            continues(record, tip)?;
            insert(conn, record)?;
            tip = Tip { sequence: record.sequence, digest: sre_service::audit::digest(record) };
        }
    }
    Ok(tip)
}

fn tip(conn: &Connection<'_>, writer: &str) -> Result<Tip, Error> {
    let sql = "select sequence, digest from audit_record where writer = ?1 order by sequence desc limit 1";
    let read = |row: &sre_store::sql::Row<'_>| Ok(Tip { sequence: row.get(0)?, digest: row.get(1)? });
    let found = conn.prepare_cached(sql)?.query_row([writer], read).optional()?;
    Ok(found.unwrap_or(Tip { sequence: 0, digest: GENESIS }))
}

fn same_as_stored(conn: &Connection<'_>, record: &AuditRecord) -> Result<(), Error> {
    let sql = "select digest from audit_record where writer = ?1 and sequence = ?2";
    let stored: Option<[u8; 32]> = conn
        .prepare_cached(sql)?
        .query_row(params![record.writer, record.sequence], |row| row.get(0))
        .optional()?;
    if stored == Some(sre_service::audit::digest(record)) {
        return Ok(());
    }
    let (writer, sequence) = (&record.writer, record.sequence);
    tracing::warn!(writer, sequence, "a writer sent another audit record under a sequence that is taken");
    Err(Error::Precondition(format!("record {sequence} of {writer} differs from the one that is stored")))
}

fn continues(record: &AuditRecord, tip: Tip) -> Result<(), Error> {
    let (writer, sequence, last) = (&record.writer, record.sequence, tip.sequence);
    if sequence != last + 1 {
        return Err(Error::Precondition(format!(
            "record {sequence} of {writer} comes after {last}: send the ones between"
        )));
    }
    if record.previous_digest != tip.digest.as_slice() {
        tracing::warn!(writer, sequence, "an audit record does not continue its writer's chain");
        return Err(Error::Precondition(format!(
            "record {sequence} of {writer} does not follow record {last}"
        )));
    }
    if record.digest != sre_service::audit::digest(record).as_slice() {
        return Err(Error::invalid(
            "records",
            format!("the digest of record {sequence} is not of its content"),
        ));
    }
    Ok(())
}

fn insert(conn: &Connection<'_>, record: &AuditRecord) -> Result<(), Error> {
    let time = record.time.as_ref().map_or(Moment(0), Moment::from);
    conn.prepare_cached(
        "insert into audit_record (writer, sequence, previous_digest, digest, time_us, team, record)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        record.writer,
        record.sequence,
        record.previous_digest.as_ref(),
        record.digest.as_ref(),
        time,
        record.team,
        record.encode_to_vec()
    ])?;
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
