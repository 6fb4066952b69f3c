//! One writer's chain, followed from its first record on.

use prost::Message;
use sre_proto::security::v1::{AuditRecord, Fault, Finding};

use super::GENESIS;
use super::checkpoint::Checkpoint;
use super::verify::finding;
use crate::moment::Moment;

/// A row of the log as it is stored.
pub struct Row {
    /// Its place in the writer's chain.
    pub sequence: i64,
    /// Digest of the record before.
    pub previous: Vec<u8>,
    /// Its own.
    pub digest: Vec<u8>,
    /// When.
    pub time_us: i64,
    /// Of which team.
    pub team: String,
    /// The record itself.
    pub record: Vec<u8>,
}

/// How far a chain was followed.
pub struct Chain {
    /// Whose.
    pub writer: String,
    /// The last record seen, 0 before the first.
    pub last: i64,
    /// What the next record must follow; none where the one before it is damaged.
    expected: Option<Vec<u8>>,
    /// The last record that a checkpoint covers.
    covered: i64,
}

impl Chain {
    /// Before its first record.
    pub fn new(writer: String) -> Self {
        Self { writer, last: 0, expected: Some(GENESIS.to_vec()), covered: 0 }
    }

    /// The next row.
    pub fn follow(&mut self, row: &Row, findings: &mut Vec<Finding>) {
        let first = self.last + 1;
        let gap = row.sequence - first;
        if gap > 0 {
            let message = match gap {
                1 => format!("record {first} was removed"),
                _ => format!("records {first} to {} were removed", row.sequence - 1),
            };
            findings.push(finding(Fault::Removed, &self.writer, first, message));
            self.expected = None;
        }
        self.last = row.sequence;
        if let Some((fault, message)) = self.damage(row) {
            findings.push(finding(fault, &self.writer, row.sequence, message));
            // What follows a record that was moved follows another one; what follows a changed one, its digest.
            self.expected = (fault == Fault::Changed).then(|| row.digest.clone());
            return;
        }
        if self.expected.as_ref().is_some_and(|expected| *expected != row.previous) {
            let message = format!("record {} does not follow the one before it", row.sequence);
            findings.push(finding(Fault::BrokenChain, &self.writer, row.sequence, message));
        }
        self.expected = Some(row.digest.clone());
    }

    /// What is wrong with a row by itself.
    fn damage(&self, row: &Row) -> Option<(Fault, String)> {
        let sequence = row.sequence;
        let Ok(record) = AuditRecord::decode(row.record.as_slice()) else {
            return Some((Fault::Changed, format!("record {sequence} does not decode")));
        };
        let digest = sre_service::audit::digest(&record);
        let is_whole = record.digest == digest.as_slice();
        if is_whole && (record.writer != self.writer || record.sequence != sequence) {
            let message = format!(
                "in place of record {sequence} stands record {} of {}",
                record.sequence, record.writer
            );
            return Some((Fault::Reordered, message));
        }
        let time = record.time.as_ref().map_or(Moment(0), Moment::from);
        let fits = is_whole
            && row.digest == digest
            && row.previous == record.previous_digest.as_ref()
            && row.time_us == time.0
            && row.team == record.team;
        (!fits).then(|| (Fault::Changed, format!("record {sequence} was changed")))
    }

    /// A checkpoint whose end is this row, or was between this and the row before.
    pub fn covered(&mut self, checkpoint: &Checkpoint, row: &Row, findings: &mut Vec<Finding>) {
        self.covered = checkpoint.end.sequence;
        // Of one that is missing the gap tells.
        if checkpoint.end.sequence == row.sequence && checkpoint.end.digest != row.digest.as_slice() {
            let message = format!(
                "record {} is not the one that checkpoint {} signed",
                row.sequence, checkpoint.number
            );
            findings.push(finding(Fault::Rewritten, &self.writer, row.sequence, message));
        }
    }

    /// The newest checkpoint of what is not there any more.
    pub fn truncated(&mut self, checkpoint: &Checkpoint, findings: &mut Vec<Finding>) {
        let (first, last) = (self.last + 1, checkpoint.end.sequence);
        let message = format!("the chain ends at record {}, and had come to {last}", self.last);
        findings.push(finding(Fault::Truncated, &self.writer, first, message));
        self.covered = last;
    }

    /// Records at the end that no checkpoint covers.
    pub fn uncovered(&self) -> i64 {
        (self.last - self.covered).max(0)
    }
}
