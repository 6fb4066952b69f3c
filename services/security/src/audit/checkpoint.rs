//! Signed checkpoints: how far each writer's chain had come, and when.
//!
//! Checkpoints of all writers are one chain, so that one which is removed leaves a gap; the
//! [`seal`](super::seal) says where that chain ends.

use prost_types::Timestamp;
use sre_proto::security::v1 as pb;
use sre_store::sql::{Connection, Row, params};

use super::seal;
use crate::error::Error;
use crate::identity::key_ring::KeyRing;
use crate::moment::Moment;
use crate::page::{self, Page};
use crate::rows;

/// Unsigned records after which a checkpoint is due at once; the periodic one covers the rest.
const DUE_AFTER_RECORDS: i64 = 1000;

const COLUMNS: &str = "number, previous_digest, writer, sequence, digest, time_us, key_id, signature";

/// The end of a writer's chain that is to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Whose chain.
    pub writer: String,
    /// The last record.
    pub sequence: i64,
    /// That record's digest.
    pub digest: [u8; 32],
}

/// A signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its place among all checkpoints, from 1 on.
    pub number: i64,
    /// Digest of the checkpoint before.
    pub previous: [u8; 32],
    /// What it covers.
    pub end: End,
    /// When it was signed.
    pub time: Moment,
    /// The key that signed it.
    pub key_id: String,
    /// The signature over [`Self::message`].
    pub signature: Vec<u8>,
}

impl Checkpoint {
    /// The bytes that are signed. The prefix keeps the signature from meaning anything else.
    pub fn message(&self) -> Vec<u8> {
        let (number, previous, time) = (self.number, hex::encode(self.previous), self.time.0);
        let (sequence, digest, writer) = (self.end.sequence, hex::encode(self.end.digest), &self.end.writer);
        format!("sre-audit-checkpoint|2|{number}|{previous}|{sequence}|{digest}|{time}|{writer}").into_bytes()
    }

    /// What the next checkpoint and the seal hold of it.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.message()).update(self.key_id.as_bytes()).update(&self.signature);
        *hasher.finalize().as_bytes()
    }
}

/// Whether a writer's chain has grown so far beyond its last checkpoint that one is due now.
pub fn is_due(conn: &Connection<'_>, writer: &str, sequence: i64) -> Result<bool, Error> {
    let last: i64 = conn
        .prepare_cached("select coalesce(max(sequence), 0) from signed_checkpoint where writer = ?1")?
        .query_row([writer], |row| row.get(0))?;
    Ok(sequence - last >= DUE_AFTER_RECORDS)
}

