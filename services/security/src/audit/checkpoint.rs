//! Signed checkpoints: how far each writer's chain had come, and when.

use rusqlite::{Connection, params};

use crate::error::Error;
use crate::moment::Moment;

/// Unsigned records after which a checkpoint is due at once; the periodic one covers the rest.
const DUE_AFTER_RECORDS: i64 = 1000;

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose chain.
    pub writer: String,
    /// The last record that it covers.
    pub sequence: i64,
    /// That record's digest.
    pub digest: [u8; 32],
    /// When it was signed.
    pub time: Moment,
}

impl Checkpoint {
    /// The bytes that are signed. The prefix keeps the signature from meaning anything else.
    pub fn message(&self) -> Vec<u8> {
        let (writer, sequence, time) = (&self.writer, self.sequence, self.time.0);
        format!("sre-audit-checkpoint|1|{sequence}|{}|{time}|{writer}", hex::encode(self.digest)).into_bytes()
    }
}

/// Whether a writer's chain has grown so far beyond its last checkpoint that one is due now.
pub fn is_due(conn: &Connection, writer: &str, sequence: i64) -> Result<bool, Error> {
    let last: i64 = conn
        .prepare_cached("select coalesce(max(sequence), 0) from audit_checkpoint where writer = ?1")?
        .query_row([writer], |row| row.get(0))?;
    Ok(sequence - last >= DUE_AFTER_RECORDS)
}

/// The ends of all chains that have grown since their last checkpoint.
pub fn pending(conn: &Connection, now: Moment) -> Result<Vec<Checkpoint>, Error> {
    // Two look-ups per writer, along the primary keys: the log itself is never scanned.
    let mut statement = conn.prepare_cached(
        "with recursive writers (writer) as (
             select min(writer) from audit_record
             union all
             select (select min(writer) from audit_record where writer > writers.writer) from writers
             where writers.writer is not null
         )
         select r.writer, r.sequence, r.digest from writers w join audit_record r on r.writer = w.writer
         and r.sequence = (select max(sequence) from audit_record where writer = w.writer)
         where w.writer is not null and r.sequence >
             coalesce((select max(sequence) from audit_checkpoint c where c.writer = w.writer), 0)",
    )?;
    let found = statement.query_map([], |row| {
        Ok(Checkpoint { writer: row.get(0)?, sequence: row.get(1)?, digest: row.get(2)?, time: now })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Stores a signed checkpoint. Signing the same end twice keeps the first.
pub fn insert(
    conn: &Connection,
    checkpoint: &Checkpoint,
    key_id: &str,
    signature: &[u8],
) -> Result<(), Error> {
    conn.prepare_cached(
        "insert into audit_checkpoint (writer, sequence, digest, time_us, key_id, signature)
         values (?1, ?2, ?3, ?4, ?5, ?6) on conflict do nothing",
    )?
    .execute(params![
        checkpoint.writer,
        checkpoint.sequence,
        checkpoint.digest,
        checkpoint.time,
        key_id,
        signature
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::testing::database;

    fn record(conn: &Connection, writer: &str, sequence: i64) {
        conn.execute(
            "insert into audit_record values (?1, ?2, zeroblob(32), zeroblob(32), 0, 't', x'')",
            params![writer, sequence],
        )
        .unwrap();
    }

    #[test]
    fn only_chains_that_grew_are_pending() {
        let conn = database();
        for (writer, sequence) in [("a", 1), ("a", 2), ("b", 1)] {
            record(&conn, writer, sequence);
        }
        let ends = |conn: &Connection| -> Vec<(String, i64)> {
            pending(conn, Moment(0)).unwrap().into_iter().map(|end| (end.writer, end.sequence)).collect()
        };
        assert_eq!(ends(&conn), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        for checkpoint in pending(&conn, Moment(0)).unwrap() {
            insert(&conn, &checkpoint, "k", b"s").unwrap();
        }
        assert_eq!(ends(&conn), []);
        record(&conn, "b", 2);
        assert_eq!(ends(&conn), [("b".to_owned(), 2)]);
        assert!(!is_due(&conn, "b", 1000).unwrap());
        assert!(is_due(&conn, "b", 1001).unwrap());
    }

    #[test]
    fn a_checkpoint_signs_all_that_it_says() {
        let one = Checkpoint { writer: "a".into(), sequence: 1, digest: [1; 32], time: Moment(1) };
        for other in [
            Checkpoint { writer: "b".into(), ..one.clone() },
            Checkpoint { sequence: 2, ..one.clone() },
            Checkpoint { digest: [2; 32], ..one.clone() },
            Checkpoint { time: Moment(2), ..one.clone() },
        ] {
            assert_ne!(one.message(), other.message());
        }
    }
}
