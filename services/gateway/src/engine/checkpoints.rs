//! Checkpoints: the state of a run as a whole, so that who goes on with it need not read every record. Each holds
//! what changed since the one before it; a recovery reads the chain of them and the records behind the last.

use prost::Message as _;
use sre_engine::run::{Checkpoint as State, CheckpointError};
use sre_engine::{ActivationKey, Run};
use sre_proto::memory::v1::{JournalRecord, RecordKind};
use tonic::Status;

use super::journal::records::{Checkpoint, OpenIntent, OpenWait, RecordError, Waiting, record};
use super::journal::run::RunJournal;
use super::journal::store::JournalStore;
use super::redact::Redactor;

/// When the next checkpoint is due, and which was the last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checkpoints {
    /// Sequence of the last one; 0 before the first.
    pub last: i64,
}

/// What a checkpoint says beside the state machine.
#[derive(Debug, Default)]
pub struct Beside {
    /// Effects under way, and how often each was started.
    pub intents: Vec<(ActivationKey, u32)>,
    /// Waits under way.
    pub waits: Vec<(ActivationKey, Waiting)>,
    /// Whether a person paused the run.
    pub paused: bool,
}

impl Checkpoints {
    /// Whether so many records were written since the last one.
    pub fn is_due(self, journal: &RunJournal, every: usize) -> bool {
        let every = i64::try_from(every.max(1)).unwrap_or(i64::MAX);
        journal.next_sequence() - self.last.max(1) >= every
    }

    /// Writes one down. What the run settled must have been taken before.
    pub fn write(&mut self, run: &mut Run, journal: &mut RunJournal, redactor: &Redactor, beside: Beside) {
        let mut state = run.checkpoint();
        if !redactor.is_empty() {
            state.each_value(&mut |value| *value = redactor.redact(value));
        }
        let checkpoint = Checkpoint {
            previous: self.last,
            state: state.encode().into(),
            intents: beside
                .intents
                .into_iter()
                .map(|(key, times)| OpenIntent { step: key.to_string(), times })
                .collect(),
            waits: beside
                .waits
                .into_iter()
                .map(|(key, waiting)| OpenWait { step: key.to_string(), waiting: Some(waiting) })
                .collect(),
            paused: beside.paused,
        };
        self.last = journal.next_sequence();
        journal.push(record(RecordKind::Checkpoint, None, &checkpoint));
    }
}

/// A checkpoint as its record holds it.
#[derive(Debug)]
pub struct Saved {
    /// Its sequence.
    pub sequence: i64,
    /// The state machine's part.
    pub state: State,
    /// The rest.
    pub beside: Beside,
}

impl Saved {
    /// Reads one.
    pub fn read(stored: &JournalRecord) -> Result<Self, RecordError> {
        let checkpoint = Checkpoint::decode(stored.body.clone())?;
        let state = State::decode(&checkpoint.state).map_err(unreadable)?;
        let mut beside = Beside { paused: checkpoint.paused, ..Beside::default() };
        for intent in checkpoint.intents {
            beside.intents.push((intent.step.parse()?, intent.times));
        }
        for wait in checkpoint.waits {
            beside.waits.push((wait.step.parse()?, wait.waiting.unwrap_or_default()));
        }
        Ok(Self { sequence: stored.sequence, state, beside })
    }
}

fn unreadable(error: CheckpointError) -> RecordError {
    RecordError::Checkpoint(error)
}

/// The records that are needed to go on with a run: the first, its checkpoints in order, and what follows the
/// last of them.
pub async fn records(journal: &JournalStore, run_id: &str) -> Result<Vec<JournalRecord>, Status> {
    let tail = journal.load_tail(run_id).await?;
    let newest = tail.first().filter(|first| first.kind() == RecordKind::Checkpoint);
    let Some(mut previous) = newest.map(previous_of) else { return Ok(tail) };
    let mut chain = Vec::new();
    while previous > 0 {
        let Some(earlier) = journal.record(run_id, previous).await? else { break };
        previous = previous_of(&earlier);
        chain.push(earlier);
    }
    chain.extend(journal.record(run_id, 1).await?);
    chain.reverse();
    chain.extend(tail);
    Ok(chain)
}

/// An unreadable one has none: whoever folds it says so.
fn previous_of(stored: &JournalRecord) -> i64 {
    let earlier = |checkpoint: Checkpoint| checkpoint.previous.clamp(0, stored.sequence - 1);
    Checkpoint::decode(stored.body.clone()).map(earlier).unwrap_or_default()
}
