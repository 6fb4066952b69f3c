//! Verification of the whole log, a part at a time, while writers write.
//!
//! Each part is one snapshot, and the log only grows, so that what is seen is always whole: a record is there
//! before the checkpoint that covers it, and the newest checkpoint and the seal come in one transaction.

use std::collections::HashMap;

use sre_proto::security::v1::{Fault, Finding};
use sre_store::sql::{Connection, OptionalExtension, params};

use super::chain::{Chain, Row};
use super::checkpoint::{self, Checkpoint};
use super::seal;
use crate::error::Error;
use crate::identity::signing_keys::{self, verifies};
use crate::moment::Moment;
use crate::page::Page;
use crate::vault::keks::Keks;

/// Records, or checkpoints, of one part.
const PART: usize = 2_000;
/// Findings that are told; one damaged log can have millions.
const MAX_FINDINGS: usize = 1_000;

/// What was found, and how far the verification has come.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What is wrong, as found in this part.
    pub findings: Vec<Finding>,
    /// Records so far.
    pub records: i64,
    /// Checkpoints so far.
    pub checkpoints: i64,
    /// Chains so far.
    pub writers: i64,
    /// Records that no checkpoint covers yet.
    pub unsigned: i64,
    /// Findings left out.
    pub left_out: i64,
    /// Since when the log is sealed, where it is.
    pub since: Option<Moment>,
    /// Whether everything was verified.
    pub complete: bool,
}

/// A verification under way.
pub struct Verification {
    keks: Keks,
    /// Keys that this deployment vouches for, in the snapshot of the part.
    keys: HashMap<String, Vec<u8>>,
    witnesses: Vec<Checkpoint>,
    stage: Stage,
    told: usize,
    report: Report,
}

enum Stage {
    /// The records of a writer.
    Records(Chain),
    /// Checkpoints after this one.
    Checkpoints {
        after: i64,
        digest: Option<[u8; 32]>,
    },
    Witnesses,
    Done,
}

impl Verification {
    /// Begins with the first writer.
    pub fn begin(conn: &Connection<'_>, keks: Keks, witnesses: Vec<Checkpoint>) -> Result<Self, Error> {
        let first = next_writer(conn, "")?;
        let stage = first.map_or(Stage::Checkpoints { after: 0, digest: Some([0; 32]) }, |writer| {
            Stage::Records(Chain::new(writer))
        });
        Ok(Self { keks, keys: HashMap::new(), witnesses, stage, told: 0, report: Report::default() })
    }