/// The ends of all chains that have grown since their last checkpoint.
pub fn pending(conn: &Connection<'_>) -> Result<Vec<End>, Error> {
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
             coalesce((select max(sequence) from signed_checkpoint c where c.writer = w.writer), 0)",
    )?;
    let found = statement.query_map(params![], |row| {
        Ok(End { writer: row.get(0)?, sequence: row.get(1)?, digest: row.get(2)? })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Signs the ends of chains, and seals the newest checkpoint.
pub fn sign(conn: &Connection<'_>, ring: &KeyRing, ends: Vec<End>, now: Moment) -> Result<(), Error> {
    let Some(mut seal) = seal::read(conn)? else {
        return Err(Error::Internal("the audit log has no seal: run `sre audit verify`".to_owned()));
    };
    for end in ends {
        let (key_id, time) = (String::new(), now);
        let mut new = Checkpoint {
            number: seal.number + 1,
            previous: seal.digest,
            end,
            time,
            key_id,
            signature: Vec::new(),
        };
        (new.key_id, new.signature) = ring.sign(&new.message())?;
        insert(conn, &new)?;
        (seal.number, seal.digest) = (new.number, new.digest());
    }
    seal::write(conn, ring, &seal)
}

fn insert(conn: &Connection<'_>, one: &Checkpoint) -> Result<(), Error> {
    let (end, sql) = (
        &one.end,
        format!("insert into signed_checkpoint ({COLUMNS}) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"),
    );
    conn.prepare_cached(&sql)?.execute(params![
        one.number,
        one.previous,
        end.writer,
        end.sequence,
        end.digest,
        one.time,
        one.key_id,
        one.signature
    ])?;
    Ok(())
}

/// A page of checkpoints, oldest first; of each writer the newest alone where asked for.
pub fn list(
    conn: &Connection<'_>,
    newest: bool,
    page: &Page<i64>,
) -> Result<(Vec<Checkpoint>, String), Error> {
    let only = match newest {
        true => {
            "and number = (select max(number) from signed_checkpoint o where o.writer = signed_checkpoint.writer)"
        }
        false => "",
    };
    let sql =
        format!("select {COLUMNS} from signed_checkpoint where number > ?1 {only} order by number limit ?2");
    let found = conn
        .prepare_cached(&sql)?
        .query_map(params![page.after.unwrap_or(0), rows::limit(page.size)], read)?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(page::cut(found, page.size, |one: &Checkpoint| one.number))
}

/// The checkpoints of a writer that cover a part of its chain: from after `above` up to `up_to`.
pub fn of_writer(
    conn: &Connection<'_>,
    writer: &str,
    above: i64,
    up_to: i64,
) -> Result<Vec<Checkpoint>, Error> {
    let sql = format!(
        "select {COLUMNS} from signed_checkpoint where writer = ?1 and sequence > ?2 and sequence <= ?3
         order by sequence, number"
    );
    Ok(conn
        .prepare_cached(&sql)?
        .query_map(params![writer, above, up_to], read)?
        .collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> sre_store::sql::Result<Checkpoint> {
    Ok(Checkpoint {
        number: row.get(0)?,
        previous: row.get(1)?,
        end: End { writer: row.get(2)?, sequence: row.get(3)?, digest: row.get(4)? },
        time: row.get(5)?,
        key_id: row.get(6)?,
        signature: row.get(7)?,
    })
}

impl From<&Checkpoint> for pb::Checkpoint {
    fn from(one: &Checkpoint) -> Self {
        Self {
            number: one.number,
            previous_digest: one.previous.to_vec().into(),
            writer: one.end.writer.clone(),
            sequence: one.end.sequence,
            digest: one.end.digest.to_vec().into(),
            time: Some(Timestamp::from(one.time)),
            key_id: one.key_id.clone(),
            signature: one.signature.clone().into(),
        }
    }
}

impl TryFrom<&pb::Checkpoint> for Checkpoint {
    type Error = Error;

    fn try_from(one: &pb::Checkpoint) -> Result<Self, Error> {
        let digest = |bytes: &[u8]| {
            bytes.try_into().map_err(|_| Error::invalid("witnesses", "have digests that are not of 32 bytes"))
        };
        Ok(Self {
            number: one.number,
            previous: digest(&one.previous_digest)?,
            end: End { writer: one.writer.clone(), sequence: one.sequence, digest: digest(&one.digest)? },
            time: one.time.as_ref().map_or(Moment(0), Moment::from),
            key_id: one.key_id.clone(),
            signature: one.signature.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::testing::database;

    fn record(conn: &Connection<'_>, writer: &str, sequence: i64) {
        conn.execute(
            "insert into audit_record values (?1, ?2, zeroblob(32), zeroblob(32), 0, 't', x'')",
            params![writer, sequence],
        )
        .unwrap();
    }

    fn one() -> Checkpoint {
        Checkpoint {
            number: 1,
            previous: [0; 32],
            end: End { writer: "a".into(), sequence: 1, digest: [1; 32] },
            time: Moment(1),
            key_id: "k".into(),
            signature: vec![1],
        }
    }

    #[test]
    fn only_chains_that_grew_are_pending() {
        let conn = database();
        for (writer, sequence) in [("a", 1), ("a", 2), ("b", 1)] {
            record(&conn, writer, sequence);
        }
        let ends = |conn: &Connection<'_>| -> Vec<(String, i64)> {
            pending(conn).unwrap().into_iter().map(|end| (end.writer, end.sequence)).collect()
        };
        assert_eq!(ends(&conn), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        for (number, end) in (1..).zip(pending(&conn).unwrap()) {
            insert(&conn, &Checkpoint { number, end, ..one() }).unwrap();
        }
        assert_eq!(ends(&conn), []);
        record(&conn, "b", 2);
        assert_eq!(ends(&conn), [("b".to_owned(), 2)]);
        assert!(!is_due(&conn, "b", 1000).unwrap());
        assert!(is_due(&conn, "b", 1001).unwrap());
    }

    #[test]
    fn a_checkpoint_signs_all_that_it_says_and_its_successor_the_rest() {
        let one = one();
        let end = one.end.clone();
        for other in [
            Checkpoint { number: 2, ..one.clone() },
            Checkpoint { previous: [1; 32], ..one.clone() },
            Checkpoint { end: End { writer: "b".into(), ..end.clone() }, ..one.clone() },
            Checkpoint { end: End { sequence: 2, ..end.clone() }, ..one.clone() },
            Checkpoint { end: End { digest: [2; 32], ..end.clone() }, ..one.clone() },
            Checkpoint { time: Moment(2), ..one.clone() },
        ] {
            assert_ne!(one.message(), other.message());
        }
        for other in [
            Checkpoint { key_id: "l".into(), ..one.clone() },
            Checkpoint { signature: vec![2], ..one.clone() },
        ] {
            assert_ne!(one.digest(), other.digest());
        }
        assert_eq!(Checkpoint::try_from(&pb::Checkpoint::from(&one)).unwrap(), one);
    }
}