    /// Verifies the next part.
    pub fn step(&mut self, conn: &Connection<'_>) -> Result<Report, Error> {
        let mut findings = Vec::new();
        // Keys rotate meanwhile, and checkpoints of this snapshot can be of a key that is younger than the part
        // before.
        if !matches!(self.stage, Stage::Records(_)) {
            let signing = signing_keys::signing(conn, &self.keks)?.ok_or_else(|| {
                Error::Precondition("the store has no signing key: it never was in use".into())
            })?;
            self.keys = signing_keys::vouched(conn, &signing)?;
        }
        self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Records(chain) => self.records(conn, chain, &mut findings)?,
            Stage::Checkpoints { after, digest } => self.checkpoints(conn, after, digest, &mut findings)?,
            Stage::Witnesses => {
                self.witnesses(conn, &mut findings)?;
                Stage::Done
            }
            Stage::Done => Stage::Done,
        };
        let room = MAX_FINDINGS - self.told;
        if findings.len() > room {
            self.report.left_out += i64::try_from(findings.len() - room).unwrap_or(i64::MAX);
            findings.truncate(room);
        }
        self.told += findings.len();
        self.report.complete = matches!(self.stage, Stage::Done);
        Ok(Report { findings, ..self.report.clone() })
    }

    fn records(
        &mut self,
        conn: &Connection<'_>,
        mut chain: Chain,
        findings: &mut Vec<Finding>,
    ) -> Result<Stage, Error> {
        let rows = read_rows(conn, &chain)?;
        let checkpoints = checkpoint::of_writer(
            conn,
            &chain.writer,
            chain.last,
            if rows.len() < PART { i64::MAX } else { rows.last().map_or(i64::MAX, |row| row.sequence) },
        )?;
        let mut checkpoints = checkpoints.into_iter().peekable();
        for row in &rows {
            chain.follow(row, findings);
            while let Some(one) = checkpoints.next_if(|one| one.end.sequence <= row.sequence) {
                chain.covered(&one, row, findings);
            }
        }
        self.report.records += i64::try_from(rows.len()).unwrap_or(i64::MAX);
        if rows.len() == PART {
            return Ok(Stage::Records(chain));
        }
        // The chain's end, in the same snapshot as its checkpoints.
        if let Some(beyond) = checkpoints.last() {
            chain.truncated(&beyond, findings);
        }
        self.report.writers += 1;
        self.report.unsigned += chain.uncovered();
        Ok(match next_writer(conn, &chain.writer)? {
            Some(writer) => Stage::Records(Chain::new(writer)),
            None => Stage::Checkpoints { after: 0, digest: Some([0; 32]) },
        })
    }

    fn checkpoints(
        &mut self,
        conn: &Connection<'_>,
        mut after: i64,
        mut digest: Option<[u8; 32]>,
        findings: &mut Vec<Finding>,
    ) -> Result<Stage, Error> {
        let (page, _) = checkpoint::list(conn, false, &Page { size: PART, after: Some(after) })?;
        for one in &page {
            if one.number != after + 1 {
                let message = match one.number - after {
                    2 => format!("checkpoint {} was removed", after + 1),
                    _ => format!("checkpoints {} to {} were removed", after + 1, one.number - 1),
                };
                findings.push(finding(Fault::RemovedCheckpoint, "", after + 1, message));
            } else if digest.is_some_and(|digest| digest != one.previous) {
                let message = format!("checkpoint {} does not follow the one before it", one.number);
                findings.push(finding(Fault::ForgedCheckpoint, &one.end.writer, one.number, message));
            }
            if !self.signed(&one.key_id, &one.message(), &one.signature) {
                let message = format!("checkpoint {} is not signed by a key of this deployment", one.number);
                findings.push(finding(Fault::ForgedCheckpoint, &one.end.writer, one.number, message));
            }
            (after, digest) = (one.number, Some(one.digest()));
        }
        self.report.checkpoints += i64::try_from(page.len()).unwrap_or(i64::MAX);
        if page.len() == PART {
            return Ok(Stage::Checkpoints { after, digest });
        }
        self.seal(conn, after, digest, findings)?;
        Ok(Stage::Witnesses)
    }

    /// In the same snapshot as the newest checkpoint.
    fn seal(
        &mut self,
        conn: &Connection<'_>,
        last: i64,
        digest: Option<[u8; 32]>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let Some(signed) = seal::read_signed(conn)? else {
            findings.push(finding(Fault::BrokenSeal, "", last, "the seal over the log was removed".into()));
            return Ok(());
        };
        if !self.signed(&signed.key_id, &signed.seal.message(), &signed.signature) {
            let message = "the seal over the log is not signed by a key of this deployment".to_owned();
            findings.push(finding(Fault::BrokenSeal, "", signed.seal.number, message));
            return Ok(());
        }
        self.report.since = Some(signed.seal.since);
        let (number, first) = (signed.seal.number, last + 1);
        if number > last {
            let message = format!("checkpoints {first} to {number} were removed from the end");
            findings.push(finding(Fault::RemovedCheckpoint, "", first, message));
        } else if number < last || digest.is_some_and(|digest| digest != signed.seal.digest) {
            let message = format!("the seal is of checkpoint {number}, the newest is another {last}");
            findings.push(finding(Fault::BrokenSeal, "", number, message));
        }
        Ok(())
    }

    fn witnesses(&self, conn: &Connection<'_>, findings: &mut Vec<Finding>) -> Result<(), Error> {
        for witness in &self.witnesses {
            let (writer, number) = (&witness.end.writer, witness.number);
            if !self.signed(&witness.key_id, &witness.message(), &witness.signature) {
                let message = format!("witness {number} is not signed by a key of this deployment");
                findings.push(finding(Fault::WitnessMissing, writer, number, message));
                continue;
            }
            let page = Page { size: 1, after: Some(number.saturating_sub(1)) };
            let (found, _) = checkpoint::list(conn, false, &page)?;
            if found.first() != Some(witness) {
                let message =
                    format!("the log has no checkpoint {number} as the witness has: it was taken back");
                findings.push(finding(Fault::WitnessMissing, writer, number, message));
            }
        }
        Ok(())
    }

    fn signed(&self, key_id: &str, message: &[u8], signature: &[u8]) -> bool {
        self.keys.get(key_id).is_some_and(|key| verifies(key, message, signature))
    }
}

/// A finding.
pub(super) fn finding(fault: Fault, writer: &str, sequence: i64, message: String) -> Finding {
    Finding { fault: fault.into(), writer: writer.to_owned(), sequence, message }
}

/// The next writer of whom there is a record or a checkpoint.
fn next_writer(conn: &Connection<'_>, after: &str) -> Result<Option<String>, Error> {
    let sql = "select min(writer) from (
                   select min(writer) as writer from audit_record where writer > ?1
                   union all select min(writer) from signed_checkpoint where writer > ?1) as writers";
    Ok(conn.prepare_cached(sql)?.query_row([after], |row| row.get(0)).optional()?.flatten())
}

fn read_rows(conn: &Connection<'_>, chain: &Chain) -> Result<Vec<Row>, Error> {
    let sql = "select sequence, previous_digest, digest, time_us, team, record from audit_record
               where writer = ?1 and sequence > ?2 order by sequence limit ?3";
    let rows = conn
        .prepare_cached(sql)?
        .query_map(params![chain.writer, chain.last, i64::try_from(PART).unwrap_or(i64::MAX)], |row| {
            Ok(Row {
                sequence: row.get(0)?,
                previous: row.get(1)?,
                digest: row.get(2)?,
                time_us: row.get(3)?,
                team: row.get(4)?,
                record: row.get(5)?,
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(rows)
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
